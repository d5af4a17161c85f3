"""The metrics in a job's log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from client import metrics

if TYPE_CHECKING:
    from tests.client.conftest import Told


def test_every_definition_matches_what_the_program_prints(told: Told) -> None:
    """SageMaker finds each metric in the real log, once an epoch, as a plain number (T47, X35)."""
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
