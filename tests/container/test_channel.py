"""The files of a channel to its rows."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from simplenet import channel
from simplenet.channel import ChannelError
from simplenet.table import TableError

if TYPE_CHECKING:
    from pathlib import Path


def write(directory: Path, files: dict[str, bytes]) -> Path:
    """Put files below a directory."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def test_every_file_is_read_in_the_order_of_the_names(tmp_path: Path) -> None:
    """Nested prefixes, gzip and empty files: the same objects give the same rows (T26, F2)."""
    directory = write(
        tmp_path / "train",
        {
            "b.csv": b"0,3,4\n",
            "a.csv.gz": gzip.compress(b"1,1,2\n"),
            "c/part-1.csv": b"1,5,6",
            "empty.csv": b"",
        },
    )
    data = channel.read(directory)

    assert [[1, 1, 2], [0, 3, 4], [1, 5, 6]] == data.rows.tolist()
    assert [1, 0, 1] == data.labels.tolist()
    assert [[1, 2], [3, 4], [5, 6]] == data.features.tolist()
    assert ("train", 4) == (data.name, data.files)


def test_hidden_and_marker_files_are_no_data(tmp_path: Path) -> None:
    """What S3, Spark and SageMaker leave beside the data is not read (T26)."""
    directory = write(
        tmp_path / "train",
        {
            "a.csv": b"1,2\n",
            ".DS_Store": b"x",
            "_SUCCESS": b"",
            "_temporary/part.csv": b"x",
            ".ipynb_checkpoints/a.csv": b"x",
            "a.csv.sagemaker-uploaded": b"x",
            "train.manifest": b"[]",
        },
    )

    assert [[1, 2]] == channel.read(directory).rows.tolist()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "Channel 'train' holds no files"),
        ({".hidden": b"1,2"}, "Channel 'train' holds no files"),
        ({"a.csv": b"", "b.csv": b"\n"}, "Channel 'train' holds no rows: 2 files are empty"),
        ({"a.csv": b"0,1\n2,1\n"}, "train/a.csv, line 2, column 1 is 2; expected a label, 0 or 1."),
        ({"a.csv": b"0.5,1\n"}, "train/a.csv, line 1, column 1 is 0.5; expected a label, 0 or 1."),
        ({"a.csv": b"1\n0\n"}, "train/a.csv, line 1 has only 1 column; expected a label and at"),
        ({"a.csv.gz": b"1,2\n"}, "train/a.csv.gz is not a whole gzip file"),
        ({"a.csv.gz": gzip.compress(b"1,2\n")[:-9]}, "train/a.csv.gz is not a whole gzip file"),
    ],
)
def test_a_channel_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, files: dict[str, bytes], sentence: str
) -> None:
    """The message names the file and line, or what is missing and why it usually is."""
    directory = tmp_path / "train"
    directory.mkdir()
    with pytest.raises(ChannelError) as refused:
        channel.read(write(directory, files))

    assert str(refused.value).startswith(sentence)


def test_a_fault_in_the_tenth_file_of_ten_is_found_there(tmp_path: Path) -> None:
    """Each file counts its own lines, and must be as wide as the first."""
    files = {f"part-{n:02}.csv": b"1,2\n" * 1000 for n in range(9)}
    directory = write(tmp_path / "train", files)
    write(directory, {"part-09.csv": b"1,2\n1,x\n"})
    with pytest.raises(TableError, match=r"train/part-09.csv, line 2, column 2 is 'x'"):
        channel.read(directory)
    write(directory, {"part-09.csv": b"1,2,3\n"})
    with pytest.raises(TableError, match=r"train/part-09.csv, line 1 has 3 columns; expected 2"):
        channel.read(directory)


def test_a_fault_in_the_millionth_line_is_found_there(tmp_path: Path) -> None:
    """However far into a file it is."""
    directory = write(tmp_path / "train", {"a.csv": b"1,2\n" * 999_999 + b"1,x\n1,2\n"})
    with pytest.raises(TableError, match=r"train/a.csv, line 1000000, column 2 is 'x'"):
        channel.read(directory)


def test_the_first_channel_that_there_is_is_found(tmp_path: Path) -> None:
    """`fit("s3://...")` names it `training`; SageMaker's own algorithms, `train` (T31, X19)."""
    write(tmp_path, {"training/a.csv": b"1,2", "other/a.csv": b""})

    assert tmp_path / "training" == channel.find(tmp_path, "train", "training")
    with pytest.raises(ChannelError, match="no channel 'train' in .* holds 'other', 'training'"):
        channel.find(tmp_path, "train")
    with pytest.raises(ChannelError, match="holds no channel"):
        channel.find(tmp_path / "missing", "train")
    write(tmp_path, {"train": b"1,2"})
    with pytest.raises(ChannelError, match="train is a file; expected a directory with the chan"):
        channel.find(tmp_path, "train")
