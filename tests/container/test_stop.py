"""SIGTERM, wherever it finds the program."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from simplenet.stop import Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
    with pytest.raises(Stopped), stop.interrupts():
        work()

    assert stop.requested
    assert "Stopped" not in capsys.readouterr().err
