"""What the story is told of, on this machine and on SageMaker: its data, and how good it gets."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from client import evaluation, pictures
from client.evaluation import Scored

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


def evaluate(predictor: Predictor, test: Rows, output: Path, *, verbose: bool = True) -> Scored:
    """Print how good the scores of the test rows are, draw what can be drawn; return the scores."""
    scored = Scored.of(test.labels, predictor.predict(test.features))
    if verbose:
        sys.stdout.write(evaluation.table(scored))
    pictures.draw(output, test, scored, predictor)
    return scored
