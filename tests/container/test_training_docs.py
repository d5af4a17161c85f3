"""What docs/training.md says of training."""

from __future__ import annotations

from pathlib import Path

from simplenet import hyperparameters
from simplenet.meeting import PORT, SILENCE
from simplenet.paths import Paths

TEXT = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_table_of_hyperparameters_is_the_one_that_is_parsed() -> None:
    """To the letter: name, type, default, range and meaning."""
    assert hyperparameters.markdown_table() in TEXT


def test_every_path_and_limit_is_the_programs() -> None:
    """The files that are named are those that are written."""
    paths = Paths()
    for path in (
        paths.model_file,
        paths.output_data / "metrics.json",
        paths.output_data / "history.csv",
        paths.failure,
        paths.checkpoints,
    ):
        assert f"`{path}`" in TEXT
    assert f"port {PORT}" in TEXT
    assert f"silent for {SILENCE} s" in TEXT
