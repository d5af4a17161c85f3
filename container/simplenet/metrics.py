"""What a network is worth on rows with known labels, as numbers that CloudWatch can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from simplenet import threads
from simplenet.cluster import Cluster
from simplenet.stop import Stop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simplenet.channel import Channel
    from simplenet.model import SimpleNet

# Taken at a time, where each takes memory.
_ROWS = 1 << 18


def evaluate(
    net: SimpleNet,
    data: Channel,
    positive_weight: float = 1.0,
    cluster: Cluster | None = None,
    stop: Stop | None = None,
) -> dict[str, float]:
    """Return loss, accuracy and, where both classes are there, roc_auc over all hosts' rows.

    Raises:
        Stopped: as soon as one of the hosts is asked to stop.
    """
    cluster, stop = cluster or Cluster(), stop or Stop()
    rows = cluster.part(data)
    loss, scores = cluster.together(lambda: _score(net, rows, positive_weight, stop), stop)
    scores, labels = cluster.gather(scores), cluster.gather(rows[:, 0] > 0)
    found = {"loss": float(cluster.sum([loss])[0]) / len(labels)}
    return found | cluster.together(lambda: _compare(scores, labels), stop)


def _score(
    net: SimpleNet, rows: NDArray[np.float32], positive_weight: float, stop: Stop
) -> tuple[float, NDArray[np.float32]]:
    """Return the sum of the rows' losses, and their scores: (rows,)."""
    step = net.rows_at_a_time
    scores = np.empty(len(rows), dtype=np.float32)
    loss = 0.0
    weight = None if positive_weight == 1 else torch.tensor(positive_weight, device=net.mean.device)
    with torch.inference_mode(), threads.limited(len(rows) * net.hidden_dim):
        for first in range(0, len(rows), step):
            if stop.requested:
                break  # nobody wants the result any more, and a thread must not outlive the job
            batch = torch.from_numpy(rows[first : first + step]).to(net.mean.device)
            logits = net.logits(net.standardise(batch[:, 1:]))
            loss += float(
                binary_cross_entropy_with_logits(
                    logits, batch[:, 0], pos_weight=weight, reduction="none"
                ).sum(dtype=torch.float64)
            )
            scores[first : first + step] = torch.sigmoid(logits).cpu()
    return loss, scores


def _compare(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> dict[str, float]:
    """Return what the scores are worth as guesses of the labels."""
    found = {"accuracy": float(np.mean((scores > 0.5) == labels))}  # noqa: PLR2004
    area = roc_auc(scores, labels)
    return found if area is None else {**found, "roc_auc": area}


def roc_auc(scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> float | None:
    """Return how often a row of class 1 scores above one of class 0; equal scores count half.

    That is the area under the ROC curve, exactly. It needs both classes, else there is none. The
    scores are sorted in their place, for of a large channel a copy would be large too.

    >>> roc_auc(np.float32([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    if labels.all() or not labels.any():
        return None
    count = 0
    for first in range(0, len(scores), _ROWS):
        part, is_one = scores[first : first + _ROWS].copy(), labels[first : first + _ROWS]
        zeros = part[~is_one]
        # Of the ones found before, as many give way as there are zeros to add to those before them.
        ones = np.concatenate([scores[count:first][: len(zeros)], part[is_one]])
        scores[first + len(part) - len(ones) : first + len(part)] = ones
        scores[count : count + len(zeros)] = zeros
        count += len(zeros)
    zeros, ones = scores[:count], scores[count:]
    zeros.sort()
    ones.sort()
    # Twice the number of pairs in order: whole numbers, so no rounding before the division. In
    # parts, since for each row searchsorted gives 8 bytes.
    twice = 0
    for first in range(0, len(ones), _ROWS):
        part = ones[first : first + _ROWS]
        twice += int(np.searchsorted(zeros, part, side="left").sum())
        twice += int(np.searchsorted(zeros, part, side="right").sum())
    return twice / (2 * len(zeros) * len(ones))


def line(found: dict[str, float]) -> str:
    """Spell metrics as `name=value;`, which a MetricDefinition's regular expression finds.

    >>> line({"epoch": 3, "train_loss": 0.25, "rows_per_second": 1000.0})
    'epoch=3; train_loss=0.250000; rows_per_second=1000;'
    """
    return " ".join(f"{name}={_spell(name, value)};" for name, value in found.items())


def _spell(name: str, value: float) -> str:
    return f"{value:.0f}" if name in {"epoch", "rows_per_second"} else f"{value:.6f}"
