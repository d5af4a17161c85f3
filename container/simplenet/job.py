"""One training job, from its channels to its model: what is read, fitted, and written, in order."""

from __future__ import annotations

import csv
import json
import logging
import platform
import zlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from simplenet import __version__, channel, metrics, previous
from simplenet.atomic import replacing
from simplenet.channel import Channel, ChannelError
from simplenet.checkpoint import CheckpointError, Checkpoints
from simplenet.cluster import Cluster, ClusterError
from simplenet.fitting import State, TrainingError, fit, prepare
from simplenet.hyperparameters import HyperparameterError, Hyperparameters
from simplenet.model import ModelError
from simplenet.stop import Stop, Stopped
from simplenet.table import TableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simplenet.model import SimpleNet
    from simplenet.paths import Paths

log = logging.getLogger("train")

#: What says in a sentence why a job cannot go on.
REFUSALS = (
    HyperparameterError,
    ChannelError,
    TableError,
    TrainingError,
    ModelError,
    CheckpointError,
    ClusterError,
)

_COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "rows_per_second",
    "validation_loss",
    "validation_accuracy",
    "validation_roc_auc",
)


@dataclass(frozen=True)
class Channels:
    """The rows of a job."""

    train: Channel
    validation: Channel | None
    test: Channel | None

    def given(self) -> list[Channel]:
        """Return those that there are."""
        return [data for data in (self.train, self.validation, self.test) if data is not None]


def train(paths: Paths, stop: Stop) -> None:
    """Read the job's settings and data, fit a SimpleNet, and save it.

    Where the job is asked to stop before it has anything to keep, it just ends: a checkpoint that
    it found is there still.
    """
    log.info(
        "simplenet %s, Python %s, torch %s",
        *(__version__, platform.python_version(), torch.__version__),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cluster = Cluster.read(paths.resource_config, device)
    log.info("device %s, %s threads", device, torch.get_num_threads())
    log.info("host %s of %s", cluster.hosts[cluster.rank], ", ".join(cluster.hosts))
    settings = _read_settings(paths)
    try:
        with stop.interrupts():
            cluster.connect()
        data = cluster.together(lambda: _read_channels(paths), stop)
        data = _agree(data, cluster)
        state, checkpoints = _begin(paths, data, settings, cluster)
    except Stopped:
        log.info("SIGTERM: stopped before training began; a checkpoint stays as it is.")
        return
    _fit(state, data, settings, cluster, stop, checkpoints)
    # Agreed, since from here on the hosts must go the same way.
    stopped = bool(cluster.sum([stop.requested])[0])
    if stopped and cluster.first:
        kept = checkpoints.write(state)
        log.info("SIGTERM: stopped early; the best model so far is kept.")
        if kept:
            log.info("checkpoint saved as %s", kept)
    if not state.finite():
        raise TrainingError(
            f"The weights are no numbers any more: training diverged. "
            f"Use a lower lr than {settings.lr:g}."
        )
    net = state.result()
    final = _settle(state) if stopped else _final(net, state, data, settings, cluster)
    if cluster.first:
        net.save(paths.model_file)
        log.info("model saved as %s", paths.model_file)
        _write_metrics(paths, state, final)
    cluster.leave()


def _read_settings(paths: Paths) -> Hyperparameters:
    """Read the hyperparameters, and log each with where it comes from."""
    settings, given = Hyperparameters.load(paths.hyperparameters)
    for name, value in asdict(settings).items():
        log.info(
            "hyperparameter %s = %s (%s)", name, value, "given" if name in given else "default"
        )
    return settings


def _read_channels(paths: Paths) -> Channels:
    """Read `train` (or `training`), and `validation` and `test` where there are such channels."""
    # A Pipe channel is no directory, so that the refusal must come first; a host that got no object
    # of a sharded channel may have no directory either.
    config = paths.input_data_config
    parts = [
        name
        for name in ("train", "training", "validation", "test")
        if channel.is_sharded(config, name)
    ]
    found = (
        paths.channels / parts[0]
        if parts and parts[0] in {"train", "training"}
        else channel.find(paths.channels, "train", "training")
    )
    known = {found.name, "validation", "test", "model"}
    for entry in sorted(paths.channels.glob("*/")):
        if entry.is_dir() and entry.name not in known:
            log.info("channel %s is not used; known are %s", entry.name, ", ".join(sorted(known)))

    def read(name: str) -> Channel:
        sharded = name in parts
        data = channel.read(paths.channels / name, sharded=sharded)
        log.info(
            "channel %s: %s %s, %s bytes, %s rows of a label and %s features%s",
            *(data.name, data.files, "file" if data.files == 1 else "files", data.size),
            *(len(data.rows), max(0, data.rows.shape[1] - 1)),
            " (this host's part)" if sharded else "",
        )
        return data

    def read_if_there(name: str) -> Channel | None:
        return read(name) if (paths.channels / name).is_dir() else None

    return Channels(read(found.name), read_if_there("validation"), read_if_there("test"))


def _agree(channels: Channels, cluster: Cluster) -> Channels:
    """Check that the channels fit together on all hosts, so that all do the same with them."""
    columns = max(cluster.each(channels.train.rows.shape[1]))

    def check(data: Channel | None, name: str) -> Channel | None:
        if not any(cluster.each(data is not None)):
            return None
        # A host that got no object of a channel may not even have its directory.
        data = data or Channel(name, 0, 0, np.empty((0, 0), dtype=np.float32), sharded=True)
        for host, width in zip(cluster.hosts, cluster.each(data.rows.shape[1]), strict=True):
            if width not in {0, columns}:
                raise ChannelError(
                    f"Channel {name!r} has {width} columns on {host}; expected {columns}, "
                    f"as channel {channels.train.name!r} has."
                )
        counts = cluster.each(len(data.rows))
        if not any(counts):
            raise ChannelError(f"Channel {name!r} holds no rows on any host.")
        # The SDK's local mode does not say that a channel is sharded.
        sharded = any(cluster.each(data.sharded)) or len(set(counts)) > 1
        rows = data.rows if data.rows.size else np.empty((0, columns), dtype=np.float32)
        return replace(data, rows=rows, sharded=sharded)

    train = check(channels.train, channels.train.name) or channels.train
    return Channels(train, check(channels.validation, "validation"), check(channels.test, "test"))


def _begin(
    paths: Paths, data: Channels, settings: Hyperparameters, cluster: Cluster
) -> tuple[State, Checkpoints]:
    """Return the state to train from: a checkpoint's, an earlier model's, or a new one."""
    net = prepare(data.train, settings, cluster)
    if (paths.channels / "model").is_dir():
        net.load_state_dict(previous.load(paths.channels / "model", net).state_dict())
        log.info("channel model: training goes on from the model in it")
    state = State(net.to(cluster.device))
    directory = paths.checkpoints if paths.checkpoints.is_dir() else None
    wanted = any(cluster.each(directory is not None))
    checkpoints = Checkpoints(
        directory if cluster.first else None,
        _fingerprint(data, settings, cluster, net) if wanted else "",
        settings.checkpoint_seconds,
        settings.checkpoint_epochs,
    )
    found = checkpoints.resume(state)
    if directory:
        log.info(
            "checkpoints in %s: %s",
            directory,
            f"going on from {found.name}" if found else "none to go on from",
        )
    tensors = state.tensors()
    cluster.share(tensors.values())
    state.restore(tensors, state.history)
    return state, checkpoints


def _fingerprint(
    data: Channels, settings: Hyperparameters, cluster: Cluster, net: SimpleNet
) -> str:
    """Return a text that differs wherever a training would go another way."""
    knobs = asdict(settings)
    for name in ("checkpoint_seconds", "checkpoint_epochs", "patience"):
        del knobs[name]
    rows = [cluster.each(_checksum(channel.rows)) for channel in data.given()]
    start = zlib.crc32(
        b"".join(tensor.cpu().numpy().tobytes() for tensor in net.state_dict().values())
    )
    return json.dumps({"settings": knobs, "rows": rows, "start": start, "hosts": cluster.size})


def _checksum(rows: NDArray[np.float32]) -> int:
    """Return a number that changes with any bit of the rows; there may be none."""
    return zlib.crc32(rows.data.cast("B")) if rows.size else 0


def _fit(  # noqa: PLR0913, PLR0917
    state: State,
    data: Channels,
    settings: Hyperparameters,
    cluster: Cluster,
    stop: Stop,
    checkpoints: Checkpoints,
) -> None:
    """Train, logging each epoch and writing checkpoints when they are due."""

    def after_step() -> None:
        if checkpoints.due(state) and (path := checkpoints.write(state)):
            log.info("checkpoint saved as %s", path)

    epochs = fit(
        state,
        data.train,
        settings,
        validation=data.validation,
        cluster=cluster,
        stop=stop,
        after_step=after_step,
    )
    for found in epochs:
        if cluster.first:
            log.info("%s", metrics.line(found))
            if data.validation is not None and "validation_roc_auc" not in found:
                log.info("validation_roc_auc needs both classes; the channel has one")


def _settle(state: State) -> dict[str, float]:
    """Return the metrics that the network kept had in its epoch: to stop, there is little time."""
    kept = state.best_epoch or state.epoch
    return next((found for found in state.history if found["epoch"] == kept), {})


def _final(
    net: SimpleNet, state: State, data: Channels, settings: Hyperparameters, cluster: Cluster
) -> dict[str, float]:
    """Return the metrics of the network that is kept, and log them once more.

    A tuning job takes the last value of its objective, so it must be that of this network.
    """
    final: dict[str, float] = {"epoch": state.best_epoch or state.epoch}
    for name, rows in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        if rows is not None:
            worth = metrics.evaluate(net, rows, cluster, settings.positive_weight)
            final |= {f"{name}_{metric}": value for metric, value in worth.items()}
    speeds = [found["rows_per_second"] for found in state.history]
    final["rows_per_second"] = float(np.median(speeds))
    if cluster.first:
        log.info("final: %s", metrics.line(final))
    return final


def _write_metrics(paths: Paths, state: State, final: dict[str, float]) -> None:
    """Leave the numbers where SageMaker packs them into output.tar.gz."""
    with replacing(paths.output_data / "metrics.json") as temporary:
        temporary.write_text(json.dumps(final, indent=2) + "\n", encoding="utf-8")
    with (
        replacing(paths.output_data / "history.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        columns = [name for name in _COLUMNS if any(name in found for found in state.history)]
        writer = csv.DictWriter(file, columns or _COLUMNS[:4], lineterminator="\n")
        writer.writeheader()
        writer.writerows(state.history)
