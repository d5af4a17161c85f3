"""The moon data and its CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from client import data
from client.data import DataError, Rows
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Moons


def test_the_points_are_the_notebooks_own(moons: Moons) -> None:
    """The same 450 and 150 points, to the bit, in the same order."""
    train, test = data.moons()

    np.testing.assert_array_equal(moons.train_features, train.features, strict=True)
    np.testing.assert_array_equal(moons.train_labels, train.labels, strict=True)
    np.testing.assert_array_equal(moons.test_features, test.features, strict=True)
    np.testing.assert_array_equal(moons.test_labels, test.labels, strict=True)


def test_the_files_of_local_test_are_what_the_client_generates(tmp_path: Path) -> None:
    """The 450 rows that `train_local.sh` trains on, and the 150 to evaluate with."""
    train, test = data.moons()
    trained = data.make_csv(train.features, train.labels, "train.csv", tmp_path)
    tested = data.make_csv(test.features, test.labels, "test.csv", tmp_path)
    local_test = PROJECT / "local_test"

    assert (local_test / "opt_ml/input/data/train/train.csv").read_bytes() == trained.read_bytes()
    assert (local_test / "test.csv").read_bytes() == tested.read_bytes()
    assert {"train.csv", "test.csv"} == {path.name for path in tmp_path.iterdir()}


def test_a_csv_has_no_header_and_the_label_first(tmp_path: Path) -> None:
    """A CSV file has no header record, and the target variable is in the first column (F1)."""
    path = data.make_csv(np.array([[0.5, -2.0]]), np.array([1]), "a.csv", tmp_path / "new" / "dir")

    assert b"1,0.5,-2.0\n" == path.read_bytes()


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    """To the last digit."""
    train, _ = data.moons(points=40)
    read = data.read_csv(data.make_csv(train.features, train.labels, "a.csv", tmp_path))

    np.testing.assert_array_equal(train.features, read.features, strict=True)
    np.testing.assert_array_equal(train.labels, read.labels, strict=True)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "cannot be read as numbers"),
        ("label,x\n1,2\n", "cannot be read as numbers"),
        ("1\n0\n", "has no label"),
        ("2,1.5\n", "has no label"),
        ("1,\n", "has no label"),
    ],
)
def test_a_file_without_labelled_rows_gets_a_sentence(
    tmp_path: Path, content: str, sentence: str
) -> None:
    """The message names the file and says what was expected."""
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=sentence) as refused:
        data.read_csv(path)

    assert str(path) in str(refused.value)


ROWS = Rows(np.array([[1.5, 2.0], [3.0, 1e-7]]), np.array([0, 1]))


@pytest.mark.parametrize(
    "text",
    ["0.25\n0.75\n", "1.5,2.0,0.25\n3.0,1e-07,0.75\n", "0,1.5,2.0,0.25\n1,3.0,1e-07,0.75\n"],
    ids=["alone", "behind the features", "behind label and features"],
)
def test_scores_are_read_as_a_batch_job_writes_them(tmp_path: Path, text: str) -> None:
    """One a line, or joined to the rows that they are of."""
    (tmp_path / "test.csv.out").write_text(text)

    assert [0.25, 0.75] == data.read_scores(tmp_path / "test.csv.out", ROWS).tolist()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3.0,1e-07,0.75\n1.5,2.0,0.25\n", "line 1 is the score of another row"),
        ("0,1.5,2.0,0.25\n1,3.0,9.0,0.75\n", "line 2 is the score of another row"),
        ('{"score": 0.5}\n', "cannot be read as scores"),
        ("", "cannot be read as scores"),
    ],
)
def test_scores_of_other_rows_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """What was joined shows it."""
    (tmp_path / "test.csv.out").write_text(text)
    with pytest.raises(DataError) as refused:
        data.read_scores(tmp_path / "test.csv.out", ROWS)

    assert sentence in str(refused.value)
