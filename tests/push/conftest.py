"""AWS and its registry on one machine: moto for STS and ECR, docker-registry for the images."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import requests

from tests import engine
from tests.conftest import PROJECT
from tests.push import buildx

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ACCOUNT = "123456789012"
NAME = "simplenet-sagemaker"
BIN = Path(sys.executable).parent
DOCKER = shutil.which("docker") or ""

#: `AWS:` and moto's password for that account, as htpasswd wants it (bcrypt, 4 rounds).
HTPASSWD = "AWS:$2a$04$AhT1COv6IY84ipyXJ0J/9uudxPzDE8lOS46eWb.U7zs7eRAWGkRzu\n"

#: The smallest context: what is pushed here is not the subject.
DOCKERFILE = """\
FROM scratch
COPY hello /
LABEL architecture="m68k" trap="{\\"architecture\\": \\"vax\\", \\"os\\": \\"vms\\"}"
CMD ["/hello"]
"""


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"CI without a registry: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_registry(pytestconfig: pytest.Config) -> str:
    """The program: installed, or unpacked from Debian's package, which starts no service."""
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


@dataclass(frozen=True)
class Registry:
    """A registry that wants `AWS` and moto's password, as ECR does."""

    host: str
    store: Path

    def manifest(self, name: str, tag: str) -> requests.Response:
        """Return a manifest as it is stored, whatever its type."""
        kinds = ("docker.distribution.manifest.v2", "oci.image.manifest.v1", "oci.image.index.v1")
        return requests.get(
            f"http://{self.host}/v2/{name}/manifests/{tag}",
            headers={"Accept": ", ".join(f"application/vnd.{kind}+json" for kind in kinds)},
            auth=("AWS", buildx.TOKEN),
            timeout=60,
        )

    def digests(self, name: str = NAME) -> dict[str, str]:
        """Return each tag of a repository, and what it names."""
        listed = requests.get(
            f"http://{self.host}/v2/{name}/tags/list", auth=("AWS", buildx.TOKEN), timeout=60
        )
        tags = listed.json().get("tags") or []
        return {tag: self.manifest(name, tag).headers["Docker-Content-Digest"] for tag in tags}


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
    reference = '{{.Repository}}{{if eq .Tag "<none>"}}@{{.Digest}}{{else}}:{{.Tag}}{{end}}'
    listed = ("images", "--digests", "--format", reference, "--filter", f"reference={host}/*")
    if images := engine.docker(*listed).split():
        engine.docker("rmi", "--force", *images)


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


@dataclass(frozen=True)
class Done:
    """How the script ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last(self) -> str:
        """The script's own last sentence, which may have several lines."""
        return self.stderr.rpartition("build_and_push.sh: ")[2].rstrip("\n")


@dataclass(frozen=True)
class Project:
    """A project of its own with the script, below a directory with a space, and its caller."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def dockerfile(self) -> Path:
        """The image's."""
        return self.root / "container" / "Dockerfile"

    def having(self, **environment: str | None) -> Project:
        """Return the same with variables changed; None takes one away."""
        both = {**self.environment, **environment}
        return replace(self, environment={k: v for k, v in both.items() if v is not None})

    def run(self, *arguments: str) -> Done:
        """Run the script to its end, from another directory and without a terminal."""
        done = subprocess.run(
            [self.root / "build_and_push.sh", *arguments],
            cwd="/",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def aws(self, *arguments: str) -> dict[str, object]:
        """Ask moto with the AWS CLI."""
        done = subprocess.run(
            [BIN / "aws", *arguments, "--region", "eu-central-1", "--output", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        answer: dict[str, object] = json.loads(done.stdout or "{}")
        return answer

    def git(self, *arguments: str) -> str:
        """Run git in the project."""
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        return subprocess.run(
            ["git", *who, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def program(self, name: str, script: str) -> None:
        """Put a program before all others of its name."""
        path = self.root.parent / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def buildx(self, kind: str) -> Path:
        """Give this machine buildx; return the file where its arguments will be."""
        record = self.root.parent / "buildx.json"
        self.program(
            "docker",
            f"exec '{sys.executable}' '{buildx.__file__}' '{DOCKER}' '{record}' {kind} \"$@\"",
        )
        return record


@pytest.fixture
def local(tmp_path: Path) -> Project:
    """A project that was committed, whose caller has no account and reaches nothing."""
    root = tmp_path / "a project"
    (root / "container").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    shutil.copy(PROJECT / "build_and_push.sh", root)
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


@contextmanager
def answering(*rules: tuple[str, int, str]) -> Iterator[str]:
    """Serve errors that neither moto nor the registry has; give the host.

    A rule is what a request line must match, and the status and body of its answer; the first one
    counts, and without one the answer is an empty 200.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            line = f"{self.command} {self.path}"
            found = [(code, body) for rule, code, body in rules if re.search(rule, line)]
            status, body = found[0] if found else (200, "")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body.encode())

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def only(directory: Path, names: Sequence[str]) -> str:
    """Return a PATH on which these programs are, and no others."""
    directory.mkdir()
    for name in names:
        (directory / name).symlink_to(str(shutil.which(name, path=f"{BIN}:{os.environ['PATH']}")))
    return str(directory)
