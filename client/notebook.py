"""The commands as a notebook wants them: each a cell, and no endpoint that outlives a mistake."""

from __future__ import annotations

import atexit
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from client import names
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# SIGINT ends a local endpoint, which then has 30 s to stop its container, and is quicker.
_STOP_SECONDS = 60

# What tells nothing in a notebook: Docker Compose's own words, what to type next, and colours.
_NOISE = re.compile(
    r" (Network|Container) |Attaching to |time=|Aborting on |\S+ exited with code 0|Next: "
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONTAINER = re.compile(r"^\S+-algo-\d-\S+ +\| ")

# Of the epochs in a log, only so many are shown: the first, and each tenth.
_SHOWN_EPOCHS = 10


class CommandError(Refusal):
    """A command that failed; what it printed says why."""


class _Cell(Protocol):
    """What IPython tells of a cell that has run."""

    success: bool


class Notebook:
    """The story's steps, on SageMaker in your account or in containers of this machine.

    Each is a command that could be typed as well; it is shown, and what it prints. The endpoint is
    deleted where a cell fails (see `after_cell`) and where the notebook's Python ends.
    """

    def __init__(self, *, on_aws: bool) -> None:
        self._on_aws = on_aws
        self._job = ""
        self._endpoint = names.unique("simplenet-notebook")
        self._port = _free_port()
        self._server: subprocess.Popen[str] | None = None  #: in local mode
        self._deployed = False
        atexit.register(self.delete)

    def after_cell(self, result: _Cell) -> None:
        """Delete the endpoint after a cell that failed or was interrupted."""
        if not result.success:
            self.delete()

    def upload(self, directory: Path) -> None:
        """Copy the channels to S3; in local mode they are read from where they are."""
        if self._on_aws:
            self._run("upload", directory)
        else:
            sys.stdout.write(f"Nothing to upload: the job reads {directory} on this machine.\n")

    def train(self, directory: Path, **hyperparameters: float) -> None:
        """Train in a job on the channels, and show its log; it ends by itself."""
        data = [] if self._on_aws else ["--data", directory]  # on SageMaker: what was uploaded
        pairs = [word for item in hyperparameters.items() for word in ("-p", "{}={}".format(*item))]
        said = self._run("train", *self._local(), *data, *pairs, "--json", results=False)
        found = json.loads(said)
        self._job, self._model = found["job"], _readable(found["model"])
        sys.stdout.write(f"The model is {self._model}\n")

    def deploy(self) -> None:
        """Serve what was trained at an endpoint, which on SageMaker costs from here on."""
        words = ["deploy", "--endpoint", self._endpoint, "--model-data", self._model]
        self._deployed = True  # before it is: it costs from when it is asked for
        if self._on_aws:
            self._run(*words)
        else:
            self._serve(*words, *self._local(), "--port", self._port)

    def predict(self, rows: Path) -> None:
        """Score the rows of a CSV file without labels."""
        self._run("predict", *self._where(), rows)

    def evaluate(self, rows: Path, pictures: Path) -> None:
        """Score labelled rows and compare; draw pictures, and write a model card with them."""
        words = ["--job", self._job, "--pictures", pictures, "--card", pictures / "model_card.md"]
        self._run("evaluate", *self._where(), *words, rows)

    def delete(self) -> None:
        """Delete the endpoint, its configuration and its model; a second time does nothing."""
        if not self._deployed:
            return
        if self._on_aws:
            self._run("delete", "--endpoint", self._endpoint)
        elif self._server:
            _interrupt(self._server)
            self._server = None
            sys.stdout.write("Stopped the endpoint's container, and removed it.\n")
        self._deployed = False

    def _local(self) -> list[str]:
        return [] if self._on_aws else ["--local"]

    def _where(self) -> list[str]:
        local = ["--local", "--port", str(self._port)]
        return ["--endpoint", self._endpoint] if self._on_aws else local

    def _run(self, *words: object, results: bool = True) -> str:
        """Run a command, showing its log and perhaps its results; return these.

        Raises:
            CommandError: if it fails.
        """
        with _started(*words) as process:
            said: list[str] = []
            reader = threading.Thread(target=said.extend, args=(process.stdout,))
            reader.start()
            for line in process.stderr or ():
                _show(line)
            reader.join()
        if results:
            sys.stdout.write("".join(said))
        if process.returncode:
            raise CommandError(f"It ended with exit code {process.returncode}; see above.")
        return "".join(said)

    def _serve(self, *words: object) -> None:
        """Start a local endpoint, which serves until it is interrupted; return when it answers.

        Raises:
            CommandError: if it ends instead.
        """
        self._server = _start(*words)
        for line in self._server.stderr or ():
            _show(line)
            if line.startswith("It serves at "):
                # Its log goes on, and would fill the pipe.
                threading.Thread(target=_drop, args=(self._server,), daemon=True).start()
                return
        self._server.wait()
        self._server, self._deployed = None, False
        raise CommandError("The endpoint did not come up; see above.")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _start(*words: object) -> subprocess.Popen[str]:
    """Start a command, and show what one would type."""
    typed = [str(word) for word in words]
    sys.stdout.write(f"$ python -m client {shlex.join(typed)}\n")
    sys.stdout.flush()
    return subprocess.Popen(
        [sys.executable, "-m", "client", *typed],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Jupyter interrupts and kills the notebook's own session: this one may clean up.
        start_new_session=True,
    )


@contextmanager
def _started(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command, and wait for its end; an interrupt is passed on, and waited for too."""
    process = _start(*words)
    try:
        yield process
        process.wait()
    finally:
        _interrupt(process)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Let a command clean up and end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_SECONDS)


def _show(line: str) -> None:
    """Show a line of a log, if it tells anything, without what is different on each machine."""
    line = _CONTAINER.sub("", _COLOUR.sub("", line))
    epoch = re.match(r"epoch=(\d+);", line)
    rare = epoch is None or int(epoch[1]) == 1 or int(epoch[1]) % _SHOWN_EPOCHS == 0
    if line.strip() and rare and not _NOISE.match(line):
        sys.stdout.write(_readable(line).replace(" until Ctrl-C.", "."))
        sys.stdout.flush()


def _readable(text: str) -> str:
    """Name what is below this directory from here."""
    here = f"{os.getcwd()}/"  # noqa: PTH109  # as text
    return text.replace(f"file://{here}", "").replace(here, "")


def _drop(process: subprocess.Popen[str]) -> None:
    for _ in process.stderr or ():
        pass
