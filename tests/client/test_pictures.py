"""The pictures: there, of a readable size, and with something on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib import image

from client import pictures
from client.data import moons
from client.evaluation import Scored

if TYPE_CHECKING:
    from pathlib import Path

ROWS, _ = moons(points=80)


class Slope:
    """A model that knows no more than one feature."""

    def predict(self, data: np.ndarray, /) -> np.ndarray:
        """Return scores that rise with the first feature: (rows, 1)."""
        return np.asarray(1 / (1 + np.exp(-4 * data[:, :1])))


def expect_drawn(path: Path) -> None:
    """Hold a PNG against what a reader needs: 600 dots at least each way, and contrast."""
    drawn = image.imread(path)
    assert min(drawn.shape[:2]) > 500
    assert drawn.std() > 0.05, f"{path.name} is blank"


def test_an_evaluation_is_drawn_in_all_its_pictures(tmp_path: Path) -> None:
    """ROC curve, calibration, decision boundary and history."""
    scored = Scored.of(ROWS.labels, Slope().predict(ROWS.features))
    history = {"train_loss": [0.5, 0.4], "validation_loss": [0.6, 0.5], "train_accuracy": [0.8]}
    drawn = pictures.draw(tmp_path, ROWS, scored, Slope(), history)

    assert ["roc", "calibration", "boundary", "history"] == [path.stem for path in drawn]
    for path in drawn:
        expect_drawn(path)
    assert {*drawn} == {*tmp_path.iterdir()}


def test_what_is_not_known_is_not_drawn(tmp_path: Path) -> None:
    """A batch output has nothing to ask, and its job may be unknown."""
    scored = Scored.of(ROWS.labels, np.full(len(ROWS.labels), 0.5))

    assert ["roc", "calibration"] == [p.stem for p in pictures.draw(tmp_path, ROWS, scored)]


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_rows_of_one_class_can_be_drawn(tmp_path: Path, score: float) -> None:
    """Their ROC curve is undefined, and says so."""
    scored = Scored.of(np.ones(5), np.full(5, score))
    for draw in (pictures.draw_roc, pictures.draw_calibration):
        draw(scored, tmp_path / "picture.png")
        expect_drawn(tmp_path / "picture.png")


@pytest.mark.parametrize(
    "history",
    [
        {"train_loss": [0.5]},
        {"train_loss": [0.5, 0.4], "rows_per_second": [1000.0, 2000.0]},
        {f"{c}_{m}": [0.5] * 9 for c in ("train", "validation") for m in ("loss", "roc_auc")},
    ],
)
def test_any_history_can_be_drawn(tmp_path: Path, history: dict[str, list[float]]) -> None:
    """Of one epoch, with or without validation; the speed is no metric of the model."""
    pictures.draw_history(history, tmp_path / "history.png")

    expect_drawn(tmp_path / "history.png")
