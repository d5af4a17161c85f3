"""The batches of an epoch, over one host or several."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from simplenet.batches import Batches


@pytest.mark.parametrize("rows", [1, 450, 1 << 18, (1 << 18) + 1, 1_000_003])
def test_an_epoch_has_every_row_once(rows: int) -> None:
    """In an order that its number and the seed decide, whatever the size of the channel."""
    batches = Batches(64, [rows], rank=0, sharded=False)
    order = batches.order(seed=5, epoch=3)

    assert torch.arange(rows, dtype=order.dtype).equal(order.sort().values)
    assert order.equal(batches.order(seed=5, epoch=3))
    if rows > 1:
        assert not order.equal(batches.order(seed=5, epoch=4))
        assert not order.equal(batches.order(seed=6, epoch=3))


def test_rows_that_are_near_each_other_do_not_stay_so() -> None:
    """A file that is sorted by its labels gives batches of both, also where it is long."""
    rows = 1_000_003
    order = Batches(1_000, [rows], rank=0, sharded=False).order(seed=0, epoch=0)
    shares = [(batch < rows // 2).double().mean() for batch in torch.split(order, 1_000)[:-1]]

    assert min(shares) > 0.4
    assert max(shares) < 0.6


@pytest.mark.parametrize(
    ("rows", "hosts"), [(450, 2), (1_000_003, 2), (5_000_003, 3), (1_000_003, 5)]
)
def test_a_batch_has_the_same_rows_on_any_number_of_hosts(rows: int, hosts: int) -> None:
    """So that two hosts learn what one learns; each draws only the part that it takes."""
    one = Batches(100_000, [rows], rank=0, sharded=False)
    several = [Batches(100_000, [rows] * hosts, rank, sharded=False) for rank in range(hosts)]
    order = one.order(seed=0, epoch=1)
    orders = [host.order(seed=0, epoch=1) for host in several]
    for step in range(len(one)):
        first, last, _ = one.share(step)
        shares = [host.share(step) for host in several]
        parts = [drawn[a:b] for drawn, (a, b, _) in zip(orders, shares, strict=True)]
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 12
        assert order[first:last].sort().values.equal(torch.cat(parts).sort().values)


@pytest.mark.parametrize(
    ("counts", "sharded"),
    [
        ([450], False),
        ([450, 450, 450], False),
        ([60, 390, 0], True),
        ([1, 0, 8], True),
        ([150] * 3, True),
        ([50] * 100, True),
    ],
)
def test_the_hosts_share_every_batch(counts: list[int], *, sharded: bool) -> None:
    """No row is left out or taken twice, and all hosts have as many steps (T30)."""
    hosts = [Batches(64, counts, rank, sharded) for rank in range(len(counts))]
    (steps,) = {len(host) for host in hosts}
    taken = 0
    ends = [0] * len(hosts)
    for step in range(steps):
        shares = [host.share(step) for host in hosts]
        (size,) = {rows for _, _, rows in shares}
        assert size == sum(last - first for first, last, _ in shares)
        assert 0 < size <= 64 + len(hosts) // 2 + 1
        if sharded:
            assert ends == [first for first, _, _ in shares]
            ends = [last for _, last, _ in shares]
        else:
            assert all(one[1] == other[0] for one, other in pairwise(shares))
        taken += size

    assert taken == hosts[0].rows == (sum(counts) if sharded else counts[0])
    assert not sharded or ends == counts
