"""What the story is told of, on this machine and on SageMaker: its data, and how good it gets."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from client import evaluation, pictures

if TYPE_CHECKING:
    from pathlib import Path

    from client.data import Rows
    from client.endpoint import Predictor


def clear(output: Path) -> None:
    """Remove what the story before left in `output`, and nothing that it did not make.

    Raises:
        NotADirectoryError: if there are files that it did not make.
    """
    marker = output / ".simplenet-demo"
    if output.exists() and any(output.iterdir()) and not marker.exists():
        raise NotADirectoryError(
            f"{output} holds files that are not the demo's; name a new or an empty directory."
        )
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    marker.touch()


def is_in_a_plane(rows: Rows) -> bool:
    """Tell whether rows have two features, and so can be drawn."""
    return int(rows.features.shape[1]) == 2  # noqa: PLR2004  # so many has a plane


def evaluate(
    predictor: Predictor, test: Rows, output: Path, *, verbose: bool = True
) -> dict[str, float]:
    """Print how good the scores of the test rows are, and draw what can be drawn."""
    found = evaluation.evaluate(predictor, test.features, test.labels, verbose=verbose)
    if is_in_a_plane(test):
        title = f"SimpleNet on the test points: accuracy {found['Accuracy']:.3f}"
        pictures.draw_boundary(predictor, test, title, output / "boundary.png")
    return found
