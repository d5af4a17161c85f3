"""The program `train`."""

from __future__ import annotations

import errno
import re
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from simplenet import __version__, fitting, job, metrics, model
from simplenet.batches import Batches
from simplenet.channel import Channel
from simplenet.hyperparameters import Hyperparameters
from simplenet.model import ModelError, SimpleNet
from simplenet.state import State
from simplenet.stop import Stop
from sklearn.datasets import load_breast_cancer, make_moons

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from simplenet.paths import Paths

    from tests.conftest import Moons


def fitted(rows: np.ndarray, **hyperparameters: int) -> SimpleNet:
    """Fit a network to rows with the label first; what is not given has its default."""
    data = Channel("train", 1, 0, rows.astype(np.float32))
    settings = Hyperparameters(**hyperparameters)
    state = State(fitting.prepare(data, settings))
    for _ in fitting.fit(state, data, settings):
        pass
    return state.result()


def accuracy(net: SimpleNet, features: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows whose rounded score is their label."""
    return float(np.mean(np.round(net.score(features.astype(np.float32))) == labels))


def test_the_defaults_come_close_to_the_bayes_limit(moons: Moons, moon_rows: np.ndarray) -> None:
    """With the seed's data and the defaults, ten seeds have a mean accuracy of 0.938 on fresh
    points, where no classifier has more than 0.9431, and of 0.92 on the seed's own test points.
    """
    features, labels = make_moons(400_000, noise=0.25, random_state=20_261_124)
    nets = [fitted(moon_rows, seed=seed) for seed in range(10)]

    assert np.mean([accuracy(net, features, labels) for net in nets]) >= 0.938
    tested = [accuracy(net, moons.test_features, moons.test_labels) for net in nets]
    assert np.mean(tested) >= 0.92


def test_another_data_set_needs_no_change() -> None:
    """Scikit-learn's breast cancer data: 30 features of very different sizes, the same defaults."""
    features, labels = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[:400], order[400:]
    net = fitted(np.column_stack([labels, features])[train])

    assert accuracy(net, features[test], labels[test]) >= 0.95


def test_the_same_seed_and_data_give_the_same_weights(moon_rows: np.ndarray) -> None:
    """To the bit on a CPU; another seed gives others."""
    first, again, other = (fitted(moon_rows, seed=seed, epochs=3) for seed in (5, 5, 6))

    for name, weight in first.state_dict().items():
        assert weight.equal(again.state_dict()[name])
    assert not first.fc1.weight.equal(other.fc1.weight)


def test_a_large_batch_is_taken_in_parts(
    moon_rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which changes no more than the rounding of its sums."""
    whole = fitted(moon_rows, batch_size=100, epochs=5)
    monkeypatch.setattr(model, "_FLOATS_AT_A_TIME", 7 * whole.hidden_dim)
    parts = fitted(moon_rows, batch_size=100, epochs=5)

    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(weight, parts.state_dict()[name], atol=1e-4, rtol=1e-4)


def test_the_order_of_an_epoch_is_gone_before_more_memory_is_taken(
    moon_rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a number for each row; so have the next one, and the scores of a validation."""
    orders: list[weakref.ref[np.ndarray]] = []
    order, evaluate = Batches.order, metrics.evaluate

    def draw(batches: Batches, seed: int, epoch: int) -> torch.Tensor:
        assert [] == [held for held in orders if held() is not None]
        numbers = order(batches, seed, epoch).numpy().copy()
        orders.append(weakref.ref(numbers))
        return torch.from_numpy(numbers)

    def score(*given: Any) -> dict[str, float]:
        assert [] == [held for held in orders if held() is not None]
        return evaluate(*given)

    monkeypatch.setattr(Batches, "order", draw)
    monkeypatch.setattr(fitting, "evaluate", score)
    data = Channel("train", 1, 0, moon_rows.astype(np.float32))
    list(fitting.fit(State(SimpleNet(2)), data, Hyperparameters(epochs=3), validation=data))

    assert 3 == len(orders)


def test_training_leaves_as_many_threads_as_there_were(moon_rows: np.ndarray) -> None:
    """One is enough for small batches; what comes after may need more (X15)."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        fitted(moon_rows, epochs=1)
        assert 3 == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_a_job_leaves_one_model_and_says_what_it_did(
    train: Callable[..., int], paths: Paths, moon_rows: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what was understood, then a line of metrics an epoch; the model is one file.

    Without CUDA the CPU computes (T49).
    """
    np.savetxt(paths.channels / "train" / "train.csv", moon_rows, delimiter=",")
    caplog.set_level("INFO")
    code = train(epochs=3, input_dim=2)
    log = "\n".join(caplog.messages)

    assert 0 == code
    assert ["model.safetensors"] == [path.name for path in paths.model.iterdir()]
    assert not paths.failure.exists()
    assert log.startswith(f"simplenet {__version__}, Python ")
    assert "host localhost of localhost" in log
    size = (paths.channels / "train" / "train.csv").stat().st_size
    assert f"channel train: 1 file, {size} bytes, 450 rows of a label and 2 features" in log
    assert "hyperparameter epochs = 3 (given)" in log
    assert "hyperparameter hidden_dim = 20 (default)" in log
    assert "device cpu; threads: 1 for a batch, at most " in log
    metrics = [line for line in log.splitlines() if line.startswith("epoch=")]
    assert 3 == len(metrics)
    for number, line in enumerate(metrics, 1):
        assert re.fullmatch(
            rf"epoch={number}; train_loss=\d\.\d{{6}}; train_accuracy=[01]\.\d{{6}}; "
            r"rows_per_second=\d+;",
            line,
        )


def test_the_channel_may_be_called_training(
    train: Callable[..., int], paths: Paths, moon_rows: np.ndarray
) -> None:
    """`fit("s3://bucket/prefix")` names it so (T31, X19)."""
    (paths.channels / "train").rename(paths.channels / "training")
    np.savetxt(paths.channels / "training" / "train.csv", moon_rows, delimiter=",")

    assert 0 == train(epochs=1)


GOOD = b"0,1,2\n1,3,4\n"


@pytest.mark.parametrize(
    ("csv", "sentence"),
    [
        (None, "There is no channel 'train' in "),
        ({}, "Channel 'train' holds no files"),
        ({"a.csv": b""}, "Channel 'train' holds no rows: 1 file is empty"),
        (
            {"a.csv": b"label,x0,x1\n" + GOOD},
            "train/a.csv, line 1, column 1 is 'label'; expected a",
        ),
        ({"a.csv": GOOD + b"1,2\n"}, "train/a.csv, line 3 has 2 columns; expected 3."),
        ({"a.csv": GOOD + b"1,2,x\n"}, "train/a.csv, line 3, column 3 is 'x'; expected a number."),
        ({"a.csv": GOOD + b"1,,2\n"}, "train/a.csv, line 3, column 2 is empty; expected a number."),
        (
            {"a.csv": GOOD + b"1,nan,2\n"},
            "train/a.csv, line 3, column 2 is 'nan'; expected a finite",
        ),
        (
            {"a.csv": GOOD + b"1,inf,2\n"},
            "train/a.csv, line 3, column 2 is 'inf'; expected a finite",
        ),
        (
            {"a.csv": GOOD + b"3,1,2\n"},
            "train/a.csv, line 3, column 1 is 3; expected a label, 0 or 1",
        ),
        (
            {"a.csv": b"1,1,2\n1,3,4\n"},
            "Every one of the 2 labels in channel 'train' is 1; expected",
        ),
    ],
)
def test_bad_data_fails_the_job_with_a_sentence(
    train: Callable[..., int], paths: Paths, csv: dict[str, bytes] | None, sentence: str
) -> None:
    """Exit code 1 (T10, T11), one sentence in the failure file (T12), and not even half a model; a
    missing channel (T22) and a header (X20) are named as such.
    """
    if csv is None:
        (paths.channels / "train").rmdir()
    for name, content in (csv or {}).items():
        (paths.channels / "train" / name).write_bytes(content)

    assert 1 == train(epochs=1)
    assert paths.failure.read_text().startswith(sentence)
    assert [] == list(paths.model.iterdir())


@pytest.mark.parametrize(
    ("hyperparameters", "sentence"),
    [
        ({"epoch": 1}, "Hyperparameter 'epoch' is not known. Did you mean epochs?"),
        ({"epochs": "many"}, "Hyperparameter epochs is 'many'; expected a whole number from 1"),
        ({"epochs": 0}, "Hyperparameter epochs is '0'; expected a whole number from 1"),
        ({"input_dim": 3}, "Hyperparameter input_dim is 3, but the data has 2 features"),
        ({"output_dim": 2}, "Hyperparameter output_dim is '2'; expected a whole number: 1"),
        ({"lr": 11}, "Hyperparameter lr is '11'; expected a number from 1e-08 to 10"),
    ],
)
def test_bad_hyperparameters_fail_the_job_with_a_sentence(
    train: Callable[..., int], paths: Paths, hyperparameters: dict[str, object], sentence: str
) -> None:
    """What was found and what was expected, before any time is spent on training."""
    (paths.channels / "train" / "a.csv").write_bytes(GOOD)

    assert 1 == train(**hyperparameters)
    assert paths.failure.read_text().startswith(sentence)
    assert [] == list(paths.model.iterdir())


def test_a_full_disk_fails_the_job_with_a_sentence(
    paths: Paths, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    """No half-written model is left to be uploaded as if it were one."""
    (paths.channels / "train" / "a.csv").write_bytes(GOOD)
    with full_disk(), pytest.raises(ModelError, match="model.safetensors could not be wr"):
        job.train(paths, Stop())

    assert [] == list(paths.model.iterdir())


def test_a_diverging_job_fails_with_a_sentence(train: Callable[..., int], paths: Paths) -> None:
    """A loss that is no number ends the job, and no model of such weights is saved."""
    rows = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    rows[:, 0] = rows[:, 1] > 0
    np.savetxt(paths.channels / "train" / "a.csv", rows, delimiter=",")
    code = train(epochs=200, lr=10, weight_decay=10, batch_size=1)

    assert 1 == code
    assert "training diverged. Use a lower lr than 10." in paths.failure.read_text()
    assert not paths.model_file.exists()


def test_a_diverging_job_does_not_overwrite_the_model_before_it(
    train: Callable[..., int], paths: Paths
) -> None:
    """The last good weights stay where they are."""
    rows = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    rows[:, 0] = rows[:, 1] > 0
    np.savetxt(paths.channels / "train" / "a.csv", rows, delimiter=",")
    assert 0 == train(epochs=1)
    good = paths.model_file.read_bytes()

    assert 1 == train(epochs=200, lr=10, weight_decay=10, batch_size=1)
    assert good == paths.model_file.read_bytes()


def test_a_row_that_no_network_can_score_is_named_before_training(
    train: Callable[..., int], paths: Paths
) -> None:
    """Its score would be no number, and the loss neither: that is not divergence (T12, T47)."""
    (paths.channels / "train" / "a.csv").write_bytes(GOOD)
    (paths.channels / "test").mkdir()
    (paths.channels / "test" / "a.csv").write_bytes(GOOD + b"1,0.5,-3e38\n")
    lines = GOOD.count(b"\n") + 1

    assert 1 == train(epochs=1)
    assert paths.failure.read_text().startswith(
        f"Row {lines} of channel 'test', column 3 is -3e+38, which is "
    )
    assert not paths.model_file.exists()


def test_columns_of_very_different_sizes_are_trained_on(
    train: Callable[..., int], paths: Paths, moon_rows: np.ndarray
) -> None:
    """What is far away for one column is near for another."""
    rows = moon_rows * [1, 1e-20, 1e30]
    np.savetxt(paths.channels / "train" / "a.csv", rows, delimiter=",")

    assert 0 == train(), paths.failure.read_text()
    net = SimpleNet.load(paths.model_file)
    assert accuracy(net, rows[:, 1:], rows[:, 0]) > 0.9


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
    ids=["Python", "system", "torch"],
)
def test_memory_that_is_not_there_is_named(
    train: Callable[..., int], paths: Paths, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whoever missed it, the job says what to do (T12)."""

    def fail(*_: object, **__: object) -> None:
        raise error

    (paths.channels / "train" / "a.csv").write_bytes(GOOD)
    monkeypatch.setattr("simplenet.job.fit", fail)

    assert 1 == train()
    assert "The memory is not enough for the data; use a larger" in paths.failure.read_text()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.EACCES, "Permission denied", "/opt/ml/x"), "/opt/ml/x: Permission denied."),
        (OSError("odd"), "odd."),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero (the log has the traceback)."),
    ],
    ids=["file", "system", "fault"],
)
def test_what_nobody_foresaw_fails_the_job_with_a_sentence(
    train: Callable[..., int],
    paths: Paths,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    sentence: str,
) -> None:
    """The traceback of a fault of our own is in the log (T11, T12)."""

    def fail(*_: object, **__: object) -> None:
        raise error

    (paths.channels / "train" / "a.csv").write_bytes(GOOD)
    monkeypatch.setattr("simplenet.job.fit", fail)

    assert 1 == train()
    assert paths.failure.read_text().endswith(sentence)
    assert ("Traceback" in caplog.text) == isinstance(error, ZeroDivisionError)


def test_a_job_that_succeeds_leaves_no_failure_of_the_one_before(
    train: Callable[..., int], paths: Paths, moon_rows: np.ndarray
) -> None:
    """A corrected job may run in the same place; with exit code 0 it would be a riddle (T14)."""
    np.savetxt(paths.channels / "train" / "train.csv", moon_rows, delimiter=",")
    assert 1 == train(epochs="many")
    assert paths.failure.exists()
    assert 0 == train(epochs=1)

    assert not paths.failure.exists()


def test_a_failure_that_cannot_be_written_is_in_the_log(
    train: Callable[..., int], paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """And the exit code says that the job failed (T10)."""
    paths.failure.parent.rmdir()
    paths.failure.parent.write_bytes(b"")

    assert 1 == train(epoch=1)
    failed, unwritten = caplog.messages[-2:]
    assert failed.startswith("failed: Hyperparameter 'epoch' is not known")
    assert unwritten.startswith(f"{paths.failure} could not be written: [Errno ")


def test_the_failure_file_keeps_to_what_sagemaker_shows(
    train: Callable[..., int], paths: Paths
) -> None:
    """Only its first 1,024 characters become the job's FailureReason (T12)."""
    assert 1 == train(**{"x" * 3000: 1})
    assert 1024 >= len(paths.failure.read_text())
