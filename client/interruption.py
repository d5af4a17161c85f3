"""Ctrl-C, and what is like it: a polite kill, and a terminal that is closed."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Left(KeyboardInterrupt):
    """An interrupt after which something goes on; the message names it, and what ends it."""


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def listen() -> None:
    """Let all of them raise KeyboardInterrupt, so that all are cleaned up after alike."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C interrupt a clean-up."""
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def heard() -> Iterator[None]:
    """Let a Ctrl-C through within a clean-up, where that only waits.

    Raises:
        KeyboardInterrupt: after an interrupt.
    """
    with _handled(_interrupt):
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
