"""Where the programs `train` and `serve` run on this machine: in a container, or without Docker.

Both run the very same two programs over an `/opt/ml` tree; neither has a second implementation.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from client import interruption
from client.endpoint import Endpoint
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

PROJECT = Path(__file__).resolve().parents[1]
CONTAINER = PROJECT / "container"

# SageMaker itself gives a container 8 minutes; on a laptop two are patience enough.
_START_SECONDS = 120

# What SageMaker grants between SIGTERM and SIGKILL when it stops an endpoint's container.
_STOP_SECONDS = 30


class ProgramError(Refusal):
    """A program that failed; the message says which, and what it said itself."""


class Runtime(Protocol):
    """A place to run the two programs in."""

    def prepare(self) -> None:
        """Install what the programs need; the first time takes a minute or two."""

    def train(self, opt_ml: Path) -> list[str]:
        """Run `train` over an `/opt/ml` tree, its log on stdout; return the log's lines."""

    def serve(self, opt_ml: Path, log: Path) -> AbstractContextManager[Endpoint]:
        """Run `serve` over an `/opt/ml` tree, its log in a file, until the context ends."""

    def serve_command(self, opt_ml: Path) -> str:
        """Return what to type to serve the same on port 8080."""

    def origin(self) -> str:
        """Return where the programs come from, for the model card."""


@dataclass(frozen=True)
class Docker:
    """`docker run IMAGE train` and `docker run IMAGE serve`."""

    image: str

    @staticmethod
    def is_available() -> bool:
        """Tell whether a Docker engine answers."""
        return (
            shutil.which("docker") is not None
            and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
        )

    def prepare(self) -> None:
        """Build the image."""
        _follow(["make", "--no-print-directory", "image", f"IMAGE={self.image}"], _stop_group)

    def train(self, opt_ml: Path) -> list[str]:
        """Run a training job; like one in a network of its own, it cannot download anything."""
        name = _container_name()
        mounts = [
            *_mount(opt_ml, "/opt/ml"),
            *_mount(opt_ml / "input", "/opt/ml/input", read_only=True),
        ]
        command = [*_docker_run(name), "--network=none", *mounts, self.image, "train"]
        return _follow(command, lambda client: _stop_container(client, name), opt_ml)

    @contextmanager
    def serve(self, opt_ml: Path, log: Path) -> Iterator[Endpoint]:
        """Serve the model, which the container cannot change, on a free port of this machine."""
        name = _container_name()
        mount = _mount(opt_ml / "model", "/opt/ml/model", read_only=True)
        command = [*_docker_run(name), "--publish=127.0.0.1::8080", *mount, self.image, "serve"]

        def find() -> Endpoint | None:
            found = subprocess.run(
                ["docker", "port", name, "8080"], capture_output=True, text=True, check=False
            )
            return Endpoint(f"http://{found.stdout.split()[0]}") if found.stdout else None

        with (
            log.open("w", encoding="utf-8") as file,
            _started(
                command, lambda client: _stop_container(client, name), stdout=file, stderr=file
            ) as client,
        ):
            yield _wait_until_healthy(client, find, log)

    def serve_command(self, opt_ml: Path) -> str:
        """Return a `docker run` that any shell takes."""
        mount = _mount(opt_ml / "model", "/opt/ml/model", read_only=True)
        flags = ["docker", "run", "--rm", "--publish=127.0.0.1:8080:8080", *mount]
        return shlex.join([*flags, self.image, "serve"])

    def origin(self) -> str:
        """Return the image with its digest."""
        command = ["docker", "image", "inspect", "--format={{.Id}}", self.image]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        return f"{self.image}@{found.stdout.strip()}"


@dataclass(frozen=True)
class VirtualEnvironment:
    """The programs `container/train` and `container/serve`, run by this environment's Python."""

    def prepare(self) -> None:
        """Install what the image would have in it."""
        _follow(["make", "--no-print-directory", ".venv/container"], _stop_group)

    def train(self, opt_ml: Path) -> list[str]:
        """Run a training job."""
        return _follow([CONTAINER / "train"], _stop_group, opt_ml, self._environment(opt_ml))

    @contextmanager
    def serve(self, opt_ml: Path, log: Path) -> Iterator[Endpoint]:
        """Serve the model on a free port of this machine."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        endpoint = Endpoint(f"http://127.0.0.1:{port}")
        environment = {**self._environment(opt_ml), "SAGEMAKER_BIND_TO_PORT": str(port)}
        with (
            log.open("w", encoding="utf-8") as file,
            _started(
                [CONTAINER / "serve"], _stop_group, environment, stdout=file, stderr=file
            ) as server,
        ):
            yield _wait_until_healthy(server, lambda: endpoint, log)

    def serve_command(self, opt_ml: Path) -> str:
        """Return the program with its environment, from the project's directory."""
        tree = shlex.quote(str(opt_ml.resolve()))
        return (
            f"SAGEMAKER_BASE_DIR={tree} PYTHONPATH=container "
            'PATH="$PWD/.venv/bin:$PATH" container/serve'
        )

    def origin(self) -> str:
        """Return that there is no image."""
        return "container/ of this checkout, without an image"

    @staticmethod
    def _environment(opt_ml: Path) -> dict[str, str]:
        """What the image sets too, and where the `/opt/ml` tree is."""
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(CONTAINER),
            "PYTHONUNBUFFERED": "1",
            "SAGEMAKER_BASE_DIR": str(opt_ml.resolve()),
        }


def _container_name() -> str:
    """Return a name, so that the container can be stopped before its id is known."""
    return f"simplenet-demo-{uuid.uuid4().hex[:8]}"


def user() -> str | None:
    """Return who a container is to run as, so that what it writes is this user's; None is root."""
    security = subprocess.run(
        ["docker", "info", "--format", "{{.SecurityOptions}}"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    # Under rootless Docker the container's root is already the user who started the engine.
    return None if "name=rootless" in security else f"{os.getuid()}:{os.getgid()}"


def _docker_run(name: str) -> list[str]:
    """Return the flags of every container: it goes when it ends, and writes as this user."""
    own = user()
    flags = [f"--user={own}"] if own else []
    return ["docker", "run", "--rm", f"--name={name}", "--read-only", "--tmpfs=/tmp", *flags]


def _mount(source: Path, target: str, *, read_only: bool = False) -> list[str]:
    """Return docker's --mount; it is CSV, so a path may hold a comma only between quotes."""
    quoted = str(source.resolve()).replace('"', '""')
    return ["--mount", f'type=bind,"source={quoted}",target={target}' + ",readonly" * read_only]


@contextmanager
def _started(
    command: Sequence[str | Path],
    stop: Callable[[subprocess.Popen[str]], None],
    environment: Mapping[str, str] | None = None,
    **streams: object,
) -> Iterator[subprocess.Popen[str]]:
    """Start a program, and stop it when the context ends, however that comes."""
    # In a session of its own it does not see Ctrl-C: only this program does, and stops it then.
    process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
        command, cwd=PROJECT, env=environment, text=True, start_new_session=True, **streams
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with interruption.undisturbed():
                stop(process)
        if process.stdout:
            process.stdout.close()


def _follow(
    command: Sequence[str | Path],
    stop: Callable[[subprocess.Popen[str]], None],
    opt_ml: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a program to its end, showing each line that it prints; return the lines.

    Raises:
        ProgramError: if it fails.
    """
    lines = []
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with _started(command, stop, environment, **streams) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.rstrip("\n"))
        code = process.wait()
    if code:
        failure = opt_ml / "output" / "failure" if opt_ml else None
        reason = failure.read_text("utf-8") if failure and failure.exists() else "see above"
        raise ProgramError(f"{' '.join(map(str, command))} ended with exit code {code}: {reason}")
    return lines


def _wait_until_healthy(
    process: subprocess.Popen[str], find: Callable[[], Endpoint | None], log: Path
) -> Endpoint:
    """Return the endpoint once `/ping` is answered.

    Raises:
        ProgramError: if the program ends instead, or nothing answers for too long.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ProgramError(
                f"serve ended with exit code {process.returncode}; the end of {log}:\n"
                + "\n".join(log.read_text("utf-8").splitlines()[-10:])
            )
        endpoint = find()
        if endpoint and endpoint.is_healthy():
            return endpoint
        time.sleep(0.1)
    raise ProgramError(f"serve did not answer /ping within {_START_SECONDS} s; its log is {log}.")


def _stop_container(client: subprocess.Popen[str], name: str) -> None:
    """Stop the container as SageMaker does: SIGTERM, and SIGKILL after the period of grace."""
    # Again and again, since the client may not have made the container yet.
    while client.poll() is None:
        command = ["docker", "stop", f"--time={_STOP_SECONDS}", name]
        subprocess.run(command, capture_output=True, check=False)
        with suppress(subprocess.TimeoutExpired):
            client.wait(0.2)


def _stop_group(process: subprocess.Popen[str]) -> None:
    """Stop a program and all that it started: SIGTERM, and SIGKILL after the period of grace."""
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
        return
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
