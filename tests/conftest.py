"""What every test may use: a made `/opt/ml`, a trained one, and the image under Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

from tests.engine import alone

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

PROJECT = Path(__file__).parents[1]
IMAGE = os.environ.get("IMAGE", "simplenet-sagemaker")

_NO_ENGINE = "CI without a Docker engine: the tests of the image cannot run"


def _engine_answers() -> bool:
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    )


def pytest_configure(config: pytest.Config) -> None:
    """End a run of several processes before it begins: what one of them says, nobody would see."""
    several = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if several and os.environ.get("CI") and not _engine_answers():
        pytest.exit(_NO_ENGINE, returncode=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a Docker engine where there is none; under CI that is an error instead."""
    needing = [item for item in items if item.get_closest_marker("docker")]
    if not needing or _engine_answers():
        return
    if os.environ.get("CI"):
        pytest.exit(_NO_ENGINE, returncode=1)
    for item in needing:
        item.add_marker(pytest.mark.skip(reason="no Docker engine answers `docker info`"))


@pytest.fixture(scope="session")
def image() -> str:
    """The image, built from this checkout."""
    with alone("image"):
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", IMAGE, PROJECT / "container"], check=True
        )
    return IMAGE


@dataclass(frozen=True)
class Moons:
    """The seed notebook's data, split as it splits them."""

    train_features: np.ndarray  #: (450, 2)
    test_features: np.ndarray  #: (150, 2)
    train_labels: np.ndarray  #: (450,)
    test_labels: np.ndarray  #: (150,)


@pytest.fixture(scope="session")
def moons() -> Moons:
    """Draw the data exactly as the notebook does."""
    features, labels = make_moons(600, noise=0.25, random_state=np.random.RandomState(0))
    return Moons(*train_test_split(features, labels, test_size=0.25, random_state=1))


@pytest.fixture(scope="session")
def moon_rows(moons: Moons) -> np.ndarray:
    """The training rows as they stand in `train.csv`, the label first: (450, 3)."""
    return np.column_stack([moons.train_labels, moons.train_features])
