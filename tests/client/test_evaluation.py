"""Scores and labels to the notebook's figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from client.evaluation import (
    Bin,
    EvaluationError,
    Scored,
    evaluate,
    figures,
    interval,
    reliability,
)


@dataclass(frozen=True)
class Known:
    """A predictor whose scores are known."""

    scores: object

    def predict(self, _: np.ndarray, /) -> object:
        """Return the scores, whatever the rows."""
        return self.scores


FEATURES = np.zeros((6, 2))
LABELS = np.array([0, 0, 1, 1, 1, 0])


def test_the_table_and_the_figures_are_the_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    """The same dictionary, and the same print, from scores of shape (rows, 1)."""
    found = evaluate(Known([[0.1], [0.9], [0.8], [0.2], [0.7], [0.4]]), FEATURES, LABELS)

    assert {
        "TP": 2,
        "FP": 1,
        "FN": 1,
        "TN": 2,
        "Precision": pytest.approx(2 / 3),
        "Recall": pytest.approx(2 / 3),
        "Accuracy": pytest.approx(4 / 6),
    } == dict(list(found.items())[:7])
    assert ["AUC", "LogLoss", "Brier", "ECE"] == list(found)[7:]
    assert (
        "predictions  0.0  1.0\n"
        "actuals              \n"
        "0              2    1\n"
        "1              1    2\n"
        "\n"
        "Recall:     0.667\n"
        "Precision:  0.667\n"
        "Accuracy:   0.667\n"
        "\n"
        "ROC AUC:    0.556\n"
        "Log loss:   0.851\n"
        "Brier:      0.292\n"
        "ECE:        0.450\n"
        "\n"
    ) == capsys.readouterr().out


def test_the_further_figures_are_what_their_definitions_say() -> None:
    """Computed once more, pair by pair and row by row, for scores with ties and extremes."""
    random = np.random.default_rng(0)
    scores = np.round(random.uniform(size=400), 2)
    labels = (random.uniform(size=400) < scores).astype(int)
    found = figures(Scored.of(labels, scores))

    positive, negative = scores[labels == 1], scores[labels == 0]
    pairs = positive[:, None] - negative
    assert found["AUC"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    said = np.where(labels == 1, scores, 1 - scores)
    assert found["LogLoss"] == pytest.approx(-np.log(said).mean())
    assert found["Brier"] == pytest.approx(((1 - said) ** 2).mean())
    tenths = np.minimum(np.round(100 * scores) // 10, 9)
    parts = [tenths == tenth for tenth in range(10)]
    gaps = [abs(scores[part].mean() - labels[part].mean()) * part.mean() for part in parts]
    assert found["ECE"] == pytest.approx(sum(gaps))


def test_calibration_is_told_for_each_range_that_has_rows() -> None:
    """The score 1 belongs to the last range; an empty one is left out."""
    scored = Scored.of(np.array([0, 1, 1]), np.array([0.05, 0.95, 1.0]))

    assert [Bin(0.0, 0.1, 1, 0.05, 0.0), Bin(0.9, 1.0, 2, 0.975, 1.0)] == reliability(scored)


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    # https://www.itl.nist.gov/div898/handbook/prc/section2/prc241.htm has Wilson's interval.
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (138, 150, 0.8654, 0.9536),
    ],
)
def test_an_interval_is_wilsons(right: int, rows: int, low: float, high: float) -> None:
    """It also says something where all is right, or nothing."""
    assert pytest.approx((low, high), abs=1e-4) == interval(right, rows)


def test_nothing_is_printed_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """`verbose=False` only returns."""
    evaluate(Known([0, 1, 0, 1, 0, 1]), FEATURES, LABELS, verbose=False)

    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("scores", "labels", "recall", "precision", "accuracy"),
    [
        ([0.1] * 6, [0] * 6, math.nan, math.nan, 1),
        ([0.9] * 6, [1] * 6, 1, 1, 1),
        ([0.9] * 6, [0] * 6, math.nan, 0, 0),
        ([0.1] * 6, [1] * 6, 0, math.nan, 0),
    ],
)
def test_an_absent_class_is_no_error(
    capsys: pytest.CaptureFixture[str],
    scores: list[float],
    labels: list[int],
    recall: float,
    precision: float,
    accuracy: float,
) -> None:
    """What is undefined is nan, without a warning, and the table has both classes all the same."""
    found = evaluate(Known(scores), FEATURES, np.array(labels))

    expected = {"Recall": recall, "Precision": precision, "Accuracy": accuracy}
    assert pytest.approx(expected, nan_ok=True) == {name: found[name] for name in expected}
    assert 6 == found["TP"] + found["FP"] + found["FN"] + found["TN"]
    assert capsys.readouterr().out.startswith("predictions  0.0  1.0\n")


@pytest.mark.parametrize(
    ("scores", "labels", "sentence"),
    [
        ([0.5], LABELS, "There are 1 scores for 6 labels; expected one for each."),
        ([], np.array([]), "There are 0 scores for 0 labels; expected one for each."),
        ([0.5] * 6, LABELS * 2, "The labels are [0, 2]; expected 0 and 1."),
        ([1.5] * 6, LABELS, "Some score is not from 0 to 1"),
        ([math.nan] * 6, LABELS, "Some score is not from 0 to 1"),
    ],
)
def test_what_cannot_be_compared_gets_a_sentence(
    scores: list[float], labels: np.ndarray, sentence: str
) -> None:
    """Figures of nonsense are worse than none."""
    with pytest.raises(EvaluationError) as refused:
        evaluate(Known(scores), FEATURES, labels)

    assert str(refused.value).startswith(sentence)
