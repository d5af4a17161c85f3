"""An `/opt/ml` to mount, before a job and after it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests import engine
from tests.conftest import PROJECT

if TYPE_CHECKING:
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
def served(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `/opt/ml` with a model that the image trained with its defaults on the seed's data, and
    twice the same as a multi-model endpoint has it.
    """
    trained = _opt_ml(tmp_path_factory.mktemp("trained") / "opt_ml")
    job = engine.run("--volume", f"{trained.root}:/opt/ml", image, "train")
    assert 0 == job.returncode, job.stdout + job.stderr
    for name in ("a", "b"):
        directory = trained.root / "models" / name / "model"
        directory.mkdir(parents=True)
        shutil.copy(trained.root / "model" / "model.safetensors", directory)
    return trained.root
