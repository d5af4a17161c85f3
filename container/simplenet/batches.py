"""How the rows of all hosts make up the batches of an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

_BLOCK = 1 << 18


@dataclass(frozen=True)
class Batches:
    """The batches of an epoch, and this host's share of each.

    Every batch has rows of every host, in proportion to what they hold, and each host computes
    its share of it: the sum over the hosts is then the gradient of the whole batch.
    """

    size: int  #: rows of all hosts in one batch
    counts: list[int]  #: rows that each host holds
    rank: int
    sharded: bool  #: whether the hosts hold different rows

    @property
    def rows(self) -> int:
        """Rows in an epoch."""
        return sum(self.counts) if self.sharded else self.counts[self.rank]

    def __len__(self) -> int:
        return math.ceil(self.rows / self.size)

    def order(self, seed: int, epoch: int) -> torch.Tensor:
        """Return the order of this host's rows in one epoch: (rows here,)."""
        # Each epoch draws afresh, so that one can begin in the midst of training.
        entropy = [seed, epoch, self.rank if self.sharded else 0]
        drawn = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(drawn)
        rows = self.counts[self.rank]
        # 4 bytes a row where they suffice: a table of two features has 12.
        order = torch.empty(rows, dtype=torch.int32 if rows < 1 << 31 else torch.int64)
        # Blocks of rows that fit the processor's cache are shuffled several times as fast as the
        # whole; each batch then has as many rows of one block as of another.
        blocks = math.ceil(rows / _BLOCK)
        first = 0
        for block in range(blocks):
            places = order[block::blocks]
            drawn_rows = torch.randperm(len(places), generator=generator, dtype=order.dtype)
            torch.add(drawn_rows, first, out=places)
            first += len(places)
        return order

    def share(self, step: int) -> tuple[int, int, int]:
        """Return where this host's rows of a batch begin and end, and how many all hosts have."""
        if self.sharded:
            ends = [(n * step // len(self), n * (step + 1) // len(self)) for n in self.counts]
            return *ends[self.rank], sum(last - first for first, last in ends)
        first = step * self.size
        rows = min(self.size, self.rows - first)
        hosts = len(self.counts)
        begin, end = rows * self.rank // hosts, rows * (self.rank + 1) // hosts
        return first + begin, first + end, rows
