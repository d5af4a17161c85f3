"""An `/opt/ml` to mount, a model that the image trained, and a server over it."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests import engine
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

TRAIN_CSV = PROJECT / "local_test" / "opt_ml" / "input" / "data" / "train" / "train.csv"


@dataclass(frozen=True)
class OptMl:
    """A directory to mount as `/opt/ml`, which any user may write to."""

    root: Path

    def settings(self, **hyperparameters: object) -> None:
        """Write the job's hyperparameters as SageMaker does: all of them strings (T15)."""
        text = json.dumps({name: str(value) for name, value in hyperparameters.items()})
        (self.root / "input" / "config" / "hyperparameters.json").write_text(text)

    @property
    def channel(self) -> Path:
        """The channel `train`, with the seed's 450 rows in `train.csv`."""
        return self.root / "input" / "data" / "train"

    @property
    def failure(self) -> Path:
        """Why the job failed (T12)."""
        return self.root / "output" / "failure"

    @property
    def models(self) -> list[str]:
        """All that would be packed into `model.tar.gz` (T34)."""
        model = self.root / "model"
        return sorted(str(path.relative_to(model)) for path in model.rglob("*"))


def _opt_ml(root: Path) -> OptMl:
    for name in ("input/config", "input/data/train", "model", "output"):
        (root / name).mkdir(parents=True)
    for name in ("model", "output", "."):
        (root / name).chmod(0o777)
    shutil.copy(TRAIN_CSV, root / "input" / "data" / "train")
    return OptMl(root)


@pytest.fixture
def opt_ml(tmp_path: Path) -> OptMl:
    """An `/opt/ml` with the seed's data, before the job."""
    return _opt_ml(tmp_path / "opt_ml")


@pytest.fixture(scope="session")
def model(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model that the image trained with its defaults on the seed's data."""
    trained = _opt_ml(tmp_path_factory.mktemp("trained") / "opt_ml")
    job = engine.run("--volume", f"{trained.root}:/opt/ml", image, "train")
    assert 0 == job.returncode, job.stdout + job.stderr
    return trained.root / "model"


@pytest.fixture(scope="session")
def serving(image: str, model: Path) -> Callable[..., AbstractContextManager[tuple[str, int]]]:
    """Starts a server over the trained model: a context of its container and port."""

    @contextmanager
    def start(*flags: str, inside: int = 8080) -> Iterator[tuple[str, int]]:
        port = engine.free_port()
        with engine.container(
            *("--publish", f"127.0.0.1:{port}:{inside}"),
            *("--volume", f"{model}:/opt/ml/model:ro"),
            *flags,
            image,
            "serve",
        ) as name:
            engine.wait_until(
                lambda: engine.healthy(port) or not running(name), "/ping answers 200"
            )
            assert running(name), engine.logs(name)
            yield name, port

    return start


def running(name: str) -> bool:
    """Say whether a container's program still runs."""
    return engine.docker("inspect", "--format", "{{.State.Running}}", name) == "true"
