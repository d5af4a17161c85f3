"""A made `/opt/ml`, and a job that ran on it."""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simplenet import job, training
from simplenet.app import create_app
from simplenet.paths import Paths
from simplenet.stop import Stop

from tests.container.opt_ml import put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from flask.testing import FlaskClient

    from tests.conftest import Moons


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """An `/opt/ml` as SageMaker makes it, with an empty channel `train`."""
    paths = Paths(tmp_path / "opt" / "ml")
    paths.hyperparameters.parent.mkdir(parents=True)
    paths.hyperparameters.write_text("{}")
    (paths.channels / "train").mkdir(parents=True)
    paths.model.mkdir()
    paths.failure.parent.mkdir()
    return paths


@pytest.fixture
def split(paths: Paths, moons: Moons, moon_rows: np.ndarray) -> Paths:
    """A job with the channels train, validation and test, and a place for checkpoints."""
    rest = np.column_stack([moons.test_labels, moons.test_features])
    put(paths, "train", moon_rows)
    put(paths, "validation", rest[:75])
    put(paths, "test", rest[75:])
    paths.checkpoints.mkdir()
    return paths


@pytest.fixture
def train(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The program `train` on `paths`: call it with hyperparameters, get its exit code."""

    def run(**hyperparameters: object) -> int:
        given = {name: str(value) for name, value in hyperparameters.items()}
        paths.hyperparameters.write_text(json.dumps(given))
        monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(paths.root))
        return training.main()

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, moon_rows: np.ndarray) -> Paths:
    """An `/opt/ml` with a model that the program itself trained on the seed's data."""
    paths = Paths(tmp_path_factory.mktemp("trained"))
    (paths.channels / "train").mkdir(parents=True)
    np.savetxt(paths.channels / "train" / "train.csv", moon_rows, delimiter=",")
    job.train(paths, Stop())
    return paths


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """A context in which no file can grow beyond 100 bytes, as on a disk that fills up."""

    @contextmanager
    def limit() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def client(trained: Paths) -> FlaskClient:
    """A client of the application over the trained model."""
    return create_app(trained).test_client()
