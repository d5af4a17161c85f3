"""The run: each rule in turn, over one image."""

from __future__ import annotations

from typing import TYPE_CHECKING

# Each of these registers its rules.
from conformance import batch, image, multi_model  # noqa: F401
from conformance.engine import Engine, EngineError
from conformance.rule import RULES, Rule, Verdict, judge
from conformance.run import Run
from conformance.serving import requests, shutdown, surroundings  # noqa: F401
from conformance.training import ending, hosts, refusals, stops  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    from conformance.given import Given

#: What `--only` may say, and the module of the rules that it means, in the order of a whole run.
AREAS = {"train": "training", "serve": "serving", "batch": "batch", "multi-model": "multi_model"}


def rules(only: str | None = None) -> list[Rule]:
    """Return all rules, or those of one kind of use."""
    areas = ["image", AREAS[only]] if only else ["image", *AREAS.values()]
    return [rule for area in areas for rule in RULES if rule.area == area]


def _refuse(sentence: str) -> NoReturn:
    raise EngineError(sentence)


def check(
    given: Given,
    subjects: Iterable[Rule],
    trying: Callable[[Rule], None] = lambda _: None,
    left: Callable[[str], None] = _refuse,
) -> Iterator[Verdict]:
    """Yield what comes of each rule; at the end nothing of the run is left in Docker.

    Args:
        given: what is known of the image.
        subjects: the rules.
        trying: is told of each rule before it is tried.
        left: is told what is left in Docker all the same, and how it is removed.

    Raises:
        EngineError: if no rule can be tried, since there is no Docker, or no such image.
    """
    engine = Engine(given.image)
    try:
        run = Run(engine, given)
        _ = run.image
        for subject in subjects:
            trying(subject)
            yield judge(subject, run)
    finally:
        for sentence in engine.remove_all():
            left(sentence)
