"""A server to be measured: how it is started, and what it costs under load."""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from simplenet.model import SimpleNet
from simplenet.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PROJECT = Path(__file__).parents[1]
CONTAINER = PROJECT / "container"


@dataclass(frozen=True)
class Load:
    """What a server did under load."""

    per_second: float
    p99_ms: float
    cpu_us: float

    @classmethod
    def median(cls, loads: list[Load]) -> Load:
        """Return the median of each figure."""
        return cls(
            statistics.median(each.per_second for each in loads),
            statistics.median(each.p99_ms for each in loads),
            statistics.median(each.cpu_us for each in loads),
        )


@dataclass(frozen=True)
class Server:
    """A running server: gunicorn, or a peer's."""

    address: tuple[str, int]
    master: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def workers(self) -> list[int]:
        """Return the workers' process ids."""
        return _children(self.master)

    def cpu_seconds(self) -> float:
        """Return the time that all threads of all its processes have run."""
        paths = [
            path
            for process in _descent(self.master)
            for path in Path(f"/proc/{process}/task").glob("*/schedstat")
        ]
        return sum(int(path.read_text("ascii").split()[0]) for path in paths) / 1e9

    def load(self, connections: int, script: Path) -> Load:
        """Send one-row requests for a second."""
        before = self.cpu_seconds()
        command = ["wrk", "-t1", f"-c{connections}", "-d1s", "--latency", "-s", str(script)]
        done = subprocess.run(
            [*command, f"{self.url}/invocations"], check=True, capture_output=True, text=True
        ).stdout
        cpu = self.cpu_seconds() - before
        if "Non-2xx" in done:
            sys.exit(f"requests failed:\n{done}")
        number, unit = re.findall(r"99%\s+([\d.]+)(us|ms|s)", done)[0]
        return Load(
            float(read_off(r"Requests/sec:\s+([\d.]+)", done)),
            float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit],
            cpu / int(read_off(r"(\d+) requests in", done)) * 1e6,
        )

    def answers(self) -> bool:
        """Say whether `/ping` is answered within SageMaker's 2 s."""
        try:
            return requests.get(f"{self.url}/ping", timeout=2).ok
        except requests.RequestException:
            return False


def exported(program: str) -> dict[str, str]:
    """Return the allocator's settings that one of the container's programs exports."""
    return dict(re.findall(r"(MALLOC_\w+)=(\d+)", (CONTAINER / program).read_text("utf-8")))


@contextmanager
def serving(home: Path, kind: str, app: str, workers: int = 1) -> Iterator[Server]:
    """Run our gunicorn over the model in `home`."""
    command = [sys.executable, "-m", "gunicorn", "--config", str(CONTAINER / "gunicorn.conf.py")]
    command += ["--workers", str(workers), "--worker-class", kind, app]
    with running(home, [*command, "--bind", "127.0.0.1:PORT"], exported("serve")) as server:
        yield server


@contextmanager
def running(
    home: Path, command: list[str], environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server over the model in `home`; PORT in its command becomes a free one."""
    if not Paths(home).model_file.exists():
        SimpleNet(2).save(Paths(home).model_file)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with (
        (home / f"log.{address[1]}").open("wb") as log,
        subprocess.Popen(
            [part.replace("PORT", str(address[1])) for part in command],
            env=os.environ | models(home) | dict(environment or {}),
            cwd=home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            server = Server(address, process.pid)
            wait(server.answers, " ".join(command))
            yield server
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with suppress(ProcessLookupError):  # a peer may leave processes behind
                os.killpg(process.pid, signal.SIGKILL)


def models(home: Path) -> dict[str, str]:
    """Return the environment in which programs find this code, and the model in `home`."""
    return {"SAGEMAKER_BASE_DIR": str(home), "PYTHONPATH": f"{CONTAINER}:{PROJECT}"}


def _children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text("ascii").split()]


def _descent(process: int) -> list[int]:
    return [process, *(one for child in _children(process) for one in _descent(child))]


def wait(holds: Callable[[], bool], what: str) -> None:
    """Return as soon as it holds; end the benchmark if it does not within a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"{what} does not answer")
        time.sleep(0.01)


def read_off(pattern: str, text: str) -> str:
    """Return what the pattern's group matches first."""
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"there is no {pattern} in:\n{text}")
    return match[1]
