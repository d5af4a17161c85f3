"""AWS and its registry on one machine: moto for STS and ECR, docker-registry for the images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest
import requests

from tests import engine
from tests.conftest import PROJECT
from tests.push.buildx import TOKEN
from tests.push.project import BIN, DOCKER, Project
from tests.push.registry import Registry, forget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: `AWS:` and moto's password for that account, as htpasswd wants it (bcrypt, 4 rounds).
HTPASSWD = "AWS:$2a$04$AhT1COv6IY84ipyXJ0J/9uudxPzDE8lOS46eWb.U7zs7eRAWGkRzu\n"

#: The smallest context: what is pushed here is not the subject.
DOCKERFILE = """\
FROM scratch
COPY hello /
LABEL architecture="m68k" os="vms" trap="{\\"architecture\\": \\"vax\\", \\"os\\": \\"vms\\"}"
CMD ["/hello"]
"""


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"CI without a registry: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_registry(pytestconfig: pytest.Config) -> str:
    """The program: installed, or unpacked from Debian's package, which starts no service."""
    with engine.alone("docker-registry"):
        return _docker_registry(pytestconfig)


def _docker_registry(pytestconfig: pytest.Config) -> str:
    if installed := shutil.which("docker-registry"):
        return installed
    cache = pytestconfig.cache
    assert cache
    root = cache.mkdir("docker-registry")
    program = root / "usr" / "bin" / "docker-registry"
    if program.exists():
        return str(program)
    if not shutil.which("apt-get"):
        _unavailable("there is no docker-registry, and no apt-get to get it with")
    fetch = ["apt-get", "download", "-qq", "docker-registry"]
    if subprocess.run(fetch, cwd=root, check=False, capture_output=True).returncode:
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        done = subprocess.run(fetch, cwd=root, check=False, capture_output=True, text=True)
        if done.returncode:
            _unavailable(f"apt-get cannot download docker-registry: {done.stderr}")
    (package,) = root.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    return str(program)


@contextmanager
def _running(*command: str | Path, log: Path, port: int) -> Iterator[None]:
    """Run a server in the background until it is no longer needed."""

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return requests.get(f"http://127.0.0.1:{port}/v2/", timeout=60).status_code > 0
        except requests.ConnectionError:
            return False

    with (
        log.open("w") as output,
        subprocess.Popen(list(map(str, command)), stdout=output, stderr=output) as process,
    ):
        try:
            engine.wait_until(answers, f"{command[0]} answers")
            yield
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def running_registry(
    docker_registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """The one of this session; its images are removed from the engine in the end."""
    root = tmp_path_factory.mktemp("registry")
    port = engine.free_port()
    (root / "htpasswd").write_text(HTPASSWD)
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(root / "store")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "ECR", "path": str(root / "htpasswd")}},
    }
    (root / "config.json").write_text(json.dumps(settings))
    host = f"127.0.0.1:{port}"
    with _running(
        docker_registry, "serve", root / "config.json", log=root / "registry.log", port=port
    ):
        yield Registry(host, root / "store")
    forget(host)


@pytest.fixture
def registry(running_registry: Registry) -> Registry:
    """The same without an image."""
    shutil.rmtree(running_registry.store, ignore_errors=True)
    return running_registry


@pytest.fixture(scope="session")
def running_moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a moto that answers for AWS."""
    port = engine.free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    with _running(BIN / "moto_server", "--port", str(port), log=log, port=port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def moto(running_moto: str) -> str:
    """The same without a resource, and with every permission."""
    requests.post(f"{running_moto}/moto-api/reset", timeout=60)
    requests.post(f"{running_moto}/moto-api/reset-auth", data="inf", timeout=60)
    return running_moto


@pytest.fixture
def local(tmp_path: Path) -> Project:
    """A project that was committed, whose caller has no account and reaches nothing."""
    root = tmp_path / "a project"
    (root / "container").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    shutil.copy(PROJECT / "build_and_push.sh", root)
    shutil.copytree(PROJECT / "supply", root / "supply")
    (root / "container" / "Dockerfile").write_text(DOCKERFILE)
    # The image of one test is not another's.
    (root / "container" / "hello").write_text(str(tmp_path))
    host = {"DOCKER_HOST": os.environ["DOCKER_HOST"]} if "DOCKER_HOST" in os.environ else {}
    project = Project(
        root,
        {
            **host,
            "PATH": os.pathsep.join([str(tmp_path / "bin"), str(BIN), os.environ["PATH"]]),
            "HOME": str(tmp_path / "home"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        },
    )
    project.git("init", "--quiet")
    project.git("add", ".")
    project.git("commit", "--quiet", "--message", "First")
    return project


@pytest.fixture
def caller(local: Project, moto: str) -> Project:
    """The same, with an account in which nothing is."""
    return local.having(
        AWS_ENDPOINT_URL=moto,
        AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE",
        AWS_SECRET_ACCESS_KEY="secret",  # noqa: S106 - moto does not look at it
        AWS_REGION="eu-central-1",
    )


@pytest.fixture
def project(caller: Project, registry: Registry) -> Project:
    """The same, with a registry in the place of ECR's."""
    return caller.having(ECR_REGISTRY=registry.host)


@pytest.fixture
def base(project: Project, registry: Registry) -> str:
    """A base image in that registry, and no longer in the engine."""
    name = f"{registry.host}/base:3"
    (project.root / "base").mkdir()
    (project.root / "base" / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    for command in (
        ["login", "--username", "AWS", "--password", TOKEN, registry.host],
        ["build", "--quiet", "--tag", name, project.root / "base"],
        ["push", "--quiet", name],
        ["rmi", name],
    ):
        done = [DOCKER, *map(str, command)]
        subprocess.run(done, env=project.environment, check=True, capture_output=True)
    return name
