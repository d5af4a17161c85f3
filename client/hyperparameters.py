"""The hyperparameters of a job, checked before it starts and costs.

The table is the container's own; `make client/hyperparameters.json` writes it down, and a test
holds the two together, since the client imports nothing of the container.
"""

from __future__ import annotations

import difflib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Each hyperparameter's type, default, low, high, help and perhaps search, by name.
TABLE: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_suffix(".json").read_text("utf-8")
)


@dataclass(frozen=True)
class Range:
    """Where a tuning job looks for the best value of a hyperparameter."""

    name: str
    low: float
    high: float
    scale: str  #: Linear, or Logarithmic

    @property
    def is_whole(self) -> bool:
        """Tell whether only whole numbers are values."""
        return str(TABLE[self.name]["type"]) == "int"

    def __str__(self) -> str:
        return f"{self.name}={self.low:g}:{self.high:g}"


#: What a tuning job searches, where nothing else is said.
SEARCH = {name: Range(name, *knob["search"]) for name, knob in TABLE.items() if "search" in knob}


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
        name, value = _split(word, "NAME=VALUE")
        if name in parsed:
            raise HyperparameterError(f"Hyperparameter {name} is given twice; leave one out.")
        parsed[name] = str(_number(name, value))  # as JSON has it, which the container reads
    return parsed


def ranges(given: Iterable[str], fixed: Collection[str] = ()) -> dict[str, Range]:
    """Turn NAME=LOW:HIGH into what a tuning job searches; where none is given, the table's.

    >>> ranges(["lr=0.05:0.5"])
    {'lr': Range(name='lr', low=0.05, high=0.5, scale='Logarithmic')}

    Raises:
        HyperparameterError: if one is not known, given twice, fixed, or no range of its values.
    """
    found: dict[str, Range] = {}
    for word in given:
        name, value = _split(word, "NAME=LOW:HIGH")
        if name in found or name in fixed:
            raise HyperparameterError(f"Hyperparameter {name} is given twice; leave one out.")
        low, _, high = value.partition(":")
        least, most = _number(name, low), _number(name, high)
        if not least < most:
            raise HyperparameterError(
                f"{word!r} is no range; expected NAME=LOW:HIGH, such as lr=0.05:0.5."
            )
        scale = "Logarithmic" if least > 0 else "Linear"
        found[name] = Range(name, float(least), float(most), scale)
    found = found or {name: range_ for name, range_ in SEARCH.items() if name not in fixed}
    if not found:
        raise HyperparameterError(
            "Nothing is left to search; leave out one of -p, or give --search."
        )
    return found


def _split(word: str, expected: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise HyperparameterError(f"{word!r} sets nothing; expected {expected}.")
    if name not in TABLE:
        near = difflib.get_close_matches(name, TABLE, n=1)
        raise HyperparameterError(
            f"Hyperparameter {name!r} is not known; "
            + (f"did you mean {near[0]}?" if near else f"known are: {', '.join(TABLE)}.")
        )
    return name, value


def _number(name: str, value: str) -> float:
    knob = TABLE[name]
    kind = int if knob["type"] == "int" else float
    number: float | None = None
    with suppress(ValueError):
        number = kind(value)
    if number is None or not knob["low"] <= number <= knob["high"]:
        article = "a whole number" if kind is int else "a number"
        raise HyperparameterError(
            f"Hyperparameter {name} is {value!r}; expected {article} from {knob['low']:,} to "
            f"{knob['high']:,} ({knob['help']})."
        )
    return number
