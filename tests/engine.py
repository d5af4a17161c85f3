"""What the tests of the image and of the local scripts share: Docker, ports, waiting."""

from __future__ import annotations

import fcntl
import http.client
import os
import socket
import subprocess
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: SageMaker's serverless endpoints run the image as a user of their own (H50).
STRANGER = "12345:12345"

#: All that can be taken away from a container that still has a network.
HARDENED = ("--user", STRANGER, "--read-only", "--cap-drop", "ALL")


def docker(*arguments: str | Path) -> str:
    """Run the Docker client; return what it prints, without the last newline."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"docker {arguments[0]} exits with {done.returncode}: {done.stderr}")
    return done.stdout.rstrip("\n")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a container to its end: its exit code, and what it writes."""
    return subprocess.run(
        ["docker", "run", "--rm", *arguments], capture_output=True, text=True, check=False
    )


@contextmanager
def container(*arguments: str | Path) -> Iterator[str]:
    """Run a container in the background; give its id, and remove it in the end."""
    name = docker("run", "--detach", *arguments)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def exits_well(*arguments: str | Path) -> bool:
    """Say whether the Docker client exits with 0."""
    done = subprocess.run(["docker", *arguments], capture_output=True, check=False)
    return done.returncode == 0


def logs(name: str) -> str:
    """Return what a container has written so far, stdout and stderr in one."""
    return subprocess.run(
        ["docker", "logs", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    ).stdout


def wait_until(predicate: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Return as soon as `predicate` holds; a test that waits for ever fails with `what`."""
    give_up = time.monotonic() + seconds
    while not predicate():
        if time.monotonic() > give_up:
            raise AssertionError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.05)


@contextmanager
def alone(work: str) -> Iterator[None]:
    """Do some work while no other process of this user's tests does it: they run side by side."""
    lock = Path(tempfile.gettempdir(), f"simplenet-{work}-{os.getuid()}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def unique_name() -> str:
    """Return a name for an image or a container that nobody else uses."""
    return f"simplenet-test-{uuid.uuid4().hex[:12]}"


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str | None, bytes]:
    """Send one request; return the reply's status, media type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.getheader("Content-Type"), reply.read()
    finally:
        connection.close()


def healthy(port: int) -> bool:
    """Say whether `/ping` answers 200: Docker's proxy accepts, and resets, before that."""
    try:
        return ask(port, "GET", "/ping")[0] == 200
    except (OSError, http.client.HTTPException):
        return False
