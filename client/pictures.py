"""The pictures: the data, how training went, and what the endpoint decides where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from client.data import Rows
    from client.endpoint import Predictor

# Class 0 and class 1: told apart also in grey and by those who see no red or no green.
_COLOURS = ("#3b5bdb", "#f08c00")
_CLASSES = ListedColormap(_COLOURS)
# Paler behind the points, from certainly 0 through undecided to certainly 1.
_SCORES = LinearSegmentedColormap.from_list("scores", ["#91a7ff", "#ffffff", "#ffc078"])

_GRID_POINTS = 240  # along each side: 57,600 rows, which an endpoint scores in one request
_DOTS_PER_INCH = 150


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
    """Draw each metric of a training job, one number an epoch, in a panel of its own."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, len(history), squeeze=False)[0]
    for axes, (name, numbers), colour in zip(panels, history.items(), _COLOURS, strict=False):
        axes.plot(range(1, len(numbers) + 1), numbers, color=colour, linewidth=2)
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
    _save(figure, path)


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
    axes.legend(handles, names, loc="upper right")


def _save(figure: Figure, path: Path) -> None:
    """Write the PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)
    temporary.replace(path)
