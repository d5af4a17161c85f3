"""Ctrl-C, and what is like it: a polite kill, and a terminal that is closed."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen() -> None:
    """Let all of them raise KeyboardInterrupt, so that all are cleaned up after alike."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in SIGNALS:
        signal.signal(number, interrupt)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C interrupt a clean-up."""
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def deferred() -> Iterator[None]:
    """Let what has begun be finished: an interrupt comes when the context ends.

    So nothing is made in the cloud whose maker does not know of it, and could not delete it.

    Raises:
        KeyboardInterrupt: after an interrupt, whatever the context came to.
    """
    interrupted = False

    def remember(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        sys.stderr.write("Interrupted; waiting for the answer to what has been asked for.\n")

    try:
        with _handled(remember):
            yield
    finally:
        if interrupted:
            raise KeyboardInterrupt


@contextmanager
def _handled(handler: Callable[..., None] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
