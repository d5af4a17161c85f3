"""How many threads torch works with: one, where a second costs more than it brings."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below so many hidden units at a time: on a machine with other work to do, a second thread made a
# step of 16 rows 50 times slower.
_FEW_UNITS = 1 << 17


def enough(units: int) -> int:
    """Return how many threads suit work on so many hidden units at a time."""
    return 1 if units < _FEW_UNITS else torch.get_num_threads()


@contextmanager
def limited(units: int) -> Iterator[None]:
    """Work with as many threads as suit so many hidden units at a time."""
    before = torch.get_num_threads()
    torch.set_num_threads(enough(units))
    try:
        yield
    finally:
        torch.set_num_threads(before)
