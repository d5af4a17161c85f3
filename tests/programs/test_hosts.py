"""Several processes as the hosts of one training job; `tests/image` has containers instead."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from simplenet import meeting
from simplenet.model import SimpleNet
from simplenet.paths import Paths

from tests import engine
from tests.host import Trained
from tests.programs.program import Program, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# More than any of these jobs needs before it is stopped.
ENDLESS = 1_000_000

# Names that are all this machine's.
LOCAL = ("127.0.0.1", "127.0.0.2", "127.0.0.3")

# The program `train`, but at a port that no other job of this machine meets at, and with less
# patience, if it is to be tried.
TRAIN = """
import runpy, sys
from simplenet import meeting
meeting.PORT, meeting.SILENCE = map(int, sys.argv[1:])
runpy.run_module("simplenet.training", run_name="__main__")
"""


@dataclass(frozen=True)
class Host(Trained):
    """One process and its `/opt/ml`."""

    program: Program


@pytest.fixture
def port() -> int:
    """Where the hosts of a job meet."""
    return engine.free_port()


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Callable[..., list[Host]]]:
    """Starts a job of several hosts, one for each of the given parts of its rows.

    Started again, a job finds what it left. A host whose part is None never comes, and none of the
    `strangers`, which are names.
    """
    with ExitStack() as stack:

        def run(
            *parts: np.ndarray | None,
            sharded: bool = False,
            strangers: tuple[str, ...] = (),
            validation: np.ndarray | None = None,
            names: Sequence[str] = LOCAL,
            silence: int = meeting.SILENCE,
            **settings: float | str,
        ) -> list[Host]:
            given = {name: str(value) for name, value in settings.items()}
            distribution = "ShardedByS3Key" if sharded else "FullyReplicated"
            hosts = []
            for name, rows in zip(names, parts, strict=False):
                if rows is None:
                    continue
                paths = Paths(tmp_path / name)
                train = paths.channels / "train"
                for directory in (train, paths.hyperparameters.parent, paths.checkpoints):
                    directory.mkdir(parents=True, exist_ok=True)
                if len(rows):
                    np.savetxt(train / "a.csv", rows, delimiter=",")
                resources = {
                    "current_host": name,
                    "hosts": [*names[: len(parts)], *strangers],
                    "network_interface_name": "lo",
                }
                if validation is not None:
                    (paths.channels / "validation").mkdir(exist_ok=True)
                    np.savetxt(paths.channels / "validation" / "a.csv", validation, delimiter=",")
                channels = {"train": {"S3DistributionType": distribution}}
                paths.hyperparameters.write_text(json.dumps(given))
                paths.resource_config.write_text(json.dumps(resources))
                paths.input_data_config.write_text(json.dumps(channels))
                command = [sys.executable, "-c", TRAIN, str(port), str(silence)]
                hosts.append(Host(paths, stack.enter_context(started(command, paths))))
            return hosts

        yield run


def codes(*hosts: Host) -> list[int]:
    """Return the exit codes of all hosts."""
    return [host.program.code() for host in hosts]


def logs(*hosts: Host) -> str:
    """Return what all hosts printed, for a test that fails."""
    return "\n".join(f"--- {host.paths.root.name}\n{host.program.output()}" for host in hosts)


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


def test_a_host_that_never_comes_ends_the_others_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """Its name is waited for (T50), as long as the job says; the sentence has the cure (T12)."""
    hosts = start(moon_rows, moon_rows, strangers=("algo-3.invalid",), wait_seconds=8)

    assert [1, 1] == codes(*hosts), logs(*hosts)
    for host in hosts:
        assert re.search(r"waiting up to 8 s for (127.0.0.2 and )?algo-3.invalid", logs(host))
        assert host.failure.startswith("After 8 s there is still no algo-3.invalid; expected all")


@pytest.mark.parametrize("idle", [1, 2])
def test_a_host_whose_program_never_comes_ends_the_others_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, idle: int
) -> None:
    """Its name is there, but it does not answer (T12, T50)."""
    parts = [None if number == idle else moon_rows for number in (1, 2)]
    (other,) = start(*parts, wait_seconds=1)

    assert [1] == codes(other), logs(other)
    assert other.failure.startswith(f"After 1 s there is still no 127.0.0.{idle}; expected all")


@pytest.mark.parametrize("whose", [1, 2])
def test_sigterm_to_a_host_that_waits_ends_them_all(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, whose: int
) -> None:
    """Also before all have met, the others are told (T8, T50)."""
    hosts = start(moon_rows, moon_rows, None)
    for host in hosts:
        host.program.wait_for(" s for 127.0.0.3")
    hosts[whose - 1].program.send(signal.SIGTERM)

    assert [0, 0] == codes(*hosts), logs(*hosts)
    assert "SIGTERM: stopped before training began; there is no model yet." in logs(hosts[0])
    assert "SIGTERM: stopped before training began." in logs(hosts[1])


@pytest.mark.parametrize("other", [1, 2])
def test_sigterm_to_a_host_that_waits_for_the_first_or_all_others_ends_it(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, other: int
) -> None:
    """Nobody is there who could be told (T8)."""
    (host,) = start(*[None if number == other else moon_rows for number in (1, 2)])
    host.program.wait_for(f" s for 127.0.0.{other}")
    host.program.send(signal.SIGTERM)

    assert 0 == host.program.code(), logs(host)
    assert "SIGTERM: stopped before training began" in logs(host)


@pytest.mark.parametrize("whose", [1, 2])
def test_a_host_that_fails_before_it_meets_the_others_ends_them(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, whose: int
) -> None:
    """It says why, and the one that waits for it says who (T12, T50)."""
    (waiting,) = start(*[None if number == whose else moon_rows for number in (1, 2)])
    waiting.program.wait_for(f" s for 127.0.0.{whose}")
    (failing,) = start(*[moon_rows if number == whose else None for number in (1, 2)], epochs="few")

    assert [1, 1] == codes(waiting, failing), logs(waiting, failing)
    assert "Hyperparameter epochs is 'few'" in failing.failure
    assert f"127.0.0.{whose} failed; its own log and failure file say why." == waiting.failure


@pytest.mark.parametrize("whose", [1, 2])
def test_a_host_that_is_lost_while_they_meet_ends_the_others(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, whose: int
) -> None:
    """They do not wait for it as long as for one that they have not seen (T12, T50)."""
    hosts = start(moon_rows, moon_rows, None, silence=3)
    for host in hosts:
        host.program.wait_for(" s for 127.0.0.3")
    hosts.pop(whose - 1).program.send(signal.SIGKILL)

    assert [1] == codes(*hosts), logs(*hosts)
    assert hosts[0].failure.startswith(f"Lost contact with 127.0.0.{whose}: it ended, or was")


def test_a_host_that_came_and_was_lost_is_missed_when_the_last_comes(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """That all have come does not mean that all are there (T50); its name is said (T12)."""
    first, second = start(moon_rows, moon_rows, None, silence=4)
    first.program.wait_for(" s for 127.0.0.3")
    second.program.send(signal.SIGKILL)
    (third,) = start(None, None, moon_rows, silence=4)

    assert [1, 1] == codes(first, third), logs(first, third)
    for host in (first, third):
        assert host.failure.startswith("Lost contact with 127.0.0.2: it ended, or was silent for 4")


@pytest.mark.parametrize("asked", [False, True])
def test_a_first_host_that_is_silent_while_they_meet_holds_up_nobody(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, *, asked: bool
) -> None:
    """The others know of it by no signal of their system (T50), and hear SIGTERM meanwhile (T8)."""
    first, second = start(moon_rows, moon_rows, None, silence=3)
    second.program.wait_for(" s for 127.0.0.3")
    first.program.send(signal.SIGSTOP)
    if asked:
        second.program.send(signal.SIGTERM)

    assert [0 if asked else 1] == codes(second), logs(first, second)
    if not asked:
        assert second.failure.startswith("Lost contact with 127.0.0.1: it ended, or was silent")


def test_a_host_that_fails_does_not_wait_for_a_silent_one(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """To tell it so is tried, and no more (T12)."""
    (first,) = start(moon_rows, None)
    first.program.wait_for(" s for 127.0.0.2")
    first.program.send(signal.SIGSTOP)
    (second,) = start(None, moon_rows, epochs="few")

    assert 1 == second.program.code()
    assert "Hyperparameter epochs is 'few'" in second.failure


def test_the_first_host_need_not_know_its_own_name(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """SageMaker's DNS may come later (T50); the others look for it as long as the job says."""
    names = ("algo-1.invalid", "127.0.0.2")
    first, second = start(moon_rows, moon_rows, names=names, wait_seconds=1)

    assert [1, 1] == codes(first, second), logs(first, second)
    assert first.failure.startswith("After 1 s there is still no 127.0.0.2; expected all hosts")
    assert second.failure.startswith("After 1 s there is still no algo-1.invalid; expected all")


def test_a_host_that_ends_and_comes_again_is_met(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """Before all have met nothing is lost by it (T50)."""
    first, second = start(moon_rows, moon_rows, None, epochs=1, silence=30)
    second.program.wait_for(" s for 127.0.0.3")
    second.program.send(signal.SIGKILL)
    again, third = start(None, moon_rows, moon_rows, epochs=1, silence=30)

    assert [0, 0, 0] == codes(first, again, third), logs(first, again, third)
    for number, host in enumerate((first, again, third), 1):
        assert f"for 127.0.0.{number}\n" not in logs(host)
        assert f"for 127.0.0.{number} and" not in logs(host)


def test_a_port_that_is_taken_is_named(
    start: Callable[..., list[Host]], port: int, moon_rows: np.ndarray
) -> None:
    """By the first host, at which the others would meet (T12)."""
    with socket.create_server(("", port)):
        (first,) = start(moon_rows, None)

        assert [1] == codes(first), logs(first)
    assert first.failure.startswith(f"Port {port}, at which the hosts of a job meet, cannot be")


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
