"""Rows to weights: a new network, and the loop that trains it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.adamw import adamw

from simplenet import threads
from simplenet.batches import Batches
from simplenet.cluster import Cluster
from simplenet.metrics import evaluate
from simplenet.model import SimpleNet
from simplenet.stop import Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simplenet.channel import Channel
    from simplenet.hyperparameters import Hyperparameters
    from simplenet.state import State

    Found = dict[str, float]


# Standard deviations. Products of weights with larger numbers overflow float32, and infinities of
# both signs add up to no number.
_REACH = 1e30


class TrainingError(ValueError):
    """A job that cannot go on; the message goes to the user as it is."""


def prepare(
    data: Channel,
    settings: Hyperparameters,
    cluster: Cluster | None = None,
    stop: Stop | None = None,
) -> SimpleNet:
    """Return a new network for the data: its scale learnt, its weights drawn from the seed.

    Raises:
        TrainingError: if the data has one class only, or not as many features as was said.
        Stopped: as soon as one of the hosts is asked to stop.
    """
    cluster, stop = cluster or Cluster(), stop or Stop()
    input_dim = data.features.shape[1]
    if settings.input_dim not in (None, input_dim):
        raise TrainingError(
            f"Hyperparameter input_dim is {settings.input_dim}, but the data has {input_dim} "
            "features (and the label, in the first column). Correct it or leave it out."
        )
    mine = cluster.part(data)
    rows, ones = (int(n) for n in cluster.sum([len(mine), int(np.count_nonzero(mine[:, 0]))]))
    if ones in (0, rows):
        raise TrainingError(
            f"Every one of the {rows:,} labels in channel {data.name!r} is "
            f"{1 if ones else 0}; expected both classes, 0 and 1. "
            "The label is the first column: add rows of the other class, or mend that column."
        )
    net = SimpleNet(input_dim, settings.hidden_dim, settings.output_dim)
    net.draw_weights(torch.Generator().manual_seed(settings.seed))
    net.learn_scale(mine[:, 1:], lambda work: cluster.sum(cluster.together(work, stop)))
    return net


def check_reach(net: SimpleNet, data: Channel) -> None:
    """Refuse rows so far from those that the scale was learnt from that no score is a number.

    Raises:
        TrainingError: for the column that reaches furthest, with its first such row.
    """
    if not len(data.rows):
        return
    mean, scale = (buffer.cpu().numpy().astype(np.float64) for buffer in (net.mean, net.scale))
    # Where no number at all reaches so far, no column does, and one pass over them all is quick.
    largest = max(-float(data.rows.min()), float(data.rows.max())) + np.abs(mean).max()
    if largest / scale.min() <= _REACH:
        return
    ends = np.stack([data.features.min(axis=0), data.features.max(axis=0)])
    reach = np.abs((ends - mean) / scale)
    end, column = np.unravel_index(reach.argmax(), reach.shape)
    if reach[end, column] > _REACH:
        value = ends[end, column]
        row = int(np.argmax(data.features[:, column] == value))
        raise TrainingError(
            f"Row {row + 1:,} of channel {data.name!r}, column {column + 2} is {value:g}, which is "
            f"{reach[end, column]:.0e} standard deviations from the mean of what was trained on; "
            f"expected at most {_REACH:.0e}, beyond which float32 does not hold what the network "
            "computes of it. Correct that cell or drop the row."
        )


def fit(  # noqa: PLR0913  # rows and settings are enough to fit; the rest is a job's
    state: State,
    data: Channel,
    settings: Hyperparameters,
    *,
    validation: Channel | None = None,
    cluster: Cluster | None = None,
    stop: Stop | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> Iterator[Found]:
    """Train in place, yielding the metrics of each epoch, until the epochs or the patience end.

    AdamW over shuffled batches, with a learning rate that falls to zero along half a cosine, so
    that the last weights are settled ones. The same seed and data give the same weights.

    Raises:
        TrainingError: if the loss is no number any more.
    """
    cluster, stop = cluster or Cluster(), stop or Stop()
    rows = torch.from_numpy(data.rows).to(cluster.device)
    counts = cluster.each(len(rows))
    batches = Batches(settings.batch_size, counts, cluster.rank, data.sharded)
    while state.epoch < settings.epochs and not _out_of_patience(state, settings):
        began, first_step = time.perf_counter(), state.step
        with threads.limited(settings.batch_size * settings.hidden_dim):
            if not _take_steps(state, rows, batches, settings, cluster, stop, after_step):
                return
        seconds = time.perf_counter() - began
        worth = {}
        if validation is not None:
            try:
                worth = evaluate(state.net, validation, settings.positive_weight, cluster, stop)
            except Stopped:
                # The state is that after the last step: a restart evaluates it again.
                return
        found = _finish_epoch(state, batches.rows, settings)
        if first_step < len(batches):
            done = batches.rows * (len(batches) - first_step) / len(batches)
            found["rows_per_second"] = done / seconds
        if worth:
            _keep_best(state, worth["loss"], settings)
            found |= {f"validation_{name}": value for name, value in worth.items()}
        state.history.append(found)
        yield found
        after_step()


def _take_steps(  # noqa: PLR0913, PLR0917  # an epoch of `fit`, with what that has
    state: State,
    rows: torch.Tensor,
    batches: Batches,
    settings: Hyperparameters,
    cluster: Cluster,
    stop: Stop,
    after_step: Callable[[], None],
) -> bool:
    """Take the steps of an epoch that are left; return whether all were taken.

    The order of the rows, 4 bytes for each, is gone when it returns.
    """
    try:
        drawn = cluster.together(lambda: batches.order(settings.seed, state.epoch), stop)
    except Stopped:
        return False
    order = drawn.to(cluster.device)
    for step in range(state.step, len(batches)):
        first, last, size = batches.share(step)
        lr = settings.lr * _cosine(state.epoch + step / len(batches), settings.epochs)
        picked = order[first:last]
        if not _advance(state, rows, picked, size, lr, settings, cluster, stop):
            stop.requested = True
            return False
        state.step += 1
        after_step()
    return True


def _advance(  # noqa: PLR0913, PLR0917  # one step, where a call costs as little as it can
    state: State,
    rows: torch.Tensor,
    picked: torch.Tensor,
    size: int,
    lr: float,
    settings: Hyperparameters,
    cluster: Cluster,
    stop: Stop,
) -> bool:
    """Take one step of AdamW on a batch of `size`, of which this host has the rows `picked`.

    Returns whether it was taken: not if a host is to stop, which leaves all as it was before.
    """
    sums: list[torch.Tensor] = []
    # In parts, which the processor's cache holds; and so a batch of any size fits the memory.
    for part in torch.split(picked, state.net.rows_at_a_time):
        batch = rows.index_select(0, part)
        labels = batch[:, 0]
        logits = state.net.logits(state.net.standardise(batch[:, 1:]))
        weight = None
        if settings.positive_weight != 1:
            weight = logits.new_tensor(settings.positive_weight)
        loss = binary_cross_entropy_with_logits(
            logits, labels, pos_weight=weight, reduction="sum"
        ) / max(size, 1)
        correct = ((logits > 0) == labels).sum()
        found = [*torch.autograd.grad(loss, state.weights), loss.detach(), correct]
        sums = [*map(torch.add, sums, found)] if sums else found
        stopped = stop.requested
        if stopped:
            break  # a batch may be large
    if cluster.size > 1:
        # One message a step: the gradients, the sums of the metrics, and whether to stop.
        told = [*sums, loss.new_tensor(float(stopped))]
        message = cluster.add_up(torch.cat([part.reshape(-1) for part in told]))
        *parts, stops = torch.split(message, [part.numel() for part in told])
        sums = [part.view_as(old).to(old.dtype) for part, old in zip(parts, sums, strict=True)]
        stopped = bool(stops)
    if stopped:
        return False
    *gradients, loss, correct = sums
    with torch.no_grad():
        adamw(
            state.weights,
            gradients,
            state.moments,
            state.squares,
            [],
            state.steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=lr,
            weight_decay=settings.weight_decay,
            eps=1e-8,
            maximize=False,
        )
        state.loss_sum.add_(loss, alpha=size)
        state.correct += correct
    return True


def _finish_epoch(state: State, rows: int, settings: Hyperparameters) -> Found:
    """Close the books of an epoch; its metrics are of the weights while they were changing."""
    loss, correct = float(state.loss_sum) / rows, float(state.correct) / rows
    state.epoch += 1
    state.step = 0
    state.loss_sum.zero_()
    state.correct.zero_()
    _check(state, loss, settings)
    return {"epoch": state.epoch, "train_loss": loss, "train_accuracy": correct}


def _check(state: State, loss: float, settings: Hyperparameters) -> None:
    """Refuse a loss, or weights, that are no numbers any more."""
    if not math.isfinite(loss) or not state.finite():
        raise TrainingError(
            f"The loss of epoch {state.epoch} is {loss}: training diverged. "
            f"Use a lower lr than {settings.lr:g}."
        )


def _keep_best(state: State, loss: float, settings: Hyperparameters) -> None:
    """Remember the weights if none so far had a lower validation loss."""
    _check(state, loss, settings)
    if loss < state.best_loss:
        state.best_loss, state.best_epoch = loss, state.epoch
        for best, weight in zip(state.best, state.weights, strict=True):
            best.copy_(weight.detach())


def _out_of_patience(state: State, settings: Hyperparameters) -> bool:
    """Return whether the validation loss has not fallen for as many epochs as the job allows."""
    waited = state.epoch - state.best_epoch
    return bool(settings.patience and state.best_epoch and waited >= settings.patience)


def _cosine(done: float, epochs: int) -> float:
    """Return the factor of the learning rate after `done` of `epochs`, from 1 down to 0."""
    return 0.5 + 0.5 * math.cos(math.pi * done / epochs)
