"""Every knob of a training job, once: name, type, default, range and help."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# What SageMaker's own tools add to a job's hyperparameters; not ours to judge.
# https://github.com/aws/sagemaker-training-toolkit/blob/master/src/sagemaker_training/params.py
_FOREIGN_PREFIXES = ("sagemaker_", "_tuning_", "_kfold_")
_FOREIGN_NAMES = ("default_user_module_name",)

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)


class HyperparameterError(ValueError):
    """A hyperparameter that cannot be used; the message goes to the user as it is."""


def _knob(
    default: float | None,
    help: str,  # noqa: A002
    low: float,
    high: float,
    search: tuple[float, float, str] | None = None,
) -> Any:
    """Declare a hyperparameter; `search` is where a tuning job looks: low, high and scale."""
    metadata = {"help": help, "low": low, "high": high}
    return field(default=default, metadata=metadata | ({"search": search} if search else {}))


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of one training job."""

    input_dim: int | None = _knob(None, "features a row; by default what the data has", 1, 100_000)
    hidden_dim: int = _knob(
        20, "width of the hidden layer", 1, 65_536, search=(8, 128, "Logarithmic")
    )
    output_dim: int = _knob(1, "class scores a row: one, for two classes", 1, 1)
    epochs: int = _knob(80, "passes over the training data", 1, 1_000_000)
    batch_size: int = _knob(
        16, "rows a step of the optimiser", 1, 100_000_000, search=(8, 128, "Logarithmic")
    )
    lr: float = _knob(
        0.2,
        "learning rate of the first step; it falls to zero along half a cosine",
        1e-8,
        10.0,
        search=(0.01, 1.0, "Logarithmic"),
    )
    weight_decay: float = _knob(
        0.02,
        "decoupled weight decay, as AdamW has it",
        0.0,
        10.0,
        search=(0.001, 0.2, "Logarithmic"),
    )
    positive_weight: float = _knob(
        1.0, "weight of a row of class 1 in the loss; above 1 for a rare class 1", 1e-3, 1e3
    )
    patience: int = _knob(
        0, "epochs without a lower validation_loss before the job ends; 0 for never", 0, 1_000_000
    )
    seed: int = _knob(0, "seed of the first weights and of the order of the rows", 0, 2**63 - 1)
    checkpoint_seconds: float = _knob(30.0, "seconds between two checkpoints", 0.0, 86_400.0)
    checkpoint_epochs: int = _knob(
        0, "epochs between two checkpoints; 0 to go by seconds alone", 0, 1_000_000
    )
    wait_seconds: float = _knob(
        900.0, "seconds that the other hosts of the job may take to appear", 1.0, 86_400.0
    )

    @classmethod
    def load(cls, path: Path) -> tuple[Hyperparameters, frozenset[str]]:
        """Read `hyperparameters.json`; return the settings and the names that were given in it.

        A missing or empty file means that the job named none.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        except UnicodeDecodeError as error:
            raise HyperparameterError(f"{path} is not UTF-8 text: {error}.") from None
        try:
            given = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError) as error:
            raise HyperparameterError(f"{path} is not JSON: {error}.") from None
        if not isinstance(given, dict):
            raise HyperparameterError(
                f"{path} holds a JSON {type(given).__name__}; expected an object of strings, "
                'such as {"epochs": "80"}.'
            )
        return cls.parse(given)

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> tuple[Hyperparameters, frozenset[str]]:
        """Turn SageMaker's strings into settings; return them and the names that were given.

        >>> Hyperparameters.parse({"epochs": "5", "batch-size": "16"})[0].batch_size
        16
        """
        knobs = {knob.name: knob for knob in fields(cls)}
        spelt: dict[str, str] = {}
        settings: dict[str, int | float] = {}
        for name, value in given.items():
            known = name.replace("-", "_")
            if known in knobs:
                if known in spelt:
                    raise HyperparameterError(
                        f"Hyperparameter {known} is given twice, as {spelt[known]!r} and as "
                        f"{name!r}; leave one out."
                    )
                spelt[known] = name
                settings[known] = _value(name, value, knobs[known])
            elif not name.startswith(_FOREIGN_PREFIXES) and name not in _FOREIGN_NAMES:
                raise HyperparameterError(_unknown(name, knobs))
        return cls(**settings), frozenset(settings)  # type: ignore[arg-type]  # _value saw the type


def json_table() -> str:
    """Return the same table for programs that cannot import this one.

    >>> json.loads(json_table())["output_dim"]["high"]
    1
    """
    table = {
        knob.name: {
            "type": "float" if "float" in str(knob.type) else "int",
            "default": knob.default,
            **knob.metadata,
        }
        for knob in fields(Hyperparameters)
    }
    return json.dumps(table, indent=2) + "\n"


def markdown_table() -> str:
    """Return the table of all hyperparameters that the documentation shows.

    >>> print(markdown_table().splitlines()[3])
    | `hidden_dim` | whole number | 20 | 1 to 65,536 | width of the hidden layer |
    """
    rows = ["| name | type | default | range | meaning |", "|---|---|---|---|---|"]
    for knob in fields(Hyperparameters):
        preset: Any = knob.default
        kind = "number" if "float" in str(knob.type) else "whole number"
        low, high = _show(knob.metadata["low"]), _show(knob.metadata["high"])
        default = "-" if preset is None else _show(preset)
        span = low if low == high else f"{low} to {high}"
        rows.append(f"| `{knob.name}` | {kind} | {default} | {span} | {knob.metadata['help']} |")
    return "\n".join(rows)


def _value(name: str, value: object, knob: Any) -> int | float:
    """Return `value` as the knob's type; it may be a number, a string or a JSON-quoted string."""
    kind, article = (float, "a number") if "float" in knob.type else (int, "a whole number")
    low, high = knob.metadata["low"], knob.metadata["high"]
    expected = (
        f"{article} from {_show(low)} to {_show(high)}" if low < high else f"{article}: {low}"
    )
    shown = repr(value) if isinstance(value, str | None) else json.dumps(value, default=str)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}..."  # noqa: PLR2004
    refusal = HyperparameterError(
        f"Hyperparameter {name} is {shown}; expected {expected} ({knob.metadata['help']})."
    )
    number = value
    # An Estimator with a source directory sends each value as JSON, so a string is quoted twice.
    for _ in range(2):
        if isinstance(number, str):
            try:
                number = _parse(number)
            except (ValueError, RecursionError):
                raise refusal from None
    # bool is an int to Python; nothing here is one.
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise refusal
    # Compared, a whole number of any length is just too large; nan is in no range.
    if not low <= number <= high:
        raise refusal
    if kind is int and number != int(number):
        raise refusal
    return kind(number)


def _parse(text: str) -> object:
    """Return what a text is as JSON, and also a number that JSON would not write so: `.1`, `+2`."""
    if not _NUMBER.fullmatch(text):
        return json.loads(text)
    return int(text) if text.strip().lstrip("+-").isdigit() else float(text)


def _show(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    words = name.replace("-", "_").lower()
    close = difflib.get_close_matches(words, known, n=1) or [
        # learning_rate is what it says of lr
        other
        for other, knob in known.items()
        if knob.metadata["help"].startswith(words.replace("_", " ") + " ")
    ]
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"Hyperparameter {name!r} is not known.{hint} Known are: {', '.join(known)}."
