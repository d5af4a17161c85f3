"""The hosts of a job that train together."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from simplenet.model import SimpleNet
from simplenet.paths import Paths

from tests.programs.hosts import Host, codes, logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# More than any of these jobs needs before it is stopped.
ENDLESS = 1_000_000


def test_shards_may_be_uneven_and_even_empty(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """Each host trains on what S3 gave it, be it nothing (T30); the scale is that of all rows."""
    hosts = start(moon_rows[:60], moon_rows[60:], moon_rows[:0], epochs=10, sharded=True)

    assert [0, 0, 0] == codes(*hosts), logs(*hosts)
    net = SimpleNet.load(hosts[0].paths.model_file)
    np.testing.assert_allclose(net.mean, moon_rows[:, 1:].mean(axis=0), atol=1e-5)
    right = np.round(net.score(moon_rows[:, 1:].astype(np.float32))) == moon_rows[:, 0]
    assert right.mean() > 0.9


def test_parts_of_one_size_are_no_replicas(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """Also where nothing says that a channel is sharded (T30), every row counts, by its weight."""
    settings = {"epochs": 5, "batch_size": len(moon_rows), "positive_weight": 3}
    (alone,) = start(moon_rows, **settings)
    assert 0 == alone.program.code(), logs(alone)
    weights = alone.take_weights()
    middle = len(moon_rows) // 2
    hosts = start(moon_rows[:middle], moon_rows[middle:], **settings)

    assert [0, 0] == codes(*hosts), logs(*hosts)
    for name, weight in hosts[0].take_weights().items():
        torch.testing.assert_close(weight, weights[name], atol=1e-4, rtol=1e-4)


def test_all_hosts_lose_patience_together(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """They measure the validation channel together, so that none goes on alone (T51)."""
    train, validation = moon_rows[:300], moon_rows[300:]
    hosts = start(train, train, validation=validation, epochs=ENDLESS, patience=3)

    assert [0, 0] == codes(*hosts), logs(*hosts)
    net = SimpleNet.load(hosts[0].paths.model_file)
    right = np.round(net.score(validation[:, 1:].astype(np.float32))) == validation[:, 0]
    assert right.mean() > 0.9


def test_sigterm_to_a_host_that_reads_ends_them_all(
    start: Callable[..., list[Host]], tmp_path: Path, moon_rows: np.ndarray
) -> None:
    """The other, which has long read its part, is told (T8)."""
    endless = Paths(tmp_path / "127.0.0.2").channels / "train" / "b.csv"
    endless.parent.mkdir(parents=True)
    with endless.open("wb") as file:
        file.truncate(1 << 40)  # a hole: no line end ever
    first, second = start(moon_rows, moon_rows, sharded=True)
    first.program.wait_for("channel train: 1 file")
    second.program.wait_for("device")
    second.program.send(signal.SIGTERM)

    assert [0, 0] == codes(first, second), logs(first, second)
    assert "SIGTERM: stopped before training began; there is no model yet." in logs(first)
    assert "SIGTERM: stopped before training began." in logs(second)


@pytest.mark.parametrize("sharded", [False, True], ids=["replicated", "sharded"])
def test_a_job_of_several_hosts_goes_on_from_its_checkpoint(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, *, sharded: bool
) -> None:
    """SIGTERM to one stops all at the same step, with a model (T8); started again they go on in
    the midst of an epoch, and end with the weights of hosts that were never stopped (T37, T39).
    """
    parts = [moon_rows[:150], moon_rows[150:], moon_rows[:0]] if sharded else [moon_rows] * 2
    settings = {"epochs": 60, "batch_size": 16}
    hosts = start(*parts, sharded=sharded, **settings)
    assert {0} == {*codes(*hosts)}, logs(*hosts)
    whole = hosts[0].take_weights()

    hosts = start(*parts, sharded=sharded, **settings)
    hosts[0].program.wait_for("epoch=2;")
    hosts[1].program.send(signal.SIGTERM)
    assert {0} == {*codes(*hosts)}, logs(*hosts)
    assert "SIGTERM: stopped early; the best model so far is kept." in logs(hosts[0])
    assert "SIGTERM: stopped early; the best model so far is kept by 127.0.0.1." in logs(hosts[1])
    assert hosts[0].paths.model_file.exists()
    hosts = start(*parts, sharded=sharded, **settings)
    assert {0} == {*codes(*hosts)}, logs(*hosts)
    assert "going on from checkpoint-" in logs(hosts[0])
    step = re.search(r"after epoch ([1-9]\d*) and \d+ steps, as on 127.0.0.1", logs(hosts[1]))
    assert step, logs(hosts[1])
    resumed = hosts[0].take_weights()
    assert [] == [name for name in whole if not whole[name].equal(resumed[name])]


@pytest.mark.parametrize("whose", [{1}, {2}, {1, 2}], ids=["first", "second", "both"])
def test_an_earlier_model_must_have_come_to_all_hosts(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, tmp_path: Path, whose: set[int]
) -> None:
    """What one of them lacks they would not all go on from (T30, T32); each says so."""
    for number in whose:
        model = tmp_path / f"127.0.0.{number}" / "input" / "data" / "model"
        model.mkdir(parents=True)
        SimpleNet(2).save(model / "model.safetensors")
    hosts = start(moon_rows, moon_rows, epochs=1)

    if whose == {1, 2}:
        assert [0, 0] == codes(*hosts), logs(*hosts)
        assert 2 == logs(*hosts).count("channel model: training goes on from the model in it")
    else:
        assert [1, 1] == codes(*hosts), logs(*hosts)
        (missing,) = {1, 2} - whose
        sentence = (
            f"Channel 'model' has not come to 127.0.0.{missing}; expected it on every host. "
            "Give it as FullyReplicated, which is the default."
        )
        assert {sentence} == {host.failure for host in hosts}


def test_a_host_that_ends_ends_the_others_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """They do not go on without it, nor wait for it (T50), and say which it was (T12)."""
    first, second = start(moon_rows, moon_rows, epochs=ENDLESS)
    first.program.wait_for("epoch=1;")
    second.program.send(signal.SIGKILL)

    assert [1] == codes(first), logs(first)
    assert first.failure.startswith("Lost contact with 127.0.0.2: it ended, or was silent for ")


def test_bad_data_on_one_host_ends_them_all_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """The host that has it says where; the other says who (T12)."""
    bad = moon_rows.copy()
    bad[7, 0] = 5
    first, second = start(moon_rows, bad, epochs=ENDLESS, sharded=True)

    assert [1, 1] == codes(first, second), logs(first, second)
    assert "train/a.csv, line 8, column 1 is 5" in second.failure
    assert "127.0.0.2 failed; its own log" in first.failure
