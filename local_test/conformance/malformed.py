"""Files of a channel that nothing can be learnt from, made of files that something can."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NONSENSE = b"\x00\xff\xfe is neither text nor a picture \x80\n" * 8
_COLUMNS = 2  # that a table has at least

#: What no program can train on.
HOPELESS = ("empty files", "files of nonsense")


def malformed(files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Return the files once for each thing that may be wrong with them, by its name.

    Tables whose last column is numbers get one more line, which does not fit.
    """
    without, nonsense = HOPELESS
    spoilt = {without: dict.fromkeys(files, b""), nonsense: dict.fromkeys(files, _NONSENSE)}
    tables = {name: row for name, content in files.items() if (row := _last_row(content))}
    if tables:
        for what, end in (("a word in a column of numbers", [b"oops"]), ("a line cut short", [])):
            lines = {name: b",".join([*row[:-1], *end]) for name, row in tables.items()}
            longer = {name: files[name].rstrip() + b"\n" + lines[name] + b"\n" for name in lines}
            spoilt[what] = {**files, **longer}
    return spoilt


def _last_row(content: bytes) -> list[bytes]:
    """Return the last row of a table with commas whose last column is numbers, or nothing."""
    rows = [line.strip().split(b",") for line in content.rstrip().rsplit(b"\n", 2)[-2:]]
    fits = len({len(row) for row in rows}) == 1 and len(rows[-1]) >= _COLUMNS
    return rows[-1] if fits and all(_is_number(row[-1]) for row in rows) else []


def _is_number(cell: bytes) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
