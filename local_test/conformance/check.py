"""The run: each rule in turn, over one image."""

from __future__ import annotations

from typing import TYPE_CHECKING

# Each of these registers its rules.
from conformance import batch, image, multi_model, serving, training  # noqa: F401
from conformance.engine import Engine
from conformance.rule import RULES, Rule, Verdict, judge
from conformance.run import Given, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: What `--only` may say, and the module of the rules that it means, in the order of a whole run.
AREAS = {"train": "training", "serve": "serving", "batch": "batch", "multi-model": "multi_model"}


def rules(only: str | None = None) -> list[Rule]:
    """Return all rules, or those of one kind of use."""
    areas = ["image", AREAS[only]] if only else ["image", *AREAS.values()]
    return [rule for area in areas for rule in RULES if rule.area == area]


def check(
    given: Given, subjects: Iterable[Rule], trying: Callable[[Rule], None] = lambda _: None
) -> Iterator[Verdict]:
    """Yield what comes of each rule; at the end nothing of the run is left in Docker."""
    engine = Engine(given.image)
    try:
        run = Run(engine, given)
        for subject in subjects:
            trying(subject)
            yield judge(subject, run)
    finally:
        engine.remove_all()
