"""A model card: what was trained on what, how well it does, and what it must not be used for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from client import evaluation
from client.files import replacing
from client.hyperparameters import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from client.evaluation import Scored
    from client.provenance import Training


@dataclass(frozen=True)
class Comparison:
    """What the scores were compared with, and where they came from."""

    asked: str  #: the endpoint, the URL or the file of scores
    data: str
    features: int


def card(scored: Scored, test: Comparison, training: Training | None = None) -> dict[str, Any]:
    """Return the card as what JSON can say; what is not known, or undefined, is None."""
    found = evaluation.figures(scored)
    rows, right = len(scored.labels), round(found["TP"] + found["TN"])
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "training": _training(training) if training else None,
        "evaluation": {
            "asked": test.asked,
            "data": test.data,
            "rows": rows,
            "rows_of_class_1": round(found["TP"] + found["FN"]),
            "figures": known(found),
            "accuracy_interval_95": list(evaluation.interval(right, rows)),
            "calibration": [asdict(found) for found in evaluation.reliability(scored)],
        },
        "limits": _limits(scored, test, training),
    }


def known(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Return figures as JSON can say them: it knows no nan, and what is undefined is null."""
    return {name: None if value != value else value for name, value in figures.items()}  # noqa: PLR0124


def write(found: Mapping[str, Any], path: Path) -> list[Path]:
    """Write a card as Markdown to `path` and as JSON next to it; return both paths."""
    texts = {
        path.with_suffix(".md"): markdown(found),
        path.with_suffix(".json"): json.dumps(found, indent=2) + "\n",
    }
    for file, text in texts.items():
        with replacing(file) as temporary:
            temporary.write_text(text, "utf-8")
    return list(texts)


def markdown(found: Mapping[str, Any]) -> str:
    """Return a card for the eye."""
    sections = [
        "# Model card: SimpleNet\n",
        f"Two classes from rows of numbers; written {found['date']}.\n",
        "## Training\n",
        _training_section(found["training"]),
        "## Evaluation\n",
        _evaluation_section(found["evaluation"]),
        "## Limits of use\n",
        "\n".join(f"- {sentence}" for sentence in found["limits"]) + "\n",
    ]
    return "\n".join(sections)


def _training(training: Training) -> dict[str, Any]:
    given = dict(training.hyperparameters)
    found = {**asdict(training), "epochs": max(map(len, training.history.values()), default=None)}
    found["hyperparameters"] = {
        "given": given,
        "default": {
            name: knob["default"]
            for name, knob in TABLE.items()
            if name not in given and knob["default"] is not None
        },
    }
    del found["history"]
    return found


def _limits(scored: Scored, test: Comparison, training: Training | None) -> list[str]:
    rows = len(scored.labels)
    right = int((scored.predictions == scored.labels).sum())
    low, high = evaluation.interval(right, rows)
    sentences = [
        (
            f"It expects {test.features} finite numbers a row, in the order of the training data, "
            "and gives every row a score, also one that is unlike all that it was trained on."
        ),
        (
            f"The figures are of {rows:,} rows: by their number alone, the accuracy on others like "
            f"them lies between {low:.3f} and {high:.3f} (95 %)."
        ),
        (
            "0.5 divides the classes. Where one mistake costs more than the other, choose another "
            "threshold on the ROC curve, with rows that are not these."
        ),
        "A score is a probability only as far as the calibration above shows it.",
        (
            "Nobody has examined how it does for groups within the data, on data of a later time, "
            "or on rows that are made to deceive it."
        ),
    ]
    weight = float((training.hyperparameters if training else {}).get("positive_weight", 1))
    if weight != 1:
        sentences[3] = (
            f"Class 1 weighed {weight:g} times as much in training, so a score is no probability."
        )
    if training is None:
        sentences.append("What it was trained on is not known to this card.")
    return sentences


def _training_section(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "Nothing is known of it here.\n"
    facts = {
        "job": training["job"],
        "image": training["image"],
        "model": training["model"],
        "ran on": training["machines"],
        "began": training["began"],
        "seconds": training["seconds"],
        "epochs": training["epochs"],
    }
    lines = [_table(("what", ""), [(name, fact) for name, fact in facts.items() if fact])]
    channels = [
        (found["name"], found["address"], _number(found["rows"])) for found in training["channels"]
    ]
    lines.append(_table(("channel", "data", "rows"), channels))
    settings = training["hyperparameters"]
    lines.append(
        _table(
            ("hyperparameter", "value", "from"),
            [
                (name, value, source)
                for source in ("given", "default")
                for name, value in settings[source].items()
            ],
        )
    )
    if training["metrics"]:
        found = [(name, f"{value:.6g}") for name, value in training["metrics"].items()]
        lines.append(_table(("the job's own metrics", "value"), found))
    return "\n".join(lines)


def _evaluation_section(found: Mapping[str, Any]) -> str:
    figures = found["figures"]
    low, high = found["accuracy_interval_95"]
    return "\n".join(
        [
            (
                f"{found['asked']} scored the {found['rows']:,} rows of {found['data']}, "
                f"of which {found['rows_of_class_1']:,} are of class 1.\n"
            ),
            _table(
                ("actual", "predicted 0", "predicted 1"),
                [("0", figures["TN"], figures["FP"]), ("1", figures["FN"], figures["TP"])],
            ),
            _table(
                ("figure", "value"),
                [(label, _figure(figures[name])) for name, label in evaluation.LABELS.items()],
            ),
            f"95 % interval of the accuracy: {low:.3f} to {high:.3f}.\n",
            "Calibration, which is right where the last two columns agree:\n",
            _table(
                ("scores", "rows", "mean score", "share of class 1"),
                [
                    (
                        f"{part['low']:.1f} to {part['high']:.1f}",
                        _number(part["rows"]),
                        f"{part['score']:.3f}",
                        f"{part['positive']:.3f}",
                    )
                    for part in found["calibration"]
                ],
            ),
        ]
    )


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _number(value: int | None) -> str:
    return "not counted" if value is None else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table of Markdown; no cell can break it."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"

    return line(head) + line(["---"] * len(head)) + "".join(map(line, rows))
