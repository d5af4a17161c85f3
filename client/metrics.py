"""The metrics of a training job: what SageMaker finds in its log, and their history."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What SageMaker searches each line of the log for: the first group is the number.
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_MetricDefinition.html
DEFINITIONS = [
    {"Name": name, "Regex": rf"\b{name}=([0-9.eE+-]+);"}
    for name in (
        *(
            f"{channel}_{measure}"
            for channel in ("train", "validation", "test")
            for measure in ("loss", "accuracy", "roc_auc")
        ),
        "rows_per_second",
    )
]


def history(log: Iterable[str]) -> dict[str, list[float]]:
    """Return each metric's numbers, one an epoch, in the order of the log's lines."""
    return _found(line for line in log if line.startswith("epoch="))


def final(log: Iterable[str]) -> dict[str, float]:
    """Return the metrics of the network that was saved; the last line of the log has them."""
    return {name: numbers[-1] for name, numbers in _found(log).items()}


def _found(lines: Iterable[str]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in lines:
        for definition in DEFINITIONS:
            if match := re.search(definition["Regex"], line):
                found.setdefault(definition["Name"], []).append(float(match[1]))
    return found
