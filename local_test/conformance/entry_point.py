"""What an entry point does with its argument, found by running it on nothing."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.engine import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.engine import Container, Engine

_USES = ("train", "serve")
_NO_USE = "conformance-word"


@dataclass(frozen=True)
class End:
    """How a container ended."""

    exit_code: int | None  #: None where it still runs
    log: str  #: without its argument and numbers, which may differ though it does the same


@dataclass(frozen=True)
class EntryPoint:
    """How the program ends on `train`, on `serve`, and on a word that means nothing."""

    ends: dict[str, End]

    @property
    def knows(self) -> list[str]:
        """The words that it does not treat like the one that means nothing."""
        return [word for word in _USES if self.ends[word] != self.end]

    @property
    def end(self) -> End:
        """How it ends on the word that means nothing."""
        return self.ends[_NO_USE]


def entry_point(engine: Engine, image: str, seconds: float) -> EntryPoint:
    """Run an image's entry point on each word, with an empty /opt/ml and no network."""
    give_up = time.monotonic() + seconds
    with (
        _started(engine, image, _USES[0]) as first,
        _started(engine, image, _USES[1]) as second,
        _started(engine, image, _NO_USE) as third,
    ):
        return EntryPoint(
            {
                word: _end(container, refusal, word, max(0.0, give_up - time.monotonic()))
                for word, (container, refusal) in zip(
                    (*_USES, _NO_USE), (first, second, third), strict=True
                )
            }
        )


@contextmanager
def _started(engine: Engine, image: str, word: str) -> Iterator[tuple[Container, str]]:
    """Give a container that runs, or why it does not; remove it in the end."""
    container = engine.create(image, word, options=("--network", "none"))
    refusal = ""
    try:
        container.start()
    except StartError as error:
        refusal = str(error)
    try:
        yield container, refusal
    finally:
        container.remove()


def _end(container: Container, refusal: str, word: str, seconds: float) -> End:
    code = container.wait(seconds)
    return End(code, re.sub(rf"\b{word}\b|[0-9a-f]{{12,}}|\d+", "", refusal or container.log()))
