"""A job with all its channels, stopped, resumed, and continued from another's model."""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import math
import os
import re
import shutil
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from simplenet import checkpoint, fitting, job, metrics
from simplenet.channel import Channel
from simplenet.checkpoint import Checkpoints
from simplenet.hyperparameters import Hyperparameters
from simplenet.model import SimpleNet
from simplenet.state import State
from simplenet.stop import Stop, Stopped
from sklearn.metrics import roc_auc_score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simplenet.paths import Paths

    from tests.conftest import Moons


def put(paths: Paths, channel: str, rows: np.ndarray, name: str = "data.csv") -> None:
    """Write rows, the label first, into a channel."""
    (paths.channels / channel).mkdir(exist_ok=True)
    np.savetxt(paths.channels / channel / name, rows, delimiter=",")


@pytest.fixture
def split(paths: Paths, moons: Moons, moon_rows: np.ndarray) -> Paths:
    """A job with the channels train, validation and test, and a place for checkpoints."""
    rest = np.column_stack([moons.test_labels, moons.test_features])
    put(paths, "train", moon_rows)
    put(paths, "validation", rest[:75])
    put(paths, "test", rest[75:])
    paths.checkpoints.mkdir()
    return paths


def weights(paths: Paths) -> dict[str, torch.Tensor]:
    """Return the weights of the model that a job left."""
    return SimpleNet.load(paths.model_file).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Return whether two models are equal, bit for bit."""
    return all(value.equal(other[name]) for name, value in one.items())


def kept(paths: Paths) -> str:
    """Return the last line of metrics that a job must have logged, by what it left as a file."""
    return f"final: {metrics.line(json.loads((paths.output_data / 'metrics.json').read_text()))}"


def test_every_metric_is_logged_and_left_in_the_output(
    train: Callable[..., int], split: Paths, moons: Moons, caplog: pytest.LogCaptureFixture
) -> None:
    """Per epoch and once more at the end, as lines for CloudWatch and as files (T35, T47, T48);
    the final ones are those of the model that was saved.
    """
    caplog.set_level("INFO")

    assert 0 == train(epochs=5)
    lines = [line for line in caplog.messages if "train_loss=" in line]
    assert 6 == len(lines)
    for name in ("train_loss", "validation_loss", "validation_accuracy", "validation_roc_auc"):
        assert all(re.search(rf"{name}=[0-9.]+;", line) for line in lines)
    assert all(re.search(r"rows_per_second=[0-9]+;", line) for line in lines)
    final = json.loads((split.output_data / "metrics.json").read_text())
    net = SimpleNet.load(split.model_file)
    area = roc_auc_score(moons.test_labels[75:], net.score(moons.test_features[75:].astype("f4")))
    assert area == pytest.approx(final["test_roc_auc"])
    text = (split.output_data / "history.csv").read_bytes().decode("utf-8")
    assert "\r" not in text
    history = list(csv.DictReader(io.StringIO(text)))
    assert ["1", "2", "3", "4", "5"] == [row["epoch"] for row in history]
    assert min(float(row["validation_loss"]) for row in history) == final["validation_loss"]


def test_training_ends_when_patience_does_and_the_best_weights_are_kept(
    train: Callable[..., int], split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """`patience` epochs after the lowest validation loss there is no more to be hoped for."""
    caplog.set_level("INFO")

    assert 0 == train(epochs=400, patience=5)
    losses = [
        float(found[1])
        for line in caplog.messages
        if line.startswith("epoch=") and (found := re.search(r"validation_loss=([0-9.]+)", line))
    ]
    assert len(losses) < 400
    assert int(np.argmin(losses)) == len(losses) - 6
    final = json.loads((split.output_data / "metrics.json").read_text())
    assert min(losses) == pytest.approx(final["validation_loss"], abs=1e-6)


def test_patience_says_what_it_did(
    train: Callable[..., int], split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """Fewer epochs than were asked for have a line that says why; so has a patience in vain."""
    caplog.set_level("INFO")
    train(epochs=200, patience=2, lr=1.0)
    best = json.loads((split.output_data / "metrics.json").read_text())["epoch"]
    said = f"patience: validation_loss has not fallen since epoch {best}, whose weights are kept"
    assert said in caplog.messages
    assert "patience needs" not in caplog.text
    caplog.clear()
    shutil.rmtree(split.channels / "validation")
    train(epochs=2, patience=2)

    said = "patience needs a channel validation; without one all epochs are trained"
    assert said in caplog.messages
    assert "patience: validation" not in caplog.text


def test_a_validation_channel_of_one_class_has_no_roc_auc(
    train: Callable[..., int], split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out rather than NaN, which CloudWatch would not take (T47)."""
    caplog.set_level("INFO")
    put(split, "validation", np.array([[1, 0, 0], [1, 1, 1]]))

    assert 0 == train(epochs=2)
    assert "validation_roc_auc=" not in caplog.text
    assert 2 == caplog.messages.count("validation_roc_auc needs both classes; the channel has one")
    assert "nan" not in caplog.text.lower()


def test_a_rare_class_can_be_given_more_weight(moon_rows: np.ndarray) -> None:
    """`positive_weight` moves the threshold towards finding more of class 1."""
    rows = np.concatenate([moon_rows[moon_rows[:, 0] == 0], moon_rows[moon_rows[:, 0] == 1][:12]])
    data = Channel("train", 1, 0, rows.astype(np.float32))
    found = []
    for weight in (1.0, 20.0):
        settings = Hyperparameters(epochs=20, positive_weight=weight)
        state = State(fitting.prepare(data, settings))
        for _ in fitting.fit(state, data, settings):
            pass
        found.append(state.result().score(data.features).mean())

    assert found[1] > found[0]


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_what_sagemaker_adds_to_its_files_does_not_matter(
    train: Callable[..., int], split: Paths, mode: str
) -> None:
    """FastFile mode is a directory too (T21, T27), `ContentType` may be missing (T20), and other
    keys (T24), files and directories (T25) are not this program's.
    """
    channels = {"train": {"TrainingInputMode": mode, "RecordWrapperType": "None"}}
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "ethwe"}
    groups = [{"instance_group_name": "one", "instance_type": "ml.c4.xlarge", "hosts": ["algo-1"]}]
    more = {"current_instance_type": "ml.c4.xlarge", "instance_groups": groups}
    split.input_data_config.write_text(json.dumps(channels))
    split.resource_config.write_text(json.dumps(hosts | more))
    (split.hyperparameters.parent / "debughookconfig.json").write_text("no JSON")
    (split.root / "errors").mkdir()

    assert 0 == train(epochs=1)


@pytest.mark.parametrize("channel", ["train", "validation", "test", "model"])
def test_pipe_mode_is_refused(train: Callable[..., int], split: Paths, channel: str) -> None:
    """With the cure, before anything waits for a pipe (T28, X22)."""
    split.input_data_config.write_text(json.dumps({channel: {"TrainingInputMode": "Pipe"}}))

    assert 1 == train()
    assert split.failure.read_text().startswith(f"Channel '{channel}' comes in Pipe mode, which")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "Channel 'validation' has 4 columns on localhost; expected 3, as channel 'train' has"),
        (
            {"validation": {"S3DistributionType": "ShardedByS3Key"}},
            "Channel 'validation' holds no rows on any host.",
        ),
    ],
    ids=["wide", "empty"],
)
def test_a_channel_that_does_not_fit_the_first_is_refused(
    train: Callable[..., int], split: Paths, config: dict[str, dict[str, str]], sentence: str
) -> None:
    """Before any time is spent on training (T12, T30)."""
    split.input_data_config.write_text(json.dumps(config))
    if config:
        (split.channels / "validation" / "data.csv").unlink()
    else:
        put(split, "validation", np.array([[0, 1, 2, 3], [1, 4, 5, 6]]))

    assert 1 == train()
    assert split.failure.read_text().startswith(sentence)


def test_a_channel_that_nobody_reads_is_named(
    train: Callable[..., int], split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """Most likely it has another name by mistake (T31)."""
    caplog.set_level("INFO")
    (split.channels / "validation").rename(split.channels / "valid")

    assert 0 == train(epochs=1)
    assert "channel valid is not used; known are model, test, train, validation" in caplog.messages


@pytest.mark.parametrize("sharded", ["train", "training"])
def test_of_train_and_training_the_first_is_read(
    train: Callable[..., int], split: Paths, caplog: pytest.LogCaptureFixture, sharded: str
) -> None:
    """Whichever of them is a sharded one (T30, T31); the other is named as not used."""
    caplog.set_level("INFO")
    put(split, "training", np.array([[0, 1, 2, 3], [1, 4, 5, 6]]))
    config = {sharded: {"S3DistributionType": "ShardedByS3Key"}}
    split.input_data_config.write_text(json.dumps(config))

    assert 0 == train(epochs=1)
    assert any(line.startswith("channel training is not used;") for line in caplog.messages)
    (read,) = (line for line in caplog.messages if line.startswith("channel train: 1 file,"))
    assert read.endswith("2 features (this host's part)" if sharded == "train" else "2 features")


class StopAfter(Stop):
    """SIGTERM after some looks at whether there was one: at a known step, that is."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        super().__init__()

    @property
    def requested(self) -> bool:
        """Count down."""
        self._looks -= 1
        return self._looks < 0

    @requested.setter
    def requested(self, value: bool) -> None:
        if value:
            self._looks = 0


# From the 21st on the first epoch's rows are shuffled, from the 23rd its steps taken, from the 52nd
# on it is validated.
@pytest.mark.parametrize("looks", [26, 33, 50, 52, 54, 78, 118, 218])
def test_a_resumed_job_ends_with_the_weights_of_one_never_stopped(
    split: Paths, looks: int, caplog: pytest.LogCaptureFixture
) -> None:
    """To the bit, wherever it was stopped, within an epoch or its validation too (T8, T39). What
    is known of the network kept is logged again, which is nothing in the first epoch (T48).
    """
    caplog.set_level("INFO")
    split.hyperparameters.write_text(json.dumps({"epochs": "8", "patience": "6"}))
    job.train(split, Stop())
    whole = weights(split)
    for path in split.checkpoints.iterdir():
        path.unlink()
    split.model_file.unlink()

    caplog.clear()
    job.train(split, StopAfter(looks))
    assert "SIGTERM: stopped early; the best model so far is kept." in caplog.text
    assert SimpleNet.load(split.model_file).input_dim == 2
    assert any(split.checkpoints.iterdir())
    measured = any(line.startswith("epoch=1;") for line in caplog.messages)
    assert measured == (caplog.messages[-1] == kept(split))
    job.train(split, Stop())
    assert "going on from checkpoint-" in caplog.text
    assert same(whole, weights(split))


@pytest.mark.parametrize("looks", [20, 22])
def test_a_stop_before_the_first_step_leaves_no_model(
    split: Paths, looks: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights that were only drawn are none, and would be deployed like any other."""
    caplog.set_level("INFO")
    job.train(split, StopAfter(looks))

    assert "SIGTERM: stopped before the first step; there is no model yet." in caplog.messages
    assert [] == [*split.model.iterdir(), *split.checkpoints.iterdir()]
    assert not split.output_data.exists()


@contextmanager
def at_line(start: str, act: Callable[[], None]) -> Iterator[None]:
    """Act as soon as the job logs a line that begins so."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith(start):
                act()

    handler = Handler()
    logging.getLogger("train").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("train").removeHandler(handler)


def test_a_stop_before_training_leaves_everything_as_it_was(
    split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """While data is read, SIGTERM ends the job at once; there is no model yet to keep (T8)."""
    caplog.set_level("INFO")
    stop = Stop()
    stop.request()
    job.train(split, stop)

    assert "SIGTERM: stopped before training began; there is no model yet." in caplog.messages
    assert [] == list(split.model.iterdir())


def test_a_stop_during_the_final_evaluation_does_not_wait_for_it(
    split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """The model is saved by then; its metrics are those of its epoch (T8, T48)."""
    caplog.set_level("INFO")
    stop = Stop()
    with at_line("model saved as", stop.request):
        job.train(split, stop)

    assert "SIGTERM: stopped while the model, which is complete, was evaluated." in caplog.text
    assert 1 == caplog.text.count("final: epoch=")
    assert 2 == SimpleNet.load(split.model_file).input_dim
    assert "validation_loss" in json.loads((split.output_data / "metrics.json").read_text())


@pytest.mark.parametrize("stops", [True, False], ids=["stopped", "not stopped"])
def test_a_checkpoint_that_cannot_be_written_costs_no_model(
    split: Paths, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, stops: bool
) -> None:
    """A full disk of checkpoints is named in the log; the job goes on, or ends with its model."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    caplog.set_level("INFO")
    stop = Stop()

    def fill_and_stop() -> None:
        monkeypatch.setattr("simplenet.checkpoint.write", full)
        if stops:
            stop.request()

    split.hyperparameters.write_text(json.dumps({"epochs": "3", "checkpoint_epochs": "1"}))
    with at_line("epoch=1;", fill_and_stop):
        job.train(split, stop)

    assert "could not be written: No space left on device." in caplog.text
    assert stops == ("SIGTERM: stopped early" in caplog.text)
    assert 2 == SimpleNet.load(split.model_file).input_dim


def test_a_stop_before_a_resumed_job_goes_on_leaves_the_best_model_so_far(
    split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """That of the newest checkpoint that can be used, with its metrics (T8, T39)."""
    caplog.set_level("INFO")
    older, newest = checkpointed(split)
    whole = weights(split)
    final = json.loads((split.output_data / "metrics.json").read_text())
    shutil.rmtree(split.output_data)
    split.model_file.unlink()
    older.write_bytes(newest.read_bytes())
    newest.write_bytes(b"")
    stop = Stop()
    stop.request()
    job.train(split, stop)

    assert f"SIGTERM: stopped before training went on from {older.name}." in caplog.text
    assert same(whole, weights(split))
    kept = json.loads((split.output_data / "metrics.json").read_text())
    assert final["validation_loss"] == kept["validation_loss"]


def test_a_stop_before_training_takes_nothing_from_the_checkpoint_of_another_job(
    split: Paths,
) -> None:
    """One with other hyperparameters, as far as can be told before the data is read (T39)."""
    checkpointed(split)
    split.model_file.unlink()
    split.hyperparameters.write_text(json.dumps({"epochs": "5"}))
    stop = Stop()
    stop.request()
    job.train(split, stop)

    assert not split.model_file.exists()


def test_a_stop_interrupts_only_what_may_be_interrupted() -> None:
    """Elsewhere it is remembered, so that nothing is half done."""
    stop = Stop()
    with pytest.raises(Stopped), stop.interrupts():
        stop.request()
    with pytest.raises(Stopped), stop.interrupts():
        pytest.fail("this must not be reached")
    stop.request()


def checkpointed(paths: Paths, **more: str) -> list[Path]:
    """Run a job that leaves checkpoints; return them, oldest first."""
    knobs = {"epochs": "4", "checkpoint_epochs": "1", **more}
    paths.hyperparameters.write_text(json.dumps(knobs))
    job.train(paths, Stop())
    return sorted(paths.checkpoints.glob("checkpoint-*.safetensors"))


def test_the_newest_two_checkpoints_are_kept(split: Paths) -> None:
    """Under their final names alone (T37, T38), and nowhere else (T35, X32)."""
    checkpointed(split)

    assert [
        "checkpoint-0000003-0000000000.safetensors",
        "checkpoint-0000004-0000000000.safetensors",
    ] == sorted(path.name for path in split.checkpoints.iterdir())
    assert [split.model_file] == list(split.model.iterdir())


@pytest.mark.parametrize("damage", ["cut", "bit", "history", "names", "empty", "pickle"])
def test_of_a_damaged_checkpoint_the_one_before_is_used(
    split: Paths, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log, and the result is as ever; markers are no checkpoints (X42)."""
    caplog.set_level("INFO")
    older, newest = checkpointed(split)
    whole = weights(split)
    content = bytearray(newest.read_bytes())
    content[-9] ^= 1
    half = newest.read_bytes()[:-100]
    damaged = {
        "cut": half,
        "bit": bytes(content),
        "history": newest.read_bytes().replace(b"train_loss", b"train_lost", 1),
        "names": newest.read_bytes().replace(b"fingerprint", b"fingerprunt", 1),
        "empty": b"",
        "pickle": b"\x80\x04}.",
    }
    newest.write_bytes(damaged[damage])
    (split.checkpoints / f"{newest.name}.sagemaker-uploaded").touch()
    half_written = split.checkpoints / f".{newest.name}x.sagemaker-ignore"
    half_written.write_bytes(b"half a ch")
    split.model_file.unlink()
    checkpointed(split)

    assert f"{newest} is damaged and is passed over" in caplog.text
    assert f"going on from {older.name}" in caplog.text
    assert same(whole, weights(split))
    assert not half_written.exists()


def test_checkpoints_are_written_when_their_seconds_are_over(split: Paths) -> None:
    """Within an epoch too: one may take hours (T37)."""
    checkpoints = checkpointed(split, epochs="1", checkpoint_epochs="0", checkpoint_seconds="1e-9")

    assert [
        "checkpoint-0000000-0000000029.safetensors",
        "checkpoint-0000001-0000000000.safetensors",
    ] == [path.name for path in checkpoints]


@pytest.mark.parametrize("change", ["seed", "train", "validation", "model"])
def test_the_checkpoint_of_another_job_is_passed_over(
    split: Paths,
    trained: Paths,
    change: str,
    moon_rows: np.ndarray,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Other data, settings or first weights would not go on as it began; it stays where it is."""
    caplog.set_level("INFO")
    before = checkpointed(split, epochs="9")
    if change == "model":
        shutil.copytree(trained.model, split.channels / "model")
    elif change != "seed":
        put(split, change, moon_rows[:200])
    after = checkpointed(split, epochs="9" if change != "seed" else "4", seed="0")

    assert "is of a job with other data, hyperparameters or hosts and is passed over" in caplog.text
    assert "none to go on from" in caplog.text
    if change == "seed":
        assert set(before) < set(after)


def test_a_checkpoint_of_another_format_is_passed_over(
    split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """A later version's, or what somebody else left under such a name; it says what it is."""
    foreign = split.checkpoints / "checkpoint-0000009-0000000000.safetensors"
    save_file({"weight": torch.zeros(1)}, foreign, {"format": "simplenet checkpoint v0"})
    checkpointed(split)

    assert (
        f"{foreign} is of format 'simplenet checkpoint v0' and is passed over; "
        f"expected {checkpoint.FORMAT!r}."
    ) in caplog.messages
    assert foreign.exists()


def test_knobs_that_change_no_number_change_no_checkpoint(
    split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """A job may be restarted with more patience for its hosts, or with other checkpoints (T39)."""
    caplog.set_level("INFO")
    newest = checkpointed(split)[-1]
    checkpointed(split, wait_seconds="60", checkpoint_epochs="2", checkpoint_seconds="3")

    assert f"going on from {newest.name}" in caplog.text


def test_weights_that_are_no_numbers_are_not_checkpointed(tmp_path: Path) -> None:
    """The last good checkpoint stays the last."""
    state = State(SimpleNet(2))
    checkpoints = Checkpoints(tmp_path, {})
    assert checkpoints.write(state) is not None
    with torch.no_grad():
        state.weights[0][0, 0] = float("nan")
    state.epoch = 1

    assert checkpoints.write(state) is None
    assert 1 == len(list(tmp_path.iterdir()))


def packed(members: dict[str, bytes]) -> bytes:
    """Return an archive of members under any names, however unsafe."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("archive", [True, False], ids=["model.tar.gz", "plain"])
def test_training_goes_on_from_the_model_channel(
    split: Paths, train: Callable[..., int], trained: Paths, *, archive: bool
) -> None:
    """As model.tar.gz, just as an earlier job left it, or as a plain file (T32); what else an
    archive holds is written nowhere.
    """
    model = split.channels / "model"
    model.mkdir()
    content = trained.model_file.read_bytes()
    if archive:
        members = {"../../escaped": b"x", "/tmp/escaped": b"x", "./model.safetensors": content}  # noqa: S108
        (model / "model.tar.gz").write_bytes(packed(members))
    else:
        (model / "model.safetensors").write_bytes(content)

    assert 0 == train(epochs=1, lr=1e-8)
    for name, value in weights(trained).items():
        torch.testing.assert_close(value, weights(split)[name], atol=1e-5, rtol=0)
    assert not list(split.root.rglob("escaped"))


#: Stands for the file of a model with three features.
OTHER = b"three"

#: Stands for that of a model with a weight that is nan.
NAN = b"nan"


@pytest.mark.parametrize("beside", ["._model.tar.gz", ".model.tar.gz", "output.tar.gz"])
def test_what_lies_beside_the_model_does_not_count(
    split: Paths, train: Callable[..., int], trained: Paths, beside: str
) -> None:
    """Hidden files do not, as in any channel, nor does the rest of a job's output (T32)."""
    model = split.channels / "model"
    model.mkdir()
    content = trained.model_file.read_bytes()
    (model / "model.tar.gz").write_bytes(packed({"model.safetensors": content}))
    (model / beside).write_bytes(b"of no concern")

    assert 0 == train(epochs=1), split.failure.read_text()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_an_archive_that_is_damaged_behind_its_model_is_refused(
    split: Paths, train: Callable[..., int], trained: Paths, damage: str
) -> None:
    """Gzip's checksum comes last, and only then is it known whether the weights are right (T32)."""
    archive = split.channels / "model" / "model.tar.gz"
    archive.parent.mkdir()
    content = bytearray(packed({"model.safetensors": trained.model_file.read_bytes()}))
    if damage == "cut":
        del content[-8:]
    else:
        content[-8] ^= 1
    archive.write_bytes(content)

    assert 1 == train()
    assert "is not a whole gzip-compressed tar archive" in split.failure.read_text()


EMPTY = packed({"model.pkl": b"x", "model.safetensors/x": b""})
BROKEN = packed({"model.safetensors": b"no weights"})
TWO = packed({"model.safetensors": b"x", "old/model.safetensors": b"x"})
HUGE = packed({"model.safetensors": bytes(2_000_000)})


@pytest.mark.parametrize(
    ("files", "knobs", "sentence"),
    [
        ({}, {}, "expected one model: a model.tar.gz"),
        ({"a.tar.gz": b"", "b.tar.gz": b""}, {}, "holds a.tar.gz, b.tar.gz; expected one model"),
        ({"model.tar.gz": b"no gzip"}, {}, "is not a whole gzip-compressed tar archive"),
        ({"model.tar.gz": EMPTY}, {}, "holds no model.safetensors; expected one, as an earlier"),
        ({"model.tar.gz": BROKEN}, {}, "model.tar.gz cannot be read as safetensors"),
        ({"model.tar.gz": TWO}, {}, "holds 2 model.safetensors; expected one"),
        ({"_v1": b""}, {}, "holds nothing; expected one model"),
        ({"model.tar.gz": HUGE}, {}, "holds a model.safetensors of 2,000,000 bytes; this job's m"),
        ({"model.safetensors": b""}, {}, "cannot be read as safetensors"),
        ({"model.tar.gz": None}, {"hidden_dim": 9}, "has hidden_dim 20; this job has 9. Pass it"),
        ({"model.safetensors": OTHER}, {}, "has input_dim 3; this job has 2."),
        ({"model.safetensors": NAN}, {}, "holds weights that are no numbers, nan or inf."),
    ],
)
def test_a_model_channel_that_cannot_be_used_is_refused(
    split: Paths,
    train: Callable[..., int],
    trained: Paths,
    files: dict[str, bytes | None],
    knobs: dict[str, int],
    sentence: str,
) -> None:
    """With what is in it and what was expected (T12, T32)."""
    model = split.channels / "model"
    model.mkdir()
    for name, content in files.items():
        if content is None:
            members = {"model.safetensors": trained.model_file.read_bytes()}
            (model / name).write_bytes(packed(members))
        elif content == OTHER:
            SimpleNet(3).save(model / name)
        elif content == NAN:
            net = SimpleNet(2)
            torch.nn.init.constant_(net.fc1.bias, math.nan)
            net.save(model / name)
        else:
            (model / name).write_bytes(content)

    assert 1 == train(**knobs)
    assert sentence in split.failure.read_text()
    assert [] == list(split.model.iterdir())
