"""Rules: one small function each, which looks at a run and finds something."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.finding import BlockedError, Finding, failed, not_applicable

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


def rule(*numbers: str, observes: str = "") -> Callable[[Look], Look]:
    """Make a function a rule; its docstring is the sentence that the report shows.

    Args:
        numbers: the rows of docs/contract.md that ask for it.
        observes: the property of `Run` that it only looks at; none if it needs its own container.
    """

    def register(look: Look) -> Look:
        sentence = " ".join((look.__doc__ or "").split())
        area = look.__module__.rpartition(".")[2]
        RULES.append(Rule(area, look.__name__, numbers, sentence, observes, look))
        return look

    return register


def judge(subject: Rule, run: Run) -> Verdict:
    """Try one rule."""
    began = time.monotonic()
    try:
        finding = subject.look(run)
    except BlockedError as error:
        finding = not_applicable(str(error))
    except (OSError, http.client.HTTPException) as error:
        finding = failed(
            f"the server gives no reply: {type(error).__name__}: {error}",
            "Look into the server's log; each request must get a whole HTTP reply.",
        )
    return Verdict(subject, finding, time.monotonic() - began)
