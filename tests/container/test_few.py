"""Few rows in numpy, and many in torch: one network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from simplenet import few
from simplenet.model import SimpleNet
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


@given(
    seed=st.integers(0, 1000),
    columns=st.integers(1, 40),
    hidden=st.integers(1, 300),
    spread=st.sampled_from([1e-3, 1.0, 1e3, 1e9, 1e30]),
)
def test_a_row_scores_the_same_alone_and_among_many(
    seed: int, columns: int, hidden: int, spread: float
) -> None:
    """Within 1e-6, and small scores to the same digits, whatever the weights and the features."""
    net = SimpleNet(columns, hidden)
    net.draw_weights(torch.Generator().manual_seed(seed))
    net.requires_grad_(requires_grad=False)
    draw = np.random.default_rng(seed)
    rows = (draw.normal(size=(few.ROWS + 1, columns)) * spread).astype(np.float32)
    net.learn_scale(rows)
    # Surer than a fresh network; ten times surer still, torch itself scores a row alone otherwise
    # than among many by more than 1e-6.
    net.fc2.weight.mul_(4)
    many = net.score(rows)
    net.freeze()

    for count in (1, 2, few.ROWS):
        scores = net.score(rows[:count])

        assert (count,) == scores.shape
        assert np.float32 == scores.dtype
        np.testing.assert_allclose(many[:count], scores, atol=1e-6)
        np.testing.assert_allclose(many[:count], scores, rtol=1e-3, atol=1e-30)


def test_the_served_network_is_translated() -> None:
    """An operation that is missing from the table would go unseen: its rows are only slower."""
    assert few.translate(SimpleNet(2).requires_grad_(requires_grad=False).forward, 2) is not None


def _returns_its_input(rows: Tensor) -> Tensor:
    torch.sub(rows, 1.0)
    return rows


@pytest.mark.parametrize(
    "forward",
    [
        lambda rows: torch.sub(rows, rows.mean()),
        lambda rows: torch.sub(rows, rows),
        lambda rows: torch.sub(1.0, rows),
        lambda rows: torch.sub(rows, 1.0, alpha=2),
        lambda rows: torch.sub(torch.sub(rows, 1.0), rows.view(2, 2)),
        lambda rows: rows.view(rows.shape[0] * 2),
        lambda rows: rows.view(len(rows) * 2),
        lambda rows: rows.sigmoid_() if rows.sum() else rows,
        torch.erf,
        _returns_its_input,
    ],
)
def test_what_is_no_chain_of_known_operations_is_left_to_torch(
    forward: Callable[[Tensor], Tensor],
) -> None:
    """A network of the reader's own is served right before it is served fast."""
    assert few.translate(forward, 2) is None
