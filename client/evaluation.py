"""How good the scores of an endpoint are: the notebook's table and figures."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

from client.refusal import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from client.endpoint import Predictor


class EvaluationError(Refusal):
    """Scores or labels that cannot be compared; the message says what they are."""


def evaluate(
    predictor: Predictor,
    test_features: NDArray[Any],
    test_labels: NDArray[Any],
    verbose: bool = True,  # noqa: FBT001, FBT002  # the notebook's own signature
) -> dict[str, float]:
    """Score (rows, features) and compare the rounded scores with the labels: (rows,), 0 or 1.

    Return TP, FP, FN and TN as counts, Precision, Recall and Accuracy from 0 to 1. Where no row is
    positive, or none is called so, Recall or Precision is undefined: nan.

    Raises:
        EvaluationError: if there is not one score from 0 to 1 for each label, or a label is not 0
            or 1.
    """
    labels = np.asarray(test_labels).ravel()
    scores = np.asarray(predictor.predict(test_features), dtype=np.float64).ravel()
    if labels.size == 0 or scores.size != labels.size:
        raise EvaluationError(
            f"There are {scores.size:,} scores for {labels.size:,} labels; expected one for each."
        )
    if not np.isin(labels, (0, 1)).all():
        raise EvaluationError(f"The labels are {np.unique(labels)[:5].tolist()}; expected 0 and 1.")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise EvaluationError("Some score is not from 0 to 1; expected class scores.")
    labels, predictions = labels.astype(np.int64), np.round(scores)

    (tn, fp), (fn, tp) = confusion_matrix(labels, predictions, labels=[0, 1]).tolist()
    recall = float(recall_score(labels, predictions, zero_division=math.nan))
    precision = float(precision_score(labels, predictions, zero_division=math.nan))
    accuracy = float(accuracy_score(labels, predictions))
    if verbose:
        table = pd.crosstab(labels, predictions, rownames=["actuals"], colnames=["predictions"])
        both = table.reindex(index=[0, 1], columns=[0.0, 1.0], fill_value=0)
        sys.stdout.write(
            f"{both}\n\n{'Recall:':<11} {recall:.3f}\n{'Precision:':<11} {precision:.3f}\n"
            f"{'Accuracy:':<11} {accuracy:.3f}\n\n"
        )
    return {
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "TN": tn,
        "Precision": precision,
        "Recall": recall,
        "Accuracy": accuracy,
    }
