"""The hosts of one job: who they are, how they find each other, and what they add up.

All communication is torch.distributed's; a job of one host never imports it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from simplenet.stop import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from simplenet.channel import Channel
    from simplenet.stop import Stop

log = logging.getLogger("train")

T = TypeVar("T")

#: The port of AWS's own training toolkit: known to be open between the hosts of a job.
#: https://github.com/aws/sagemaker-training-toolkit/blob/master/src/sagemaker_training/params.py
PORT = 7777

#: Seconds after which a host that answers nothing is taken for lost.
SILENCE = 50

_POLL = 0.1

# So few are sent to all in half the time that a sum takes, which goes round the hosts twice.
_FEW_NUMBERS = 1 << 14


class ClusterError(ValueError):
    """Hosts that do not come together, or one that was lost; the message names it."""


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

    def connect(self, wait: float) -> None:
        """Find the other hosts and join them, within so many seconds.

        SageMaker's DNS "may not be immediately available", and instances do not start at the same
        time.

        Raises:
            ClusterError: if one does not appear in time.
        """
        if self.size == 1:
            return
        from torch import distributed  # noqa: PLC0415  # time that one host need not spend

        limit = time.monotonic() + wait
        _wait_for_names(self.hosts, wait, limit)
        # gloo and nccl take their interface from the environment only.
        if self.interface is not None and self.interface in dict(socket.if_nameindex()).values():
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = self.interface
        if not self.first:
            _wait_for_port(self.hosts[0], wait, limit)
        silence = timedelta(seconds=SILENCE)
        try:
            store = distributed.TCPStore(  # type: ignore[attr-defined]  # not in its __all__
                self.hosts[0],
                PORT,
                is_master=self.first,
                timeout=silence,
                wait_for_workers=False,
                master_listen_fd=_listen() if self.first else None,
            )
            # Python asks again and again, since a wait inside of the store would not hear SIGTERM.
            store.add("here", 1)
            store.set(f"here-{self.rank}", "yes")
            while store.add("here", 0) < self.size:
                if time.monotonic() > limit:
                    missing = [
                        host
                        for rank, host in enumerate(self.hosts)
                        if not store.check([f"here-{rank}"])
                    ]
                    raise ClusterError(_absent(missing, wait))
                time.sleep(_POLL)
            distributed.init_process_group(
                "nccl" if self.device.type == "cuda" else "gloo",
                store=store,
                rank=self.rank,
                world_size=self.size,
                timeout=silence,
            )
        except RuntimeError as error:
            raise self._lost(error) from None

    def leave(self) -> None:
        """Part once everyone has come this far: what the first host writes is then written."""
        if self.size == 1:
            return
        from torch import distributed  # noqa: PLC0415

        self.sum([0])
        distributed.destroy_process_group()

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the hosts, the same to the bit on each of them."""
        if self.size == 1:
            return tensor
        from torch import distributed  # noqa: PLC0415

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
        from torch import distributed  # noqa: PLC0415

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
            with stop.interrupts():
                return work()
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
                raise ClusterError(f"{name} failed; its own log and failure file say why.")
            if stopped:
                stop.requested = True
                raise Stopped
            if done == self.size:
                return results[0]

    def _lost(self, error: RuntimeError) -> ClusterError:
        """Name the host that the transport's message is about."""
        found = re.search(r"\[(?:::ffff:)?([0-9a-fA-F.:]+)\]:\d+", str(error))
        names = {_address(host): host for host in self.hosts}
        who = names.get(found[1]) if found else None
        if who is None or who == self.hosts[self.rank]:
            who = " or ".join(host for host in self.hosts if host != self.hosts[self.rank])
        log.info("transport: %s", str(error).partition("\n")[0])
        return ClusterError(
            f"Lost contact with {who}: it ended, or was silent for {SILENCE} s. Its own log and "
            "failure file say why, unless its machine is gone."
        )


def _wait_for_names(hosts: Iterable[str], wait: float, limit: float) -> None:
    """Wait until all names resolve: SageMaker's DNS may come later than its containers."""
    missing = [host for host in hosts if not _address(host)]
    if missing:
        log.info("waiting up to %g s for the names of %s", wait, ", ".join(missing))
    while missing:
        if time.monotonic() > limit:
            raise ClusterError(_absent(missing, wait))
        time.sleep(_POLL)
        missing = [host for host in missing if not _address(host)]


def _wait_for_port(host: str, wait: float, limit: float) -> None:
    """Wait until the first host listens."""
    while True:
        left = limit - time.monotonic()
        try:
            with socket.create_connection((host, PORT), timeout=max(_POLL, left)):
                return
        except OSError:
            if time.monotonic() > limit:
                raise ClusterError(_absent([host], wait)) from None
        time.sleep(_POLL)


def _listen() -> int:
    """Return a socket that listens at the port of the job: torch's message names no port."""
    try:
        return socket.create_server(("", PORT)).detach()
    except OSError as error:
        raise ClusterError(
            f"Port {PORT}, at which the hosts of a job meet, cannot be used here: "
            f"{error.strerror}. End what else listens there."
        ) from None


def _address(host: str) -> str | None:
    try:
        return socket.gethostbyname(host)
    except OSError:
        return None


def _absent(hosts: Iterable[str], wait: float) -> str:
    return (
        f"After {wait:g} s there is still no {' and no '.join(hosts)}; expected all hosts of "
        f"resourceconfig.json to be found by name and to reach each other at port {PORT}. "
        "Look at their logs, and at the security group of the job's VPC."
    )
