"""A directory that a server's processes share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def directory(name: str) -> Path:
    """Make a directory for the workers that this process is going to fork; it goes when this does.

    Under /tmp, the one place that may be written to, and under a name of its own.
    """
    made = Path(tempfile.mkdtemp(prefix=f"simplenet-{name}-"))
    atexit.register(_remove, made, os.getpid())
    return made


def _remove(made: Path, owner: int) -> None:
    """Remove the directory, unless this is a worker's end."""
    if os.getpid() == owner:
        shutil.rmtree(made, ignore_errors=True)
