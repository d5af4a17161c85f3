"""An input channel: the CSV files below one directory, as features and labels."""

from __future__ import annotations

import ctypes
import gzip
import json
import mmap
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import torch

from simplenet import table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

# Of which a checksum is taken at a time.
_ROWS = 1 << 20

# What S3, Spark, Hadoop and SageMaker itself leave beside the data.
_MARKERS = (".sagemaker-uploading", ".sagemaker-uploaded", ".manifest", ".metadata")


class ChannelError(ValueError):
    """A channel that cannot be trained on; the message says where and why."""


@dataclass(frozen=True)
class Channel:
    """The rows of one channel, in the order of its files' names."""

    name: str
    files: int
    size: int  #: bytes on disk
    rows: NDArray[np.float32]  #: (rows, 1 + input_dim), the label first
    sharded: bool = False  #: whether other hosts hold other rows

    @property
    def labels(self) -> NDArray[np.float32]:
        """The classes, each 0 or 1: (rows,)."""
        return self.rows[:, 0]

    @property
    def features(self) -> NDArray[np.float32]:
        """All but the labels: (rows, input_dim)."""
        return self.rows[:, 1:]

    def checksum(self) -> int:
        """Return a number that changes with any bit of the rows; there may be none."""
        total = 0
        # In parts: within one, SIGTERM is not heard.
        for first in range(0, len(self.rows), _ROWS):
            total = zlib.crc32(self.rows[first : first + _ROWS].data.cast("B"), total)
        return total


def find(channels: Path, *names: str) -> Path:
    """Return the directory of the first of the `names` that is a channel of this job.

    Raises:
        ChannelError: if none is.
    """
    for name in names:
        if (channels / name).is_dir():
            return channels / name
    found = []
    for entry in sorted(channels.iterdir()) if channels.is_dir() else []:
        if entry.name in names:
            raise ChannelError(f"{entry} is a file; expected a directory with the channel's files.")
        found.append(entry.name)
    raise ChannelError(
        f"There is no channel {names[0]!r} in {channels}, which holds "
        f"{', '.join(map(repr, found)) or 'no channel'}. "
        f"Start the job with fit({{{names[0]!r}: 's3://BUCKET/PREFIX'}})."
    )


def is_sharded(config: Path, name: str) -> bool:
    """Return whether S3 gave each host a part of the channel, as `inputdataconfig.json` says.

    Raises:
        ChannelError: if the channel comes in a way that cannot be read.
    """
    try:
        channels = json.loads(config.read_bytes() or b"{}")
        channel = channels.get(name) or {}
        mode, distribution = channel.get("TrainingInputMode"), channel.get("S3DistributionType")
    except FileNotFoundError:
        return False
    except (ValueError, AttributeError):
        raise ChannelError(
            f"{config} is not a JSON object of objects, one a channel; SageMaker writes it so."
        ) from None
    if mode == "Pipe":
        raise ChannelError(
            f"Channel {name!r} comes in Pipe mode, which this program does not read; "
            "use input_mode='FastFile', which streams too, or 'File'."
        )
    return bool(distribution == "ShardedByS3Key")


def read(directory: Path, *, sharded: bool = False) -> Channel:
    """Read every CSV file below `directory`: no header, the label (0 or 1) in the first column.

    The files are read in the order of their names, so that the same data gives the same rows. Of a
    sharded channel this host's part may be empty; then it has no columns either.

    Raises:
        ChannelError: if there is nothing to train on.
        TableError: for the first cell, line or byte that cannot be read, with file and line.
    """
    files = [path for path in sorted(directory.rglob("*")) if is_data(path, directory)]
    if not files and not sharded:
        raise ChannelError(
            f"Channel {directory.name!r} holds no files ({directory}). Usually its S3 prefix is "
            "misspelt, or the role may not read it; hidden and marker files do not count."
        )
    rows = _Rows()
    for path in files:
        for block in _read_file(path, str(path.relative_to(directory.parent)), rows.columns):
            rows.append(block)
    _give_back()
    if not rows.count and not sharded:
        raise ChannelError(
            f"Channel {directory.name!r} holds no rows: "
            f"{len(files)} {'file is' if len(files) == 1 else 'files are'} empty ({directory})."
        )
    size = sum(path.stat().st_size for path in files)
    return Channel(directory.name, len(files), size, rows.table(), sharded)


def _give_back() -> None:
    """Let the system have the memory that the allocator kept for the next block."""
    with suppress(AttributeError):  # only glibc, which the image has, keeps so much
        ctypes.CDLL(None).malloc_trim(0)


def is_data(path: Path, directory: Path) -> bool:
    """Leave out directories, and the hidden and marker files that tools leave beside data."""
    parts = path.relative_to(directory).parts
    return (
        path.is_file()
        and not any(part.startswith((".", "_")) for part in parts)
        and not path.name.endswith(_MARKERS)
    )


def _read_file(path: Path, name: str, columns: int | None) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of one file, block by block, decompressed where its name ends in .gz."""
    line = 1
    threads = max(2, torch.get_num_threads())  # parse while the source, which may be S3, is awaited
    with cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as stream:
        try:
            for block in table.read(stream, name, columns, threads):
                _check(block, name, line)
                yield block
                line += len(block)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ChannelError(
                f"{name} is not a whole gzip file: {error}. Compress it and upload it again."
            ) from None


def _check(block: NDArray[np.float32], name: str, line: int) -> None:
    """Refuse a block whose first column holds anything but labels, or that has no other."""
    labels = block[:, 0]
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if wrong.size:
        raise ChannelError(
            f"{name}, line {line + wrong[0]}, column 1 is {labels[wrong[0]]:g}; expected a label, "
            "0 or 1. SageMaker's CSV has the label in the first column."
        )
    if block.shape[1] == 1:
        raise ChannelError(
            f"{name}, line {line} has only 1 column; expected a label and at least one feature, "
            "separated by commas."
        )


class _Rows:
    """A table that grows at its end without ever being copied: the peak is hardly above its size.

    It lies in memory that the system gives only where it is written to, so that growing by half
    costs nothing before there are rows for it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.columns: int | None = None
        self._memory: mmap.mmap | None = None

    def append(self, block: NDArray[np.float32]) -> None:
        """Add rows: (rows, columns), as many columns as the rows before."""
        self.columns = block.shape[1]
        begin, end = self.count * self.columns * 4, (self.count + len(block)) * self.columns * 4
        if self._memory is None:
            self._memory = _anonymous(end)
        if end > len(self._memory):
            self._memory = _grown(self._memory, max(end, len(self._memory) * 3 // 2))
        self.count += len(block)
        self._view()[begin // (self.columns * 4) : self.count] = block

    def table(self) -> NDArray[np.float32]:
        """Return all rows: (rows, columns)."""
        return self._view()[: self.count] if self.count else np.empty((0, 0), dtype=np.float32)

    def _view(self) -> NDArray[np.float32]:
        if self._memory is None or not self.columns:
            return np.empty((0, 0), dtype=np.float32)
        whole = len(self._memory) // (self.columns * 4)
        numbers = np.frombuffer(self._memory, dtype=np.float32, count=whole * self.columns)
        return numbers.reshape(whole, self.columns)


def _anonymous(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel may know none
            memory.madvise(mmap.MADV_HUGEPAGE)  # the system is asked for it 500 times less often
    return memory


def _grown(memory: mmap.mmap, size: int) -> mmap.mmap:
    """Return the memory with more behind it."""
    try:
        memory.resize(size)
    except SystemError:  # macOS, when run without a container, can only copy
        grown = _anonymous(size)
        grown[: len(memory)] = memory[:]
        return grown
    return memory
