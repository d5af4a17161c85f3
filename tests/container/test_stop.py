"""SIGTERM, wherever it finds the program."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from simplenet.stop import Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Freed:
    """An object in the midst of whose freeing SIGTERM comes."""

    def __del__(self) -> None:
        """Let it come, and another."""
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)


def linger() -> None:
    """Free such an object, and go on for longer than anyone would wait."""
    Freed()
    for _ in range(3_000):
        time.sleep(0.01)
    pytest.fail("The job went on.")


def swallow() -> None:
    """Go on like compiled code that clears what is raised in what it calls."""
    for _ in range(2):
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
    time.sleep(30)
    pytest.fail("The job went on.")


@pytest.fixture
def stop() -> Iterator[Stop]:
    """One that listens, and leaves no trace in the tests' process."""
    signals, hook = (signal.SIGTERM, signal.SIGALRM), sys.unraisablehook
    before = [signal.getsignal(number) for number in signals]
    found = Stop()
    found.listen()
    yield found
    sys.unraisablehook = hook
    for number, handler in zip(signals, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("work", [linger, swallow])
def test_a_stop_that_is_dropped_is_asked_for_again(
    work: Callable[[], None], stop: Stop, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is raised while an object is freed is dropped, with a traceback, and some compiled code
    drops it too; a job that reads for an hour must not go on (T8).
    """
    with pytest.raises(Stopped):
        stop.interrupt(work)

    assert stop.requested
    assert "Stopped" not in capsys.readouterr().err


def test_a_stop_does_not_disturb_how_the_work_is_left(stop: Stop) -> None:
    """What it opened is closed, however long that takes, and what comes after is let alone (T8)."""
    done = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        finally:
            time.sleep(0.3)
            done.append("closed")
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("left")

    with pytest.raises(Stopped):
        stop.interrupt(work)
    time.sleep(0.3)

    assert ["closed", "left"] == done


def terminate_at(step: int, stop: Stop, work: Callable[[], None]) -> tuple[int, str]:
    """Interrupt work by a SIGTERM before one of the steps that `interrupt` itself takes.

    Return how many steps there were, and what came of it.
    """
    taken = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal taken
        if frame.f_code is Stop.interrupt.__code__:
            frame.f_trace_opcodes = True
            taken += event == "opcode"
            if event == "opcode" and taken == step:
                os.kill(os.getpid(), signal.SIGTERM)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        stop.interrupt(work)
    except (Stopped, OSError) as error:
        return taken, type(error).__name__
    finally:
        sys.settrace(before)
    return taken, "done"


@pytest.mark.parametrize("fails", [False, True])
def test_sigterm_at_any_step_is_not_raised_later(
    stop: Stop, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """Nor anywhere else than in the work: what is saved afterwards is saved whole (T8)."""
    monkeypatch.setattr("simplenet.stop._AGAIN", 0.001)

    def work() -> None:
        if fails:
            raise OSError

    step, steps, found = 0, 1, set()
    while step <= steps:
        step += 1
        stop.requested = False
        steps, outcome = terminate_at(step, stop, work)
        time.sleep(0.005)
        found.add(outcome)

    assert {"Stopped", "OSError" if fails else "done"} == found
