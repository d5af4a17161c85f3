"""Rules: one small function each, which looks at a run and finds something."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.engine import EngineError
from conformance.finding import (
    BlockedError,
    Finding,
    NoProgramError,
    failed,
    not_applicable,
    not_tried,
)
from conformance.server import NO_REPLY

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.run import Run

    Look = Callable[[Run], Finding]


@dataclass(frozen=True)
class Rule:
    """A function that looks, with its sentence and where the contract says so."""

    area: str  #: the module that has it
    name: str
    numbers: tuple[str, ...]  #: rows of docs/contract.md
    sentence: str
    observes: str  #: what of the run it shares with other rules, without changing it
    asked_for_by: str  #: the `--only` that makes no sense where this cannot be tried
    look: Look

    @property
    def key(self) -> str:
        """The rule's name in reports: `training.failure_file`."""
        return f"{self.area}.{self.name}"


@dataclass(frozen=True)
class Verdict:
    """A rule, and what came of it."""

    rule: Rule
    finding: Finding
    seconds: float


#: Every rule, in the order in which they are tried.
RULES: list[Rule] = []


def rule(*numbers: str, observes: str = "", asked_for_by: str = "") -> Callable[[Look], Look]:
    """Make a function a rule; its docstring is the sentence that the report shows.

    Args:
        numbers: the rows of docs/contract.md that ask for it.
        observes: the property of `Run` that it only looks at; none if it needs its own container.
        asked_for_by: the `--only` with which it fails, and is not passed over, where it cannot be
            tried: what the user came for is not there.
    """

    def register(look: Look) -> Look:
        sentence = " ".join((look.__doc__ or "").split())
        area = look.__module__.split(".")[1]  # conformance.serving.requests: serving
        found = Rule(area, look.__name__, numbers, sentence, observes, asked_for_by, look)
        RULES.append(found)
        return look

    return register


def judge(subject: Rule, run: Run) -> Verdict:
    """Try one rule."""
    began = time.monotonic()
    try:
        finding = subject.look(run)
    except NoProgramError as error:
        finding = not_applicable(str(error))
    except BlockedError as error:
        finding = not_applicable(str(error))
        if subject.asked_for_by and subject.asked_for_by == run.given.only:
            finding = failed(
                str(error), f"--only {run.given.only} asks for it: give the run what it lacks."
            )
    except NO_REPLY as error:
        finding = failed(
            f"the server gives no reply: {type(error).__name__}: {error}",
            "Look into the server's log; each request must get a whole HTTP reply.",
        )
    except EngineError as error:
        finding = not_tried(
            str(error), "That is Docker's, and says nothing of the image: mend it, and run again."
        )
    except Exception as error:  # noqa: BLE001 - it costs no other rule what was found
        where = traceback.extract_tb(error.__traceback__)[-1]
        finding = not_tried(
            f"{error!r} at line {where.lineno} of {where.filename}",
            "That is this run's fault, or this machine's: its disk may be full, for example.",
        )
    return Verdict(subject, finding, time.monotonic() - began)
