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
    for name in ("train_loss", "train_accuracy")
]


def history(log: Iterable[str]) -> dict[str, list[float]]:
    """Return each metric's numbers, one an epoch, in the order of the log's lines."""
    found: dict[str, list[float]] = {definition["Name"]: [] for definition in DEFINITIONS}
    for line in log:
        if line.startswith("epoch="):
            for definition in DEFINITIONS:
                if match := re.search(definition["Regex"], line):
                    found[definition["Name"]].append(float(match[1]))
    return found
