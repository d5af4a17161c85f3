"""The hyperparameters of a job, checked before it starts and costs.

The table is the container's own; `make client/hyperparameters.json` writes it down, and a test
holds the two together, since the client imports nothing of the container.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Each hyperparameter's type, default, low, high and help, by name.
TABLE: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_suffix(".json").read_text("utf-8")
)


class HyperparameterError(Refusal):
    """A hyperparameter that no job would take; the message says what one would."""


def parse(given: Iterable[str]) -> dict[str, str]:
    """Turn NAME=VALUE into what a job is given, all strings.

    >>> parse(["epochs=20", "batch-size=32"])
    {'epochs': '20', 'batch_size': '32'}

    Raises:
        HyperparameterError: if one is not known, given twice, no number or out of its range.
    """
    parsed: dict[str, str] = {}
    for word in given:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise HyperparameterError(f"{word!r} sets nothing; expected NAME=VALUE.")
        if name not in TABLE:
            near = difflib.get_close_matches(name, TABLE, n=1)
            raise HyperparameterError(
                f"Hyperparameter {name!r} is not known; "
                + (f"did you mean {near[0]}?" if near else f"known are: {', '.join(TABLE)}.")
            )
        if name in parsed:
            raise HyperparameterError(f"Hyperparameter {name} is given twice; leave one out.")
        _expect(name, value)
        parsed[name] = value.strip()
    return parsed


def _expect(name: str, value: str) -> None:
    knob = TABLE[name]
    kind = int if knob["type"] == "int" else float
    try:
        known = knob["low"] <= kind(value) <= knob["high"]
    except ValueError:
        known = False
    if not known:
        article = "a whole number" if kind is int else "a number"
        raise HyperparameterError(
            f"Hyperparameter {name} is {value!r}; expected {article} from {knob['low']:,} to "
            f"{knob['high']:,} ({knob['help']})."
        )
