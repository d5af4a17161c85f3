"""The run: each rule in turn, over one image."""

from __future__ import annotations

from typing import TYPE_CHECKING

# Each registers its rules, and they are tried in this order.
from conformance import image, training, serving, batch, multi_model  # noqa: F401, I001
from conformance.engine import Engine
from conformance.rule import RULES, Rule, Verdict, judge
from conformance.run import Given, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: What `--only` may say, and the area that it means; the image's own rules always apply.
AREAS = {"train": "training", "serve": "serving", "batch": "batch", "multi-model": "multi_model"}


def rules(only: str | None = None) -> list[Rule]:
    """Return all rules, or those of one kind of use."""
    areas = {"image", AREAS[only]} if only else {"image", *AREAS.values()}
    return [rule for rule in RULES if rule.area in areas]


def check(
    given: Given, subjects: Iterable[Rule], trying: Callable[[Rule], None] = lambda _: None
) -> Iterator[Verdict]:
    """Yield what comes of each rule; at the end nothing of the run is left in Docker."""
    with Engine() as engine:
        run = Run(engine, given)
        for subject in subjects:
            trying(subject)
            yield judge(subject, run)
