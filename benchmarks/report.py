"""A benchmark's figures: each a ratio with its bar, and the table that they make."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIBRARIES = ("torch", "numpy", "pandas", "flask", "gunicorn")


@dataclass(frozen=True)
class Row:
    """One ratio: of what was measured to its peer, in the same run."""

    name: str
    ratio: float
    bar: float | None  #: what it may be at most; None where it only informs
    least: bool = False  #: whether the bar is what it must be at least
    figures: str = ""  #: both sides of the ratio, with their unit

    @property
    def met(self) -> bool:
        """Whether the ratio keeps to its bar."""
        return self.bar is None or (
            self.ratio >= self.bar if self.least else self.ratio <= self.bar
        )

    def __str__(self) -> str:
        """Return its line of the table."""
        bar = "-" if self.bar is None else f"{'>=' if self.least else '<='} {self.bar:g}"
        verdict = "-" if self.bar is None else "met" if self.met else "MISSED"
        return f"| {self.name} | {self.ratio:.2f} | {bar} | {verdict} | {self.figures} |"


HEAD = "| what | ratio | bar | verdict | figures |\n|---|---|---|---|---|"


def document(rows: Iterable[Row]) -> str:
    """Return the table, and below it where and when it was measured."""
    versions = [
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{library} {version(library)}" for library in _LIBRARIES),
    ]
    day = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    return "\n".join(
        [
            "# Results",
            "",
            "`make bench` wrote this; each ratio is of medians that were measured in one run.",
            "",
            HEAD,
            *map(str, rows),
            "",
            f"{', '.join([day, _processor(), f'{os.cpu_count()} cores', *versions])}.",
            "",
        ]
    )


def _processor() -> str:
    """Return the name of the processor; Linux has it here, other systems elsewhere."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", path.read_text("utf-8") if path.exists() else "")
    return found[1] if found else platform.processor() or platform.machine()
