"""The hosts of one job: who they are, and what they add up once they have met.

All communication is torch.distributed's; a job of one host does without it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import distributed

from simplenet import meeting
from simplenet.meeting import ClusterError, Meeting
from simplenet.stop import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not in its __all__

    from simplenet.channel import Channel
    from simplenet.stop import Stop

log = logging.getLogger("train")

T = TypeVar("T")

_POLL = 0.1

# So few are sent to all in half the time that a sum takes, which goes round the hosts twice.
_FEW_NUMBERS = 1 << 14


@dataclass(frozen=True)
class Cluster:
    """The hosts of a job, of which this is number `rank`.

    Every method but `part` must be called on all hosts at the same point of the job.
    """

    hosts: tuple[str, ...] = ("localhost",)
    rank: int = 0
    interface: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def read(cls, path: Path, device: torch.device) -> Cluster:
        """Read `resourceconfig.json`; without one there is one host."""
        try:
            found = json.loads(path.read_bytes())
            if not isinstance(found["hosts"], list):
                raise TypeError  # noqa: TRY301  # a string is a sequence too, of letters
            hosts = tuple(found["hosts"])
            rank = hosts.index(found["current_host"])
        except FileNotFoundError:
            return cls(device=device)
        except (ValueError, KeyError, TypeError):
            raise ClusterError(
                f"{path} does not say which of the job's hosts this is; expected "
                '{"current_host": "algo-1", "hosts": ["algo-1", ...]}.'
            ) from None
        return cls(hosts, rank, found.get("network_interface_name"), device)

    @property
    def first(self) -> bool:
        """Whether this host writes the model, the checkpoints and the metrics of them all."""
        return self.rank == 0

    @property
    def size(self) -> int:
        """How many hosts there are."""
        return len(self.hosts)

    def connect(self, wait: float, stop: Stop) -> None:
        """Meet the other hosts within so many seconds, and join them.

        Raises:
            Stopped: if one of the hosts is asked to stop before they have met.
            ClusterError: if one does not come in time, fails before, or is lost.
        """
        if self.size > 1:
            Meeting(self.hosts, self.rank, stop).hold(wait, self._join)

    def decline(self, stop: Stop) -> None:
        """Tell the other hosts that this one fails before it has met them."""
        if self.size > 1:
            Meeting(self.hosts, self.rank, stop).decline()

    def _join(self, store: TCPStore) -> None:
        # gloo and nccl take their interface from the environment only.
        if self.interface is not None and self.interface in dict(socket.if_nameindex()).values():
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = self.interface
        try:
            distributed.init_process_group(
                "nccl" if self.device.type == "cuda" else "gloo",
                store=store,
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=meeting.SILENCE),
            )
        except RuntimeError as error:
            raise self._lost(error) from None

    def leave(self) -> None:
        """Part once everyone has come this far: what the first host writes is then written."""
        if self.size == 1:
            return
        self.sum([0])
        distributed.destroy_process_group()

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the hosts, the same to the bit on each of them."""
        if self.size == 1:
            return tensor
        try:
            if tensor.numel() > _FEW_NUMBERS:
                distributed.all_reduce(tensor)
                return tensor
            parts = [torch.empty_like(tensor) for _ in self.hosts]
            distributed.all_gather(parts, tensor)
            return torch.stack(parts).sum(dim=0)
        except RuntimeError as error:
            raise self._lost(error) from None

    def sum(self, numbers: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums over the hosts of some numbers, in float64."""
        if self.size == 1:
            return np.array(numbers, dtype=np.float64)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return self.add_up(tensor).cpu().numpy()

    def each(self, number: float) -> list[int]:
        """Return a whole number of every host, in their order."""
        mine = np.zeros(self.size)
        mine[self.rank] = number
        return [int(theirs) for theirs in self.sum(mine)]

    def gather(self, values: NDArray[T]) -> NDArray[T]:  # type: ignore[type-var]
        """Return the values of all hosts, one host's after another's: (rows,) -> (all rows,)."""
        if self.size == 1:
            return values
        counts = self.each(len(values))
        # A sum of what the others leave zero is exact, and takes any number from each host.
        everyone = torch.zeros(sum(counts), dtype=torch.float32, device=self.device)
        first = sum(counts[: self.rank])
        everyone[first : first + len(values)] = torch.from_numpy(values.astype(np.float32))
        return self.add_up(everyone).cpu().numpy().astype(values.dtype)

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give all hosts the first one's tensors, in place."""
        if self.size == 1:
            return
        try:
            for tensor in tensors:
                # gloo and nccl carry what lies on their own device.
                here = tensor.to(self.device)
                distributed.broadcast(here, src=0)
                tensor.copy_(here)
        except RuntimeError as error:
            raise self._lost(error) from None

    def part(self, data: Channel) -> NDArray[np.float32]:
        """Return the rows that are this host's to evaluate: all it has, or its slice of them."""
        if data.sharded:
            return data.rows
        rows = len(data.rows)
        return data.rows[rows * self.rank // self.size : rows * (self.rank + 1) // self.size]

    def together(self, work: Callable[[], T], stop: Stop) -> T:
        """Return what `work` does, when it is done on all hosts; it may take any time.

        Raises:
            Stopped: if one of the hosts is asked to stop.
            ClusterError: if the work of another host fails, or it is lost.
            Exception: whatever the work of this one raises.
        """
        if self.size == 1:
            return stop.interrupt(work)
        results: list[T] = []
        errors: list[Exception] = []

        def run() -> None:
            try:
                results.append(work())
            except Exception as error:  # noqa: BLE001  # raised again below
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while True:
            # The hosts vote meanwhile, so that one which is lost or stopped is not waited for.
            thread.join(_POLL)
            # Only what was told counts: a host that did what the others do not know of would go
            # another way than they.
            error = errors[0] if errors else None
            failed = self.rank + 1 if error else 0
            done, stopped, failures, whose = self.sum(
                [bool(results), stop.requested, bool(error), failed]
            )
            if error:
                raise error
            if failures:
                name = self.hosts[int(whose) - 1] if failures == 1 else "Another host"
                raise ClusterError(meeting.failed(name))
            if stopped:
                stop.requested = True
                raise Stopped
            if done == self.size:
                return results[0]

    def _lost(self, error: RuntimeError) -> ClusterError:
        """Name the host that the transport's message is about."""
        found = re.search(r"\[(?:::ffff:)?([0-9a-fA-F.:]+)\]:\d+", str(error))
        names = {meeting.address(host): host for host in self.hosts}
        who = names.get(found[1]) if found else None
        log.info("transport: %s", str(error).partition("\n")[0])
        if who is None or who == self.hosts[self.rank]:
            others = [host for host in self.hosts if host != self.hosts[self.rank]]
            return ClusterError(meeting.lost(others))
        return ClusterError(meeting.lost([who]))
