"""The pictures: the data, how training went, what the endpoint decides where, and how well."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import auc, roc_curve

from client.evaluation import BINS, interval, reliability
from client.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from client.data import Rows
    from client.endpoint import Predictor
    from client.evaluation import Scored

# Class 0 and class 1: told apart also in grey and by those who see no red or no green.
_COLOURS = ("#3b5bdb", "#f08c00")
_CLASSES = ListedColormap(_COLOURS)
# Paler behind the points, from certainly 0 through undecided to certainly 1.
_SCORES = LinearSegmentedColormap.from_list("scores", ["#91a7ff", "#ffffff", "#ffc078"])

_GREY = "#868e96"

# Which channels' metrics are drawn, and how: told apart by their dashes too.
_CHANNELS: dict[str, dict[str, Any]] = {
    "train": {"color": _COLOURS[0], "linewidth": 2},
    "validation": {"color": _COLOURS[1], "linewidth": 2, "linestyle": (0, (5, 1.5))},
}
_KINDS = {"loss": "loss", "accuracy": "accuracy", "roc_auc": "ROC AUC"}
_METRIC = re.compile(rf"({'|'.join(_CHANNELS)})_({'|'.join(_KINDS)})")

_GRID_POINTS = 240  # along each side: 57,600 rows, which an endpoint scores in one request
_DOTS_PER_INCH = 150


def draw(
    directory: Path,
    rows: Rows,
    scored: Scored,
    predictor: Predictor | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
) -> list[Path]:
    """Draw all that can be drawn of an evaluation, a PNG each; return their paths."""
    drawn = [directory / "roc.png", directory / "calibration.png"]
    draw_roc(scored, drawn[0])
    draw_calibration(scored, drawn[1])
    if predictor and rows.features.shape[1] == 2:  # noqa: PLR2004  # it lies in a plane
        drawn.append(directory / "boundary.png")
        right = float((scored.predictions == scored.labels).mean())
        title = f"SimpleNet on {len(rows.labels):,} test points: accuracy {right:.3f}"
        draw_boundary(predictor, rows, title, drawn[-1])
    if history:
        drawn.append(directory / "history.png")
        draw_history(history, drawn[-1])
    return drawn


def draw_data(rows: Rows, path: Path) -> None:
    """Draw rows of two features as points, coloured by label, and save them as a PNG."""
    figure, axes = _frame("Moon data: what the job trains on")
    _draw_points(axes, rows)
    _save(figure, path)


def draw_boundary(predictor: Predictor, rows: Rows, title: str, path: Path) -> None:
    """Draw the score that the predictor gives each point of the plane, with `rows` on top."""
    low = rows.features.min(axis=0) - 0.5
    high = rows.features.max(axis=0) + 0.5
    x, y = np.meshgrid(*(np.linspace(low[n], high[n], _GRID_POINTS) for n in (0, 1)))
    scores = np.reshape(predictor.predict(np.column_stack([x.ravel(), y.ravel()])), x.shape)

    figure, axes = _frame(title)
    shades = axes.contourf(x, y, scores, levels=np.linspace(0, 1, 21), cmap=_SCORES)
    axes.contour(x, y, scores, levels=[0.5], colors="black", linewidths=1.5)
    figure.colorbar(shades, ax=axes, label="score of class 1 (line: 0.5)", ticks=[0, 0.5, 1])
    _draw_points(axes, rows)
    _save(figure, path)


def draw_history(history: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the metrics of a training job, one number an epoch: a panel for each kind of metric."""
    lines = [
        (found[1], found[2], numbers)
        for name, numbers in history.items()
        if numbers and (found := _METRIC.fullmatch(name))
    ]
    kinds = list(dict.fromkeys(kind for _, kind, _ in lines))
    figure = Figure(figsize=(4.5 * max(2, len(kinds)), 3.6), layout="constrained")
    panels = figure.subplots(1, max(1, len(kinds)), squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=False):
        for channel, measured, numbers in lines:
            if measured == kind:
                epochs = range(1, len(numbers) + 1)
                mark = "o" if len(numbers) == 1 else None
                axes.plot(epochs, numbers, label=channel, marker=mark, **_CHANNELS[channel])
        axes.set(title=_KINDS[kind], xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        _lighten(axes)
    _save(figure, path)


def draw_roc(scored: Scored, path: Path) -> None:
    """Draw what share of class 1 is found at the price of what share of class 0, by threshold."""
    figure, axes = _square("ROC curve", "share of class 0 called 1", "share of class 1 called 1")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1.2, label="chance")
    if scored.has_both_classes:
        false, true, _ = roc_curve(scored.labels, scored.scores, drop_intermediate=False)
        axes.set_title(f"ROC curve: area {auc(false, true):.3f}")
        axes.fill_between(false, true, step=None, color=_COLOURS[0], alpha=0.1, linewidth=0)
        axes.plot(false, true, color=_COLOURS[0], linewidth=2.2, label="scores")
        called = scored.predictions == 1
        at_half = [called[scored.labels == label].mean() for label in (0, 1)]
        axes.plot(
            *at_half,
            marker="o",
            markersize=9,
            linestyle="none",
            color=_COLOURS[1],
            markeredgecolor="white",
            label="threshold 0.5",
        )
    else:
        axes.set_title("ROC curve: undefined, the rows are of one class")
    axes.legend(loc="lower right")
    _save(figure, path)


def draw_calibration(scored: Scored, path: Path) -> None:
    """Draw what each range of the score foretold and what came true, and where the scores lie."""
    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    parts = reliability(scored)
    positive = np.array([part.positive for part in parts])
    bounds = np.array([interval(round(part.positive * part.rows), part.rows) for part in parts])
    above.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1.2, label="as foretold")
    foretold, rows = [part.score for part in parts], np.array([part.rows for part in parts])
    above.errorbar(
        foretold,
        positive,
        yerr=np.abs(bounds.T - positive),
        fmt="none",
        ecolor="#91a7ff",
        elinewidth=2,
        label="its 95 % interval",
    )
    above.scatter(
        foretold,
        positive,
        s=40 + 260 * rows / rows.max(),
        color=_COLOURS[0],
        edgecolors="white",
        zorder=3,
        label="found (larger: more rows)",
    )
    error = sum(abs(part.score - part.positive) * part.rows for part in parts) / len(scored.labels)
    above.set(
        title=f"Calibration: expected error {error:.3f}",
        ylabel="share of class 1",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    # Outside, since a point may lie anywhere within.
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    below.hist(
        [scored.scores[scored.labels == label] for label in (0, 1)],
        bins=np.linspace(0, 1, 2 * BINS + 1).tolist(),
        stacked=True,
        color=_COLOURS,
        label=["label 0", "label 1"],
    )
    below.set(xlabel="score", ylabel="rows")
    below.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    below.legend(loc="upper center")
    for axes in (above, below):
        _lighten(axes)
    _save(figure, path)


def _square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect=1)
    _lighten(axes)
    return figure, axes


def _lighten(axes: Axes) -> None:
    """Draw the grid, behind all else, and no more of a frame than the axes."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _frame(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 5), layout="constrained")
    return figure, figure.subplots(subplot_kw={"title": title, "xlabel": "x0", "ylabel": "x1"})


def _draw_points(axes: Axes, rows: Rows) -> None:
    points = axes.scatter(
        rows.features[:, 0],
        rows.features[:, 1],
        c=rows.labels,
        cmap=_CLASSES,
        vmin=0,
        vmax=1,
        s=26,
        edgecolors="white",
    )
    handles, _ = points.legend_elements()
    names = [f"label {label}" for label in np.unique(rows.labels)]
    axes.legend(handles, names, loc="upper left")


def _save(figure: Figure, path: Path) -> None:
    """Write the PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)
