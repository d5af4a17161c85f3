"""How good the scores of an endpoint are: the notebook's table and figures, and calibration."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn import metrics

from client.refusal import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from client.endpoint import Predictor

#: How many ranges of the score calibration is looked at in.
BINS = 10

#: What is printed, by its key: the notebook's own three first.
LABELS = {
    "Recall": "Recall",
    "Precision": "Precision",
    "Accuracy": "Accuracy",
    "AUC": "ROC AUC",
    "LogLoss": "Log loss",
    "Brier": "Brier",
    "ECE": "ECE",
}


class EvaluationError(Refusal):
    """Scores or labels that cannot be compared; the message says what they are."""


@dataclass(frozen=True)
class Scored:
    """Labels, and the scores that they got."""

    labels: NDArray[np.int64]  #: (rows,), each 0 or 1
    scores: NDArray[np.float64]  #: (rows,), each from 0 to 1

    @classmethod
    def of(cls, labels: NDArray[Any], scores: NDArray[Any]) -> Scored:
        """Return labels and scores of any shape, checked.

        Raises:
            EvaluationError: if there is not one score from 0 to 1 for each label, or a label is
                not 0 or 1.
        """
        labels = np.asarray(labels).ravel()
        scores = np.asarray(scores, dtype=np.float64).ravel()
        if labels.size == 0 or scores.size != labels.size:
            raise EvaluationError(
                f"There are {scores.size:,} scores for {labels.size:,} labels; expected one for "
                "each."
            )
        if not np.isin(labels, (0, 1)).all():
            raise EvaluationError(
                f"The labels are {np.unique(labels)[:5].tolist()}; expected 0 and 1."
            )
        if not ((scores >= 0) & (scores <= 1)).all():
            raise EvaluationError("Some score is not from 0 to 1; expected class scores.")
        return cls(labels.astype(np.int64), scores)

    @property
    def predictions(self) -> NDArray[np.float64]:
        """The scores, rounded as the notebook does it: (rows,)."""
        return np.round(self.scores)

    @property
    def has_both_classes(self) -> bool:
        """Whether there is anything to rank."""
        return bool(self.labels.min() != self.labels.max())


@dataclass(frozen=True)
class Bin:
    """The rows whose scores lie in one range, and how often they are right."""

    low: float
    high: float
    rows: int
    score: float  #: the mean of their scores
    positive: float  #: the share of them that is of class 1


def evaluate(
    predictor: Predictor,
    test_features: NDArray[Any],
    test_labels: NDArray[Any],
    verbose: bool = True,  # noqa: FBT001, FBT002  # the notebook's own signature
) -> dict[str, float]:
    """Score (rows, features) and compare the scores with the labels: (rows,), 0 or 1.

    Return what `figures` does; print the table of `table` first, if verbose.

    Raises:
        EvaluationError: if there is not one score from 0 to 1 for each label, or a label is not 0
            or 1.
    """
    scored = Scored.of(test_labels, predictor.predict(test_features))
    if verbose:
        sys.stdout.write(table(scored))
    return figures(scored)


def figures(scored: Scored) -> dict[str, float]:
    """Return the notebook's figures, and then how good the scores themselves are.

    TP, FP, FN and TN are counts; Precision, Recall and Accuracy go from 0 to 1. AUC is the area
    under the ROC curve. LogLoss and Brier, the mean squared error, are best at 0. ECE, the expected
    calibration error, is how far the scores lie from what they foretell, on average. What is
    undefined is nan, such as Recall where no row is positive.
    """
    labels, predictions = scored.labels, scored.predictions
    (tn, fp), (fn, tp) = metrics.confusion_matrix(labels, predictions, labels=[0, 1]).tolist()
    both = scored.has_both_classes
    return {
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "TN": tn,
        "Precision": float(metrics.precision_score(labels, predictions, zero_division=math.nan)),
        "Recall": float(metrics.recall_score(labels, predictions, zero_division=math.nan)),
        "Accuracy": float(metrics.accuracy_score(labels, predictions)),
        "AUC": float(metrics.roc_auc_score(labels, scored.scores)) if both else math.nan,
        # A score of exactly 0 or 1 that is wrong would be infinitely wrong; scikit-learn clips it.
        "LogLoss": float(metrics.log_loss(labels, scored.scores, labels=[0, 1])),
        "Brier": float(np.mean((scored.scores - labels) ** 2)),
        "ECE": sum(abs(found.score - found.positive) * found.rows for found in reliability(scored))
        / len(labels),
    }


def reliability(scored: Scored) -> list[Bin]:
    """Return, for each range of the score that has rows, what it foretold and what came true."""
    bins = np.minimum((scored.scores * BINS).astype(np.int64), BINS - 1)
    return [
        Bin(
            low=int(number) / BINS,
            high=(int(number) + 1) / BINS,
            rows=int((bins == number).sum()),
            score=float(scored.scores[bins == number].mean()),
            positive=float(scored.labels[bins == number].mean()),
        )
        for number in np.unique(bins)
    ]


def table(scored: Scored) -> str:
    """Return the notebook's print, and the further figures below it."""
    counts = pd.crosstab(
        scored.labels, scored.predictions, rownames=["actuals"], colnames=["predictions"]
    ).reindex(index=[0, 1], columns=[0.0, 1.0], fill_value=0)
    found = figures(scored)
    lines = {name: f"{label + ':':<11} {found[name]:.3f}\n" for name, label in LABELS.items()}
    seed, more = list(lines.values())[:3], list(lines.values())[3:]
    return f"{counts}\n\n{''.join(seed)}\n{''.join(more)}\n"


def interval(right: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was counted: Wilson's.

    >>> [round(bound, 3) for bound in interval(138, 150)]
    [0.865, 0.954]
    """
    z = 1.959964
    share, spread = right / rows, z * z / rows
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / rows + spread / (4 * rows)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
