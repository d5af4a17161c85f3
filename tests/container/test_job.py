"""A job with all its channels, and what it says of itself."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simplenet import fitting
from simplenet.channel import Channel
from simplenet.hyperparameters import Hyperparameters
from simplenet.model import SimpleNet
from simplenet.state import State
from sklearn.metrics import roc_auc_score

from tests.container.opt_ml import put

if TYPE_CHECKING:
    from collections.abc import Callable

    from simplenet.paths import Paths

    from tests.conftest import Moons


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


def test_all_files_of_a_channel_count(
    train: Callable[..., int], split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how many there were (T22)."""
    caplog.set_level("INFO")
    put(split, "test", np.array([[1, 0, 0], [0, 1, 1]]), "more.csv")
    size = sum(path.stat().st_size for path in (split.channels / "test").iterdir())

    assert 0 == train(epochs=1)
    sentence = f"channel test: 2 files, {size} bytes, 77 rows of a label and 2 features"
    assert sentence in caplog.messages


def test_a_validation_channel_of_one_class_has_no_roc_auc(
    train: Callable[..., int], split: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out rather than NaN, which CloudWatch would not take (T47)."""
    caplog.set_level("INFO")
    put(split, "validation", np.array([[1, 0, 0], [1, 1, 1]]))

    assert 0 == train(epochs=3)
    assert "validation_roc_auc=" not in caplog.text
    assert 1 == caplog.messages.count("validation_roc_auc needs both classes; the channel has one")
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
