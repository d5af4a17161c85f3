"""A copy of local_test/ whose scripts are run as a shell runs them, and images for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import engine
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Done:
    """How a script ended."""

    code: int
    stdout: bytes
    stderr: str


@dataclass(frozen=True)
class LocalTest:
    """A copy of local_test/, and who runs its scripts, as `subprocess` wants it said."""

    root: Path
    caller: dict[str, Any] = field(default_factory=dict)

    @property
    def opt_ml(self) -> Path:
        """The job's `/opt/ml`."""
        return self.root / "opt_ml"

    @property
    def channel(self) -> Path:
        """The channel `train`, with the seed's rows in `train.csv`."""
        return self.opt_ml / "input" / "data" / "train"

    @property
    def log(self) -> Path:
        """What the script in the background writes."""
        return self.root / "log"

    def settings(self, **hyperparameters: object) -> None:
        """Change the job's hyperparameters; SageMaker has them all as strings (T15)."""
        path = self.opt_ml / "input" / "config" / "hyperparameters.json"
        settings = {name: str(value) for name, value in hyperparameters.items()}
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))

    def holds(self, name: str) -> dict[str, str]:
        """Return the files of model, output or checkpoints, and what each says."""
        root = self.opt_ml / name
        files = (path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): path.read_text("latin-1") for path in files}

    def job(self, shell: str) -> None:
        """Let the image `scripted` run this as its training."""
        (self.channel / "job.sh").write_text(f"#!/bin/sh\n{shell}\n")
        (self.channel / "job.sh").chmod(0o755)

    def run(
        self, script: str, *arguments: str | Path, cwd: Path = Path("/"), **environment: str
    ) -> Done:
        """Run a script to its end, from another directory."""
        done = subprocess.run(
            [self.root / script, *arguments],
            cwd=cwd,
            env={**os.environ, "PORT": "8080", **environment},
            capture_output=True,
            check=False,
            **self.caller,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    @contextmanager
    def running(
        self, script: str, image: str, port: int, ready: Callable[[], object]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a script in the background, as a terminal's only job; give it once it is ready."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # As under `nohup make test &`: the script would inherit it, and no shell can undo that.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with (
            self.log.open("w") as output,
            subprocess.Popen(
                [self.root / script, image],
                cwd="/",
                env={**os.environ, "PORT": str(port)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            ) as process,
        ):
            try:
                engine.wait_until(
                    lambda: ready() or process.poll() is not None, f"{script} is ready"
                )
                assert process.poll() is None, self.log.read_text()
                yield process
            finally:
                process.terminate()


def copy(directory: Path, **caller: Any) -> LocalTest:
    """Copy local_test/ without what its user's own jobs left there."""
    leftovers = shutil.ignore_patterns("model", "output", "checkpoints", ".job.*")
    root = directory / "a project" / "local_test"
    return LocalTest(shutil.copytree(PROJECT / "local_test", root, ignore=leftovers), caller)


@pytest.fixture
def local(tmp_path: Path) -> LocalTest:
    """A fresh copy."""
    return copy(tmp_path)


@pytest.fixture(scope="module")
def trained(image: str, tmp_path_factory: pytest.TempPathFactory) -> LocalTest:
    """A copy where train_local.sh has run; a few epochs tell as much as all."""
    local = copy(tmp_path_factory.mktemp("trained"))
    local.settings(epochs=2)
    done = local.run("train_local.sh", image)
    assert 0 == done.code, done.stderr
    return local


@pytest.fixture(scope="module")
def port(image: str, trained: LocalTest) -> Iterator[int]:
    """The port where serve_local.sh serves that copy's model."""
    port = engine.free_port()
    with trained.running("serve_local.sh", image, port, lambda: engine.healthy(port)):
        yield port


@pytest.fixture(scope="module")
def scripted(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image whose `train` is the channel's job.sh: it ends as a test wants."""
    name = engine.unique_name()
    context = tmp_path_factory.mktemp("scripted")
    (context / "Dockerfile").write_text(
        f"FROM {image}\nRUN ln -sf /opt/ml/input/data/train/job.sh /opt/program/train\n"
    )
    engine.docker("build", "--quiet", "--tag", name, context)
    yield name
    engine.docker("rmi", name)
