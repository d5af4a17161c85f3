"""How the rows of all hosts make up the batches of an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

# So many rows are shuffled several times as fast as rows that do not fit the processor's cache.
_LANE_ROWS = 1 << 18

# A channel with more of them has a number of lanes that most numbers of hosts divide.
_LANES = 12


@dataclass(frozen=True)
class Batches:
    """The batches of an epoch, and this host's share of each.

    A batch has rows of the hosts in proportion to what they hold, as far as whole rows allow, and
    each host computes its share of it: the sum over the hosts is then the whole batch's gradient.

    A channel is shuffled in lanes: parts of equal size, each for itself, from which the batches
    take their rows in turn. Hosts that hold the same rows divide the lanes among them, or where
    that leaves a rest, the rows of each batch.
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
        """Return the rows of this host's lanes in the order of one epoch: (rows of the lanes,)."""
        rows = self.counts[self.rank]
        lanes, begin, end = self._lanes()
        least, more = divmod(rows, lanes)  # the first lanes have a row more
        # 4 bytes a row where they suffice: a table of two features has 12.
        dtype = torch.int32 if rows < 1 << 31 else torch.int64
        order = torch.empty((end - begin) * least + max(0, min(end, more) - begin), dtype=dtype)
        for lane in range(begin, end):
            places = order[lane - begin :: end - begin]
            # Each epoch draws afresh, so that one can begin in the midst of training.
            entropy = [seed, epoch, self.rank if self.sharded else 0, *([lane] if lane else [])]
            drawn = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
            generator = torch.Generator().manual_seed(drawn)
            shuffled = torch.randperm(len(places), generator=generator, dtype=dtype)
            torch.add(shuffled, lane * least + min(lane, more), out=places)
        return order

    def share(self, step: int) -> tuple[int, int, int]:
        """Return where this host's rows of a batch lie in its order, and the rows of all hosts."""
        hosts = range(len(self.counts))
        if self.sharded:
            ends = [(self._end(host, step), self._end(host, step + 1)) for host in hosts]
            return *ends[self.rank], sum(last - first for first, last in ends)
        first = step * self.size
        rows = min(self.size, self.rows - first)
        lanes, begin, end = self._lanes()
        own = end - begin
        if own == lanes:
            begin, end = (rows * rank // len(hosts) for rank in (self.rank, self.rank + 1))
            return first + begin, first + end, rows

        def before(place: int) -> int:
            """Return how many of all places before one are in this host's lanes."""
            return place // lanes * own + min(max(place % lanes - begin, 0), own)

        return before(first), before(first + rows), rows

    def _end(self, host: int, steps: int) -> int:
        """Return how many rows so many steps take of a shard.

        The hosts round at different steps, or all batches would lose a row of each at the same.
        """
        return (self.counts[host] * steps + len(self) * host // len(self.counts)) // len(self)

    def _lanes(self) -> tuple[int, int, int]:
        """Return how many lanes there are, and from which to which they are this host's."""
        rows, hosts = self.counts[self.rank], len(self.counts)
        lanes = _LANES * math.ceil(rows / _LANE_ROWS / _LANES) if rows > _LANE_ROWS else 1
        if self.sharded or lanes % hosts:
            return lanes, 0, lanes
        return lanes, lanes * self.rank // hosts, lanes * (self.rank + 1) // hosts
