"""A job that is stopped, and one that goes on from its checkpoints."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from simplenet import checkpoint, job
from simplenet.checkpoint import Checkpoints
from simplenet.model import SimpleNet
from simplenet.state import State
from simplenet.stop import Stop, Stopped

from tests.container.opt_ml import checkpointed, kept, put, same, weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from simplenet.paths import Paths


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

    sentence = "SIGTERM: stopped while the model, which is complete, was evaluated."
    assert sentence in caplog.messages
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

    (first, *_) = (line for line in caplog.messages if "could not be written" in line)
    assert first.startswith(f"{split.checkpoints / 'checkpoint-0000001-0000000000.safetensors'} ")
    assert first.endswith(": No space left on device. The job goes on without it.")
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
    with pytest.raises(Stopped):
        stop.interrupt(stop.request)
    with pytest.raises(Stopped):
        stop.interrupt(lambda: pytest.fail("this must not be reached"))
    stop.request()


def test_the_newest_two_checkpoints_are_kept(split: Paths) -> None:
    """Under their final names alone (T37, T38), and nowhere else (T35, X32)."""
    checkpointed(split)

    assert [
        "checkpoint-0000003-0000000000.safetensors",
        "checkpoint-0000004-0000000000.safetensors",
    ] == sorted(path.name for path in split.checkpoints.iterdir())
    assert [split.model_file] == list(split.model.iterdir())


@pytest.mark.parametrize(
    "damage", ["cut", "bit", "history", "names", "unsigned", "empty", "pickle"]
)
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
        "unsigned": newest.read_bytes().replace(b'"checksum"', b'"checksun"', 1),
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
