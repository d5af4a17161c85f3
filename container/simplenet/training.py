"""The program `train`: a channel of CSV files to a trained SimpleNet in `/opt/ml/model`."""

from __future__ import annotations

import json
import logging
import math
import platform
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.adamw import adamw

from simplenet import __version__, channel
from simplenet.channel import Channel, ChannelError
from simplenet.hyperparameters import HyperparameterError, Hyperparameters
from simplenet.model import ModelError, SimpleNet
from simplenet.paths import Paths
from simplenet.table import TableError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("train")

# The first 1,024 characters of the failure file become the job's FailureReason.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
_FAILURE_CHARACTERS = 1024


class TrainingError(ValueError):
    """A job that cannot go on; the message goes to the user as it is."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data came to, while the weights were changing."""

    number: int  #: from 1
    loss: float  #: mean binary cross-entropy, in nats
    accuracy: float  #: share of the rows on the right side of 0.5, from 0 to 1
    rows_per_second: float


class Stop:
    """SIGTERM, remembered: SageMaker sends it to stop a job, and SIGKILL 120 s later.

    https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
    """

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Take SIGTERM from now on; without a handler PID 1 would never hear of it."""
        signal.signal(signal.SIGTERM, lambda *_: self.request())

    def request(self) -> None:
        """Ask the job to end at its next step."""
        self.requested = True


def main() -> int:
    """Run one training job; return the exit code, by which SageMaker knows how it went."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    stop = Stop()
    stop.listen()
    paths = Paths.from_environment()
    try:
        train(paths, stop)
    except (HyperparameterError, ChannelError, TableError, TrainingError, ModelError) as error:
        return _fail(paths, str(error))
    except OSError as error:
        return _fail(paths, f"{error.filename or paths.root}: {error.strerror or error}.")
    except Exception as error:
        log.exception("The job failed by a fault of the program itself.")
        return _fail(paths, f"{type(error).__name__}: {error} (the log has the traceback).")
    return 0


def train(paths: Paths, stop: Stop) -> None:
    """Read the job's settings and data, fit a SimpleNet, and save it."""
    log.info(
        "simplenet %s, Python %s, torch %s",
        __version__,
        platform.python_version(),
        torch.__version__,
    )
    settings = _read_settings(paths)
    _refuse_many_hosts(paths)
    data = channel.read(channel.find(paths.channels, "train", "training"))
    log.info(
        "channel %s: %s files, %s bytes, %s rows of a label and %s features",
        *(data.name, data.files, data.size, *data.features.shape),
    )
    net = prepare(data, settings)
    for epoch in fit(net, data, settings, stop):
        log.info(
            "epoch=%d; train_loss=%.6f; train_accuracy=%.6f; rows_per_second=%.0f;",
            *(epoch.number, epoch.loss, epoch.accuracy, epoch.rows_per_second),
        )
    if stop.requested:
        log.info("SIGTERM: stopping early; the model so far is kept.")
    net.save(paths.model_file)
    log.info("model saved as %s", paths.model_file)


def prepare(data: Channel, settings: Hyperparameters) -> SimpleNet:
    """Return a new network for the data: its scale learnt, its weights drawn from the seed.

    Raises:
        TrainingError: if the data has one class only, or not as many features as was said.
    """
    input_dim = data.features.shape[1]
    if settings.input_dim not in (None, input_dim):
        raise TrainingError(
            f"Hyperparameter input_dim is {settings.input_dim}, but the data has {input_dim} "
            "features (and the label, in the first column). Correct it or leave it out."
        )
    ones = np.count_nonzero(data.labels)
    if ones in (0, len(data.labels)):
        raise TrainingError(
            f"Every one of the {len(data.labels):,} labels in channel {data.name!r} is "
            f"{1 if ones else 0}; expected both classes, 0 and 1."
        )
    net = SimpleNet(input_dim, settings.hidden_dim, settings.output_dim)
    net.draw_weights(torch.Generator().manual_seed(settings.seed))
    net.learn_scale(data.features)
    return net


def fit(net: SimpleNet, data: Channel, settings: Hyperparameters, stop: Stop) -> Iterator[Epoch]:
    """Train `net` in place, yielding after each epoch.

    AdamW over shuffled batches, with a learning rate that falls to zero along half a cosine, so
    that the last weights are settled ones. The same seed and data give the same weights.

    Raises:
        TrainingError: if the loss is no number any more.
    """
    rows = torch.from_numpy(data.rows)
    order_of = torch.Generator().manual_seed(settings.seed)
    weights: list[torch.Tensor] = [*net.parameters()]
    # The functional AdamW: an Optimizer object imports torch._dynamo, over a second for nothing.
    mean = [torch.zeros_like(weight) for weight in weights]
    square = [torch.zeros_like(weight) for weight in weights]
    steps = [torch.zeros(()) for _ in weights]
    starts = range(0, len(rows), settings.batch_size)
    for epoch in range(settings.epochs):
        began = time.perf_counter()
        order = torch.randperm(len(rows), generator=order_of)
        loss_sum = torch.zeros(())
        correct = torch.zeros((), dtype=torch.int64)
        for first in starts:
            if stop.requested:
                return
            batch = rows.index_select(0, order[first : first + settings.batch_size])
            labels = batch[:, 0]
            logits = net.logits(net.standardise(batch[:, 1:]))
            loss = binary_cross_entropy_with_logits(logits, labels)
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                adamw(
                    weights,
                    [*gradients],
                    mean,
                    square,
                    [],
                    steps,
                    fused=True,
                    amsgrad=False,
                    beta1=0.9,
                    beta2=0.999,
                    lr=settings.lr * _cosine(epoch + first / len(rows), settings.epochs),
                    weight_decay=settings.weight_decay,
                    eps=1e-8,
                    maximize=False,
                )
                loss_sum += loss * len(batch)
                correct += ((logits > 0) == (labels > 0)).sum()
        loss_mean = float(loss_sum) / len(rows)
        if not math.isfinite(loss_mean):
            raise TrainingError(
                f"The loss of epoch {epoch + 1} is {loss_mean}: training diverged. "
                f"Use a lower lr than {settings.lr:g}."
            )
        yield Epoch(
            epoch + 1,
            loss_mean,
            float(correct) / len(rows),
            len(rows) / (time.perf_counter() - began),
        )


def _cosine(done: float, epochs: int) -> float:
    """Return the factor of the learning rate after `done` of `epochs`, from 1 down to 0."""
    return 0.5 + 0.5 * math.cos(math.pi * done / epochs)


def _read_settings(paths: Paths) -> Hyperparameters:
    """Read the hyperparameters, and log each with where it comes from."""
    settings, given = Hyperparameters.load(paths.hyperparameters)
    for name, value in asdict(settings).items():
        log.info(
            "hyperparameter %s = %s (%s)", name, value, "given" if name in given else "default"
        )
    return settings


def _refuse_many_hosts(paths: Paths) -> None:
    """Refuse a job of several hosts: each would train, and write, a model of its own."""
    try:
        hosts = json.loads(paths.resource_config.read_bytes()).get("hosts", [])
    except FileNotFoundError:
        return
    if len(hosts) > 1:
        raise TrainingError(f"The job has {len(hosts)} hosts; expected 1. Use instance_count=1.")


def _fail(paths: Paths, reason: str) -> int:
    """Say why the job failed, in the log and where SageMaker looks for it; return the exit code."""
    log.error("failed: %s", reason)
    try:
        paths.failure.parent.mkdir(parents=True, exist_ok=True)
        paths.failure.write_text(reason[:_FAILURE_CHARACTERS], encoding="utf-8")
    except OSError as error:
        log.error("%s could not be written: %s", paths.failure, error)  # noqa: TRY400
    return 1


if __name__ == "__main__":
    sys.exit(main())
