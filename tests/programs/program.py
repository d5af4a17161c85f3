"""The programs `train` and `serve` as processes of this machine, without an image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests import engine, server
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simplenet.paths import Paths

CONTAINER = PROJECT / "container"


@dataclass(frozen=True)
class Program:
    """A program that was started."""

    process: subprocess.Popen[bytes]
    written: Path

    def output(self) -> str:
        """Return all that it has written so far."""
        return self.written.read_text("utf-8")

    def wait_for(self, text: str) -> None:
        """Return when it has written `text`."""
        engine.wait_until(lambda: text in self.output(), f"{text!r} in what it writes")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def code(self) -> int:
        """Return the exit code, once there is one."""
        return self.process.wait(timeout=120)


@contextmanager
def started(command: Sequence[str | Path], paths: Paths, **variables: str) -> Iterator[Program]:
    """Start a program over an `/opt/ml`; with the context it is gone, and what it started too."""
    environment = {  # what the image sets, too
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(CONTAINER),
        "PYTHONUNBUFFERED": "1",
        "SAGEMAKER_BASE_DIR": str(paths.root),
        **variables,
    }
    with tempfile.NamedTemporaryFile() as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield Program(process, Path(file.name))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Server(server.Server):
    """The program `serve`, at a port of its own."""

    def __init__(self, program: Program, port: int) -> None:
        super().__init__(port)
        self._program = program

    def output(self) -> str:
        """Return all that it has written so far."""
        return self._program.output()

    def stop(self) -> int:
        """Stop it as SageMaker does (H3); return the exit code."""
        self._program.send(signal.SIGTERM)
        return self._program.code()


@contextmanager
def serving(paths: Paths, workers: int = 1, **variables: str) -> Iterator[Server]:
    """Run `serve`; in the end, as anybody who wants to know what it did, stop it in good order."""
    port = engine.free_port()
    given = {
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(workers),
        **variables,
    }
    with started([CONTAINER / "serve"], paths, **given) as program:
        engine.wait_until(
            lambda: engine.healthy(port) or program.process.poll() is not None, "/ping answers 200"
        )
        server = Server(program, port)
        assert program.process.poll() is None, server.output()
        yield server
        if program.process.poll() is None:
            server.stop()
