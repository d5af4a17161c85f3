"""The metrics of a job."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simplenet import metrics
from sklearn.metrics import roc_auc_score


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=60))
def test_the_area_under_the_roc_curve_is_scikit_learns(rows: list[tuple[int, bool]]) -> None:
    """Ties count half; with one class only there is no area, and never a NaN (T47)."""
    scores = np.array([score / 9 for score, _ in rows], dtype=np.float32)
    labels = np.array([label for _, label in rows])
    area = metrics.roc_auc(scores.copy(), labels)

    if labels.all() or not labels.any():
        assert area is None
    else:
        assert area == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("ones", [0.02, 0.5, 0.98])
def test_the_area_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch, ones: float) -> None:
    """Many rows are sorted in their place, a part at a time, with the last one cut short."""
    monkeypatch.setattr(metrics, "_ROWS", 7)
    random = np.random.default_rng(0)
    labels = random.random(500) < ones
    scores = random.random(500).round(2).astype(np.float32)

    area = metrics.roc_auc(scores.copy(), labels)

    assert area == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_a_line_of_metrics_is_what_a_metric_definition_finds() -> None:
    """`name=value;`, plain decimals, no tabs (T47, X35)."""
    line = metrics.line({"epoch": 3, "train_loss": 1e-9, "rows_per_second": 12345.6})

    assert line == "epoch=3; train_loss=0.000000; rows_per_second=12346;"
