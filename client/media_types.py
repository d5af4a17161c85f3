"""What a file's name says of the rows in it."""

from __future__ import annotations

from pathlib import PurePosixPath

CSV, JSON, LINES, NPY = "text/csv", "application/json", "application/jsonlines", "application/x-npy"

#: Those of which each line is a row: a large file can be scored, and answered, in pieces.
BY_LINE = (CSV, LINES)

_SUFFIXES = {".csv": CSV, ".json": JSON, ".jsonl": LINES, ".jsonlines": LINES, ".npy": NPY}


def of(name: str) -> str:
    """Return the media type of the rows in a file, by its name; CSV where that says nothing.

    >>> of("rows.jsonl"), of("-")
    ('application/jsonlines', 'text/csv')
    """
    return _SUFFIXES.get(PurePosixPath(name).suffix.lower(), CSV)
