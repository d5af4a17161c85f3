"""One training job, from its channels to its model: what is read, fitted, and written, in order."""

from __future__ import annotations

import csv
import json
import logging
import platform
import zlib
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from simplenet import __version__, inputs, metrics, previous, threads
from simplenet.atomic import replacing
from simplenet.channel import ChannelError
from simplenet.checkpoint import CheckpointError, Checkpoints
from simplenet.cluster import Cluster
from simplenet.fitting import TrainingError, check_reach, fit, prepare
from simplenet.hyperparameters import HyperparameterError, Hyperparameters
from simplenet.meeting import ClusterError
from simplenet.model import ModelError, SimpleNet
from simplenet.state import State
from simplenet.stop import Stop, Stopped
from simplenet.table import TableError

if TYPE_CHECKING:
    from simplenet.inputs import Channels
    from simplenet.paths import Paths

log = logging.getLogger("train")

#: What says in a sentence why a job cannot go on.
REFUSALS = (
    HyperparameterError,
    ChannelError,
    TableError,
    TrainingError,
    ModelError,
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


def train(paths: Paths, stop: Stop) -> None:
    """Read the job's settings and data, fit a SimpleNet, and save it."""
    log.info(
        "simplenet %s, Python %s, torch %s",
        *(__version__, platform.python_version(), torch.__version__),
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cluster = Cluster.read(paths.resource_config, device)
    log.info("host %s of %s", cluster.hosts[cluster.rank], ", ".join(cluster.hosts))
    try:
        settings = _read_settings(paths)
    except Exception:
        cluster.decline(stop)
        raise
    log.info(
        "device %s; threads: %s for a batch, at most %s to evaluate",
        *(device, threads.enough(settings.batch_size * settings.hidden_dim)),
        torch.get_num_threads(),
    )
    try:
        cluster.connect(settings.wait_seconds, stop)
        data = cluster.together(lambda: inputs.read(paths), stop)
        data = inputs.agree(data, cluster, stop)
        state, checkpoints = _begin(paths, data, settings, cluster, stop)
    except Stopped:
        _keep_what_was_learnt(paths, settings, cluster)
        return
    _fit(state, data, settings, cluster, stop, checkpoints)
    # Agreed, since from here on the hosts must go the same way.
    stopped = bool(cluster.sum([stop.requested])[0])
    if stopped and state.untrained and not (paths.channels / "model").is_dir():
        log.info("SIGTERM: stopped before the first step; there is no model yet.")
        cluster.leave()
        return
    if stopped:
        _write(checkpoints, state)
    net = state.result()
    if not state.finite():
        raise TrainingError(
            f"The weights are no numbers any more: training diverged. "
            f"Use a lower lr than {settings.lr:g}."
        )
    if stopped:
        where = "" if cluster.first else f" by {cluster.hosts[0]}"
        log.info("SIGTERM: stopped early; the best model so far is kept%s.", where)
    if cluster.first:
        _save(net, paths)
    final = _settle(state) if stopped else _final(net, state, data, settings, cluster, stop)
    if cluster.first:
        _report(paths, state, final)
    cluster.leave()


def _read_settings(paths: Paths) -> Hyperparameters:
    """Read the hyperparameters, and log each with where it comes from."""
    settings, given = Hyperparameters.load(paths.hyperparameters)
    for name, value in asdict(settings).items():
        log.info(
            "hyperparameter %s = %s (%s)", name, value, "given" if name in given else "default"
        )
    return settings


def _begin(
    paths: Paths, data: Channels, settings: Hyperparameters, cluster: Cluster, stop: Stop
) -> tuple[State, Checkpoints]:
    """Return the state to train from: a checkpoint's, an earlier model's, or a new one."""
    net = prepare(data.train, settings, cluster, stop)
    earlier = paths.channels / "model"
    there = cluster.each(earlier.is_dir())
    if any(there):
        if not all(there):
            without = [host for host, found in zip(cluster.hosts, there, strict=True) if not found]
            raise ModelError(
                f"Channel 'model' has not come to {', '.join(without)}; expected it on every host. "
                "Give it as FullyReplicated, which is the default."
            )
        found = cluster.together(lambda: previous.load(earlier, net), stop)
        net.load_state_dict(found.state_dict())
        log.info("channel model: training goes on from the model in it")
    for channel in data.given().values():
        cluster.together(partial(check_reach, net, channel), stop)
    state = State(net.to(cluster.device))
    directory = paths.checkpoints if paths.checkpoints.is_dir() else None
    wanted = any(cluster.each(directory is not None))
    checkpoints = Checkpoints(
        directory if cluster.first else None,
        _kind(settings, cluster) | (_origin(data, cluster, net, stop) if wanted else {}),
        settings.checkpoint_seconds,
        settings.checkpoint_epochs,
    )
    if newest := checkpoints.newest():
        state.restore(newest.tensors, newest.history)
    if directory and cluster.first:
        log.info(
            "checkpoints in %s: %s",
            *(directory, f"going on from {newest.path.name}" if newest else "none to go on from"),
        )
    tensors = state.tensors()
    cluster.share(tensors.values())
    state.restore(tensors, state.history)
    if not cluster.first and not state.untrained:
        log.info(
            "training goes on after epoch %s and %s steps, as on %s",
            *(state.epoch, state.step, cluster.hosts[0]),
        )
    return state, checkpoints


def _kind(settings: Hyperparameters, cluster: Cluster) -> dict[str, Any]:
    """Return what the checkpoints of a job depend on, as far as it is known before its data."""
    knobs = asdict(settings)
    for name in ("checkpoint_seconds", "checkpoint_epochs", "patience", "wait_seconds"):
        del knobs[name]
    return {"settings": knobs, "hosts": cluster.size}


def _origin(data: Channels, cluster: Cluster, net: SimpleNet, stop: Stop) -> dict[str, Any]:
    """Return the rest of it: the rows, and the weights that training starts with."""
    rows = [
        cluster.each(cluster.together(channel.checksum, stop)) for channel in data.given().values()
    ]
    start = zlib.crc32(
        b"".join(tensor.cpu().numpy().tobytes() for tensor in net.state_dict().values())
    )
    return {"rows": rows, "start": start}


def _write(checkpoints: Checkpoints, state: State) -> None:
    """Write a checkpoint; one that fails costs what a restart could save, and no model."""
    try:
        if path := checkpoints.write(state):
            log.info("checkpoint saved as %s", path)
    except CheckpointError as error:
        log.warning("%s The job goes on without it.", error)


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
        if checkpoints.due(state):
            _write(checkpoints, state)

    epochs = fit(
        state,
        data.train,
        settings,
        validation=data.validation,
        cluster=cluster,
        stop=stop,
        after_step=after_step,
    )
    if settings.patience and data.validation is None:
        log.warning("patience needs a channel validation; without one all epochs are trained")
    for number, found in enumerate(epochs):
        if cluster.first:
            log.info("%s", metrics.line(found))
            if not number and data.validation is not None and "validation_roc_auc" not in found:
                log.info("validation_roc_auc needs both classes; the channel has one")
    if state.epoch < settings.epochs and not stop.requested:
        log.info(
            "patience: validation_loss has not fallen since epoch %s, whose weights are kept",
            state.best_epoch,
        )


def _keep_what_was_learnt(paths: Paths, settings: Hyperparameters, cluster: Cluster) -> None:
    """Leave the best model of the newest checkpoint, of a job that is stopped before it goes on."""
    if not cluster.first:
        log.info("SIGTERM: stopped before training began.")
        return
    directory = paths.checkpoints if paths.checkpoints.is_dir() else None
    found = Checkpoints(directory, _kind(settings, cluster)).newest()
    if found is None:
        log.info("SIGTERM: stopped before training began; there is no model yet.")
        return
    log.info("SIGTERM: stopped before training went on from %s.", found.path.name)
    input_dim = len(found.tensors["net.mean"])
    state = State(SimpleNet(input_dim, settings.hidden_dim, settings.output_dim))
    state.restore(found.tensors, found.history)
    _save(state.result(), paths)
    _report(paths, state, _settle(state))


def _save(net: SimpleNet, paths: Paths) -> None:
    net.save(paths.model_file)
    log.info("model saved as %s", paths.model_file)


def _settle(state: State) -> dict[str, float]:
    """Return the metrics that the network kept had in its epoch: to stop, there is little time."""
    kept = state.best_epoch or state.epoch
    return next((found for found in state.history if found["epoch"] == kept), {})


def _final(  # noqa: PLR0913, PLR0917
    net: SimpleNet,
    state: State,
    data: Channels,
    settings: Hyperparameters,
    cluster: Cluster,
    stop: Stop,
) -> dict[str, float]:
    """Return the metrics of the network that is kept, on all the channels."""
    final: dict[str, float] = {"epoch": state.best_epoch or state.epoch}
    try:
        for name, rows in data.given().items():
            worth = metrics.evaluate(net, rows, settings.positive_weight, cluster, stop)
            final |= {f"{name}_{metric}": value for metric, value in worth.items()}
    except Stopped:
        log.info("SIGTERM: stopped while the model, which is complete, was evaluated.")
        return _settle(state)
    speeds = [found["rows_per_second"] for found in state.history if "rows_per_second" in found]
    if speeds:  # else a restart has trained nothing
        final["rows_per_second"] = float(np.median(speeds))
    return final


def _report(paths: Paths, state: State, final: dict[str, float]) -> None:
    """Log the numbers once more, and leave them where SageMaker packs them into output.tar.gz.

    A tuning job takes the last value of its objective, so it must be that of the network kept.
    """
    if final:
        log.info("final: %s", metrics.line(final))
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
