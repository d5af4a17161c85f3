"""The metrics in a job's log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from client import metrics
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from tests.client.conftest import Told


def test_every_definition_matches_what_the_program_prints(
    moons_with_validation: Path, tmp_path: Path
) -> None:
    """SageMaker finds each metric in the log of the real program, as a plain number (T47, X35).

    The last that it finds is that of the network that was saved: what a tuning job compares (T48).
    """
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "data").symlink_to(moons_with_validation)
    (tmp_path / "model").mkdir()
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(PROJECT / "container"),
        "SAGEMAKER_BASE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [PROJECT / "container" / "train"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    log = done.stdout.splitlines()
    final, history = metrics.final(log), metrics.history(log)

    assert {definition["Name"] for definition in metrics.DEFINITIONS} == set(final)
    (last,) = [line for line in log if line.startswith("final:")]
    assert metrics.final([last]) == final
    of_epochs = {name for name, numbers in history.items() if len(numbers) == 80}
    measures = ("loss", "accuracy", "roc_auc")
    validation = {f"validation_{measure}" for measure in measures}
    assert {"train_loss", "train_accuracy", "rows_per_second", *validation} == of_epochs
    assert min(history["validation_loss"]) == final["validation_loss"]


def test_the_history_is_that_of_the_epochs(told: Told) -> None:
    """Once an epoch, and without those of the last line."""
    history = metrics.history(told.said.splitlines())

    assert {"train_loss", "train_accuracy"} <= {*history}
    for name, numbers in history.items():
        assert 80 == len(numbers), name
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert all(0 <= accuracy <= 1 for accuracy in history["train_accuracy"])


def test_definitions_keep_to_sagemakers_limits() -> None:
    """At most 40, a name of 255 and a regex of 500 characters, with one group (T47)."""
    assert 40 >= len(metrics.DEFINITIONS)
    for definition in metrics.DEFINITIONS:
        assert 255 >= len(definition["Name"])
        assert 500 >= len(definition["Regex"])
        assert 1 == re.compile(definition["Regex"]).groups
