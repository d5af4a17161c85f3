"""The benchmarks: ratios, each measured in one run against a peer, in a table with their bars.

    make bench                                  # all of them; writes benchmarks/RESULTS.md
    PYTHONPATH=container python -m benchmarks epochs loads     # some of them, printed only

The exit code is 1 if a bar is missed. What runs in containers takes the image that IMAGE names.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import report, serving, training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: By name; each gives its rows as they are measured, and may write below the directory it is given.
PARTS: dict[str, Callable[[Path], Iterator[report.Row]]] = {**training.PARTS, **serving.PARTS}

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    """Measure what is asked for; return the exit code."""
    names = sys.argv[1:] or [*PARTS]
    if unknown := ", ".join(set(names) - set(PARTS)):
        sys.exit(f"There is no benchmark {unknown}; there are {', '.join(PARTS)}.")
    rows = []
    sys.stdout.write(f"{report.HEAD}\n")
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            for row in PARTS[name](Path(scratch)):
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()
                rows.append(row)
    if not sys.argv[1:]:
        RESULTS.write_text(report.document(rows), encoding="utf-8")
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
