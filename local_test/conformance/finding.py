"""What came of a rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """The ways in which a rule ends."""

    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"
    NOT_APPLICABLE = "not applicable"
    ERROR = "not tried"


@dataclass(frozen=True)
class Finding:
    """An outcome, what was observed, and what to do about it."""

    outcome: Outcome
    observed: str
    cure: str = ""


class BlockedError(Exception):
    """What a rule looks at is not there; another rule says why."""


class NoProgramError(BlockedError):
    """The image has no program for it, as the rule `programs` says where that is asked for."""


def passed(observed: str) -> Finding:
    """The image keeps the rule."""
    return Finding(Outcome.PASSED, observed)


def failed(observed: str, cure: str) -> Finding:
    """On SageMaker this would go wrong."""
    return Finding(Outcome.FAILED, observed, cure)


def warned(observed: str, cure: str) -> Finding:
    """It works, but not always, or not well."""
    return Finding(Outcome.WARNED, observed, cure)


def not_tried(observed: str, cure: str) -> Finding:
    """Something failed that is not the image."""
    return Finding(Outcome.ERROR, observed, cure)


def not_applicable(reason: str) -> Finding:
    """The rule says nothing of this image, or of what was given with it."""
    return Finding(Outcome.NOT_APPLICABLE, reason)
