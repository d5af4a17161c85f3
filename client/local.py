"""The SDK's local mode: jobs and endpoints as containers of this machine, without AWS.

Each run of it has a working directory of its own, and leaves neither that nor a container.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import boto3

from client import interruption, provenance, runtime, sdk, storage
from client.containers import Containers, Runtime, address_of, compose_program, path_of
from client.names import IMAGE, LOCAL_OUTPUT
from client.platform import PlatformError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.provenance import Training
    from client.training_job import TrainingJob

# A role's form is checked, also where no AWS is asked.
_NO_ROLE = "arn:aws:iam::000000000000:role/local-mode"

# As the SDK names it; all that runs in local mode on this machine shares it.
_NETWORK = "sagemaker-local"

# What SageMaker grants between SIGTERM and SIGKILL.
_STOP_SECONDS = 30

# By it a run's containers are found again: the SDK deletes its compose files, and not these.
_LABEL = "simplenet.run"

# It asks for /ping until that is answered, and need not tell each time that it is not yet.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Local:
    """The SDK's local mode, with a working directory of its own."""

    session: sdk.Session
    project: str
    image: str
    home: str
    data: str
    root: Path  #: what is below is gone in the end
    role: str = _NO_ROLE
    tags: list[dict[str, str]] = field(default_factory=list)

    @property
    def sagemaker(self) -> Containers:
        """What local mode has in the place of boto3's client."""
        return cast("Containers", self.session.sagemaker_client)

    def address(self, given: str) -> str:
        """Return what a user names as an address: a path, or file://PATH.

        Raises:
            PlatformError: if there is no such file or directory.
        """
        path = Path(given.removeprefix("file://")).resolve()
        if not path.exists():
            raise PlatformError(f"There is no {path}; with --local, expected a file or directory.")
        return address_of(path)

    def directories(self, address: str) -> list[str]:
        """Name the directories in one: file://DIRECTORY."""
        return sorted(found.name for found in path_of(address).iterdir() if found.is_dir())

    def put(self, path: Path, name: str) -> str:  # noqa: ARG002  # it is here already
        """Return the address of a file or directory."""
        return address_of(path.resolve())

    def remove(self, name: str) -> None:
        """Leave what was put: it is the user's own."""

    def output(self, job: str) -> str:
        """Return the address of the directory in which a job leaves model.tar.gz."""
        return f"{self.home}/{job}"

    def latest_model(self) -> str:
        """Return the address of the newest model.tar.gz of the project.

        Raises:
            PlatformError: if there is none.
        """
        found = sorted(LOCAL_OUTPUT.resolve().glob(f"{self.project}-*/model.tar.gz"))
        if not found:
            raise PlatformError(
                f"{LOCAL_OUTPUT} holds no model of the project {self.project!r}; run: "
                "python -m client train --local"
            )
        return address_of(found[-1])

    def batch(self, job: str) -> str:
        """Return the address of a batch job's input and output."""
        return address_of(self.root / job)

    def download(self, address: str, directory: Path) -> list[Path]:
        """Copy what is at an address into a directory; return the files there."""
        directory.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(file, directory)) for file in storage.files(path_of(address))]

    def wait(self) -> None:
        """Go on serving until Ctrl-C."""
        try:
            signal.pause()
        except KeyboardInterrupt:
            if self.sagemaker.last_words:  # the container ended by itself
                raise

    def training(self, job: TrainingJob, description: dict[str, Any]) -> Training:
        """Return where the model of a job that ended well comes from."""
        provenance.note_local_job(job, description)
        return provenance.of_local_job(job.name)


class _Stdout:
    """stdout for this program's results; what the SDK's threads print is the containers' log."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    def write(self, text: str) -> int:
        of_program = threading.current_thread() is threading.main_thread()
        return (self._stdout if of_program else sys.stderr).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


@contextmanager
def mode(project: str, image: str | None, port: int = 8080) -> Iterator[Local]:
    """Give local mode, and remove in the end what its containers left, whatever happens.

    Raises:
        PlatformError: if Docker does not answer, there is no such image, or a container that serves
            ends by itself.
    """
    image = image or IMAGE
    _expect_image(image)
    home = _expect_mountable(LOCAL_OUTPUT.resolve())
    home.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=".run-", dir=home))
    session = _session(root, port)
    try:
        with _surroundings(session.sagemaker_client, root):
            yield Local(
                session=session,
                project=project,
                image=image,
                home=address_of(home),
                data=address_of(Path("data").resolve()),
                root=root,
            )
    except KeyboardInterrupt:
        if words := session.sagemaker_client.last_words:
            raise PlatformError(f"The container ended: {words}") from None
        raise


def _session(root: Path, port: int) -> sdk.Session:
    """Return a session of local mode that works below a directory."""
    # Local mode asks AWS nothing, but its session will have a region and credentials.
    aws = boto3.Session("local-mode", "local-mode", region_name="us-east-1")
    session = sdk.LocalSession(boto_session=aws, sagemaker_config=sdk.configuration())
    session.sagemaker_client = Containers(session, root)
    session.sagemaker_runtime_client = Runtime()
    # As this user: then what the containers leave can be read and removed.
    user = {"user": own} if (own := runtime.user()) else {}
    session.config = {
        "local": {
            "local_code": True,
            "container_root": str(root),
            "serving_port": port,
            "container_config": {
                **user,
                "labels": {_LABEL: root.name},
                "stop_grace_period": f"{_STOP_SECONDS}s",
            },
        }
    }
    return session


@contextmanager
def _surroundings(containers: Containers, root: Path) -> Iterator[None]:
    """Give the SDK the programs that it looks for, and hear its threads; clean up in the end."""
    programs = root / "bin"
    programs.mkdir()
    # Where `docker compose` is none that the SDK knows, it looks for docker-compose.
    (programs / "docker-compose").symlink_to(compose_program())
    # It stops a container by the children of Docker Compose, which it asks pgrep for. There need be
    # none: Docker Compose itself stops the container.
    (programs / "pgrep").symlink_to(shutil.which("true") or "/bin/true")
    path, hook, threads = os.environ["PATH"], threading.excepthook, threading.enumerate()
    os.environ["PATH"] = os.pathsep.join([str(programs), path])
    threading.excepthook = containers.interrupt
    with redirect_stdout(cast("TextIO", _Stdout(sys.stdout))):
        try:
            yield
        finally:
            with interruption.undisturbed():
                _remove_containers(root.name)
                for thread in set(threading.enumerate()) - set(threads):
                    thread.join(_STOP_SECONDS)  # it has the last lines of a container's log
            os.environ["PATH"], threading.excepthook = path, hook
            shutil.rmtree(root, ignore_errors=True)


def _expect_image(image: str) -> None:
    if shutil.which("docker") is None or _docker("info").returncode:
        raise PlatformError("No Docker engine answers `docker info`; local mode needs one.")
    if _docker("image", "inspect", image).returncode:
        raise PlatformError(f"There is no image {image!r} here; run: make image IMAGE={image}")


def _expect_mountable(directory: Path) -> Path:
    """Return a directory that the SDK mounts into containers."""
    if set(":#?") & set(str(directory)):
        raise PlatformError(
            f"{directory} has one of :#? in its name, which local mode cannot mount."
        )
    for forbidden in ("/root", "/etc", "/var/lib"):
        if directory.is_relative_to(forbidden):
            raise PlatformError(
                f"{directory} is below {forbidden}, from which SageMaker's local mode mounts "
                "nothing; work in another directory."
            )
    return directory


def _remove_containers(run: str) -> None:
    """Remove what a run has started; local mode itself leaves it."""
    found = _docker("ps", "--all", "--quiet", f"--filter=label={_LABEL}={run}").stdout.split()
    if found:
        _docker("stop", f"--time={_STOP_SECONDS}", *found)
        _docker("rm", "--force", "--volumes", *found)
    # Another run may have made it; one that uses it keeps it.
    _docker("network", "rm", _NETWORK)


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
