"""The hosts of a job, until all have met."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.programs.hosts import Host, codes, logs

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


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
