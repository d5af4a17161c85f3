"""The moon data of the notebook, a second data set, and the CSV that SageMaker trains on."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, make_moons
from sklearn.model_selection import train_test_split

from client.files import replacing
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# What `write` has written, by channel: the hash of each file, by which it knows its own again.
_WRITTEN = ".written.json"


class DataError(Refusal):
    """A file that does not hold labelled rows; the message says what it holds."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows."""

    features: NDArray[np.float64]  #: (rows, features)
    labels: NDArray[np.int64]  #: (rows,), each 0 or 1

    def split(self, share: float) -> tuple[Rows, Rows]:
        """Return these rows without a share of them, and that share."""
        return _split(self.features, self.labels, share)


def moons(points: int = 600, noise: float = 0.25, seed: int = 0) -> tuple[Rows, Rows]:
    """Return training and test rows, three to one, drawn and split as the notebook does it."""
    # np.random.seed(seed) and the global generator give these very points.
    return _split(*make_moons(points, noise=noise, random_state=np.random.RandomState(seed)))


def breast_cancer() -> tuple[Rows, Rows]:
    """Return training and test rows of real data: 569 tumours of 30 features, 1 for benign.

    https://scikit-learn.org/stable/datasets/toy_dataset.html#breast-cancer-dataset
    """
    return _split(*load_breast_cancer(return_X_y=True))


def _split(
    features: NDArray[np.float64], labels: NDArray[np.int64], share: float = 0.25
) -> tuple[Rows, Rows]:
    train_features, test_features, train_labels, test_labels = train_test_split(
        features, labels, test_size=share, random_state=1
    )
    return Rows(train_features, train_labels), Rows(test_features, test_labels)


def make_csv(
    x: NDArray[np.float64], y: NDArray[np.int64], filename: str, data_dir: str | Path
) -> Path:
    """Write labels and features to `data_dir/filename` as SageMaker wants it; return its path.

    "Amazon SageMaker requires that a CSV file doesn't have a header record and that the target
    variable is in the first column."
    https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html
    """
    path = Path(data_dir) / filename
    with replacing(path) as temporary:
        temporary.write_bytes(_csv(x, y))
    return path


def write(channels: Mapping[str, Rows], directory: Path) -> dict[str, Path]:
    """Write the rows of each channel to `directory/CHANNEL/CHANNEL.csv`; return the paths.

    A channel that was written before, and is none of these, goes: a job would read it too.

    Raises:
        DataError: if a file that was not written here would be replaced.
    """
    record = directory / _WRITTEN
    try:
        before: dict[str, str] = dict(json.loads(record.read_bytes()))
    except (OSError, ValueError, TypeError):
        before = {}
    texts = {channel: _csv(rows.features, rows.labels) for channel, rows in channels.items()}
    after = {channel: _hash(text) for channel, text in texts.items()}
    paths = {channel: directory / channel / f"{channel}.csv" for channel in {**before, **after}}
    found = {channel: _hash(path.read_bytes()) for channel, path in paths.items() if path.exists()}
    for channel in texts:
        if found.get(channel) not in {None, before.get(channel), after[channel]}:
            raise DataError(
                f"{paths[channel]} was not written by this command, which would replace it; "
                "move it, or name another directory with --output."
            )
    for channel in before.keys() - after.keys():
        if found.get(channel) == before[channel]:
            paths[channel].unlink()
            with suppress(OSError):  # there is more in it
                paths[channel].parent.rmdir()
    written = {paths[channel]: text for channel, text in texts.items()}
    for path, content in {**written, record: json.dumps(after).encode()}.items():
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return {channel: paths[channel] for channel in channels}


def _csv(x: NDArray[np.float64], y: NDArray[np.int64]) -> bytes:
    frame = pd.concat([pd.DataFrame(y), pd.DataFrame(x)], axis=1)
    text: str = frame.to_csv(header=False, index=False, lineterminator="\n")
    return text.encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_csv(path: Path) -> Rows:
    """Read what `make_csv` writes: no header, the label (0 or 1) in the first column.

    Raises:
        DataError: if the file is not that.
    """
    table = _read(path, "numbers", "CSV without a header, the label first")
    labels = table[:, 0]
    if table.shape[1] == 1 or not np.isin(labels, (0, 1)).all() or not np.isfinite(table).all():
        raise DataError(
            f"{path} has no label (0 or 1) in the first column with finite features behind it; "
            "expected such rows, as client.data.make_csv writes them."
        )
    return Rows(table[:, 1:], labels.astype(np.int64))


def read_scores(path: Path, rows: Rows) -> NDArray[np.float64]:
    """Read what a batch job leaves: a score a line, or behind the row that it is of: (rows,).

    Raises:
        DataError: if the file is not that, or of other rows than these.
    """
    table = _read(path, "scores", "a score a line, or CSV with the score in the last column")
    joined = table[:, :-1]
    if joined.shape[1] == rows.features.shape[1] + 1:
        joined = joined[:, 1:]  # behind their labels
    if joined.shape == rows.features.shape:
        different = ~np.isclose(joined, rows.features, rtol=1e-5, atol=1e-8).all(axis=1)
        if different.any():
            raise DataError(
                f"{path}, line {int(different.argmax()) + 1} is the score of another row than that "
                "line of the labelled rows; expected the same rows in the same order."
            )
    return table[:, -1]


def _read(path: Path, what: str, expected: str) -> NDArray[np.float64]:
    try:
        table: NDArray[np.float64] = pd.read_csv(path, header=None, dtype=np.float64).to_numpy()
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as {what}: {error}. Expected {expected}.") from None
    return table
