"""Files that are whole or not there: written under another name, then renamed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: SageMaker does not upload a file whose name ends so; see `simplenet.checkpoint`.
IGNORED = ".sagemaker-ignore"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, and put that file in the place of `path` once it is whole.

    A process killed at any moment leaves the file before or the file after, even if the machine
    goes down with it; at most the other name stays behind, and the next write takes it again.
    """
    temporary = path.with_name(f".{path.name}{IGNORED}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        temporary.chmod(0o644)  # serving may run as another user
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        # A write that fails does not say where.
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file or a directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
