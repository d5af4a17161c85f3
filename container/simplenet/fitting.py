"""Rows to weights: a new network, the state of its training, and the loop that advances it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.adamw import adamw

from simplenet.cluster import Cluster
from simplenet.metrics import evaluate
from simplenet.model import SimpleNet
from simplenet.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simplenet.channel import Channel
    from simplenet.hyperparameters import Hyperparameters

    Found = dict[str, float]


# Below so many hidden units in a batch, a second thread costs more than it brings: on a machine
# with other work to do it made a step of 16 rows 50 times slower.
_FEW_UNITS = 1 << 17


class TrainingError(ValueError):
    """A job that cannot go on; the message goes to the user as it is."""


def prepare(data: Channel, settings: Hyperparameters, cluster: Cluster | None = None) -> SimpleNet:
    """Return a new network for the data: its scale learnt, its weights drawn from the seed.

    Raises:
        TrainingError: if the data has one class only, or not as many features as was said.
    """
    cluster = cluster or Cluster()
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
    net.learn_scale(mine[:, 1:], cluster.sum)
    return net


@dataclass
class State:
    """All that the rest of a training depends on, besides its data and settings."""

    net: SimpleNet
    epoch: int = 0  #: epochs that are complete
    step: int = 0  #: batches of the next one that are done
    best_epoch: int = 0  #: of the lowest validation loss; 0 as long as there is none
    best_loss: float = math.inf
    history: list[Found] = field(default_factory=list)  #: the metrics of each epoch

    def __post_init__(self) -> None:
        """Begin with AdamW's moments at zero, and the first weights as the best so far."""
        self.net.requires_grad_()
        self.weights: list[torch.Tensor] = [*self.net.parameters()]
        device = self.net.mean.device
        # The functional AdamW: an Optimizer object imports torch._dynamo, a second for nothing.
        self.moments = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]
        self.steps = [torch.zeros((), device=device) for _ in self.weights]
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.best = [weight.detach().clone() for weight in self.weights]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every number of the state but the history, by name; tensors are not copied."""
        counters = [self.epoch, self.step, self.best_epoch, self.best_loss]
        named = {
            "counters": torch.tensor(counters, dtype=torch.float64),
            "loss_sum": self.loss_sum,
            "correct": self.correct,
        }
        for name, buffer in self.net.named_buffers():
            named[f"net.{name}"] = buffer
        for number, (name, weight) in enumerate(self.net.named_parameters()):
            named[f"net.{name}"] = weight.detach()
            named[f"moment.{name}"] = self.moments[number]
            named[f"square.{name}"] = self.squares[number]
            named[f"steps.{name}"] = self.steps[number]
            named[f"best.{name}"] = self.best[number]
        return named

    def restore(self, tensors: dict[str, torch.Tensor], history: list[Found]) -> None:
        """Take over what `tensors` gave, in place."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        epoch, step, best_epoch, self.best_loss = tensors["counters"].tolist()
        self.epoch, self.step, self.best_epoch = int(epoch), int(step), int(best_epoch)
        self.history = history

    def finite(self) -> bool:
        """Return whether all weights are numbers still."""
        return all(bool(torch.isfinite(weight).all()) for weight in self.weights)

    def result(self) -> SimpleNet:
        """Return the network to keep: the best on the validation channel, or the latest."""
        if self.best_epoch:
            with torch.no_grad():
                for weight, best in zip(self.weights, self.best, strict=True):
                    weight.copy_(best)
        return self.net


@dataclass(frozen=True)
class Batches:
    """How the rows of all hosts make up the batches of an epoch.

    Every batch has rows of every host, in proportion to what they hold, and each host computes
    its share of it: the sum over the hosts is then the gradient of the whole batch.
    """

    size: int  #: rows of all hosts in one batch
    counts: list[int]  #: rows that each host holds
    rank: int
    sharded: bool  #: whether the hosts hold different rows

    @property
    def rows(self) -> int:
        """Rows in an epoch."""
        return sum(self.counts) if self.sharded else self.counts[self.rank]

    def __len__(self) -> int:
        return math.ceil(self.rows / self.size)

    def order(self, seed: int, epoch: int) -> torch.Tensor:
        """Return the order of this host's rows in one epoch: (rows here,)."""
        # Each epoch draws afresh, so that one can begin in the midst of training.
        entropy = [seed, epoch, self.rank if self.sharded else 0]
        drawn = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
        # 4 bytes a row where they suffice: a table of two features has 12.
        small = self.counts[self.rank] < 1 << 31
        return torch.randperm(
            self.counts[self.rank],
            generator=torch.Generator().manual_seed(drawn),
            dtype=torch.int32 if small else torch.int64,
        )

    def share(self, step: int) -> tuple[int, int, int]:
        """Return where this host's rows of a batch begin and end, and how many all hosts have."""
        if self.sharded:
            ends = [(n * step // len(self), n * (step + 1) // len(self)) for n in self.counts]
            return *ends[self.rank], sum(last - first for first, last in ends)
        first = step * self.size
        rows = min(self.size, self.rows - first)
        hosts = len(self.counts)
        begin, end = rows * self.rank // hosts, rows * (self.rank + 1) // hosts
        return first + begin, first + end, rows


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
    if settings.batch_size * settings.hidden_dim < _FEW_UNITS:
        torch.set_num_threads(1)
    rows = torch.from_numpy(data.rows).to(cluster.device)
    counts = cluster.each(len(rows))
    batches = Batches(settings.batch_size, counts, cluster.rank, data.sharded)
    while state.epoch < settings.epochs and not _out_of_patience(state, settings):
        began, first_step = time.perf_counter(), state.step
        order = batches.order(settings.seed, state.epoch).to(cluster.device)
        for step in range(state.step, len(batches)):
            first, last, size = batches.share(step)
            lr = settings.lr * _cosine(state.epoch + step / len(batches), settings.epochs)
            batch = rows.index_select(0, order[first:last])
            stopped = _advance(state, batch, size, lr, settings, cluster, stop)
            state.step += 1
            if stopped:
                stop.requested = True
                return
            after_step()
        seconds = time.perf_counter() - began
        done = batches.rows * (len(batches) - first_step) / len(batches)
        found = _finish_epoch(state, batches.rows, done / seconds, settings)
        if validation is not None:
            worth = evaluate(state.net, validation, cluster, settings.positive_weight)
            _keep_best(state, worth["loss"], settings)
            found |= {f"validation_{name}": value for name, value in worth.items()}
        state.history.append(found)
        yield found
        after_step()


def _advance(  # noqa: PLR0913, PLR0917  # one step, where a call costs as little as it can
    state: State,
    batch: torch.Tensor,
    size: int,
    lr: float,
    settings: Hyperparameters,
    cluster: Cluster,
    stop: Stop,
) -> bool:
    """Take one step of AdamW on this host's rows of a batch; return whether a host is to stop."""
    stopped = stop.requested
    labels = batch[:, 0]
    logits = state.net.logits(state.net.standardise(batch[:, 1:]))
    weight = None
    if settings.positive_weight != 1:
        weight = logits.new_tensor(settings.positive_weight)
    if cluster.size == 1:
        loss = binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)
        gradients = [*torch.autograd.grad(loss, state.weights)]
        loss_sum, rows_told = loss.detach(), size
        correct = ((logits > 0) == labels).sum()
    else:
        loss = binary_cross_entropy_with_logits(
            logits, labels, pos_weight=weight, reduction="sum"
        ) / max(size, 1)
        gradients = [*torch.autograd.grad(loss, state.weights)]
        correct = ((logits > 0) == labels).sum()
        # One message a step: the gradients, the sums of the metrics, and whether to stop.
        told = [loss.detach() * size, correct, logits.new_tensor(float(stopped))]
        message = cluster.add_up(torch.cat([part.reshape(-1) for part in [*gradients, *told]]))
        sizes = [gradient.numel() for gradient in gradients]
        *parts, loss_sum, correct, stops = torch.split(message, [*sizes, 1, 1, 1])
        gradients = [part.view_as(old) for part, old in zip(parts, gradients, strict=True)]
        correct, rows_told = correct.squeeze().to(torch.int64), 1
        loss_sum = loss_sum.squeeze()
        stopped = bool(stops)
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
        state.loss_sum.add_(loss_sum, alpha=rows_told)
        state.correct += correct
    return stopped


def _finish_epoch(state: State, rows: int, speed: float, settings: Hyperparameters) -> Found:
    """Close the books of an epoch; its metrics are of the weights while they were changing."""
    loss, correct = float(state.loss_sum) / rows, float(state.correct) / rows
    state.epoch += 1
    state.step = 0
    state.loss_sum.zero_()
    state.correct.zero_()
    _check(state, loss, settings)
    return {
        "epoch": state.epoch,
        "train_loss": loss,
        "train_accuracy": correct,
        "rows_per_second": speed,
    }


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
