"""The meeting of the hosts of one job: all of them come and go on together, or none goes on.

They meet in a store of torch.distributed, which the first host keeps.
"""

from __future__ import annotations

import logging
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from simplenet.stop import Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not in its __all__

log = logging.getLogger("train")

#: The port of AWS's own training toolkit: known to be open between the hosts of a job.
#: https://github.com/aws/sagemaker-training-toolkit/blob/master/src/sagemaker_training/params.py
PORT = 7777

#: Seconds after which a host that gives no sign of life is taken for lost.
SILENCE = 50

# Seconds for which a host that goes tries to tell the others.
_FAREWELL = 2

_POLL = 0.1

# What the hosts agree on, if it is no sentence that says why they cannot go on.
_GO = "go"
_STOP = "stop"


class ClusterError(ValueError):
    """Hosts that do not come together, or one that was lost; the message names it."""


@dataclass
class Meeting:
    """The part that the host number `rank` of the `hosts` takes in their meeting."""

    hosts: tuple[str, ...]
    rank: int
    # When a host last gave a sign of life, and how many it has given in the store.
    _seen: dict[str, float] = field(default_factory=dict)
    _signs: dict[str, int] = field(default_factory=dict)
    _waited_for: list[str] = field(default_factory=list)

    def join(self, wait: float, stop: Stop) -> TCPStore:
        """Return the store, once every host has come to it, within so many seconds.

        Raises:
            Stopped: if one of them is asked to stop before.
            ClusterError: if one does not come, fails before it comes, or is lost.
        """
        try:
            store, agreed = self._agree(wait, stop)
        except RuntimeError:
            if not self.rank:
                raise
            raise ClusterError(lost([self.hosts[0]])) from None
        if agreed == _STOP:
            stop.requested = True
            raise Stopped
        if agreed != _GO:
            raise ClusterError(agreed)
        return store

    def decline(self) -> None:
        """Tell the others, as far as they are there, that this host has failed."""
        with suppress(ClusterError, RuntimeError):
            self._agree(_FAREWELL, Stop(), failed(self.hosts[self.rank]))

    def _agree(self, wait: float, stop: Stop, proposal: str = "") -> tuple[TCPStore, str]:
        """Return the store, and what the hosts do: of their proposals the first that is made.

        Nothing in here waits for long, so that SIGTERM, which need not interrupt it, is seen.
        """
        until = time.monotonic() + wait
        if self.rank:
            self._find_first(wait, until, stop)
        store = self._enter()
        if not proposal:
            store.add("came", 1)
        while not store.check(["agreed"]):
            store.add(_signs(self.hosts[self.rank]), 1)
            if proposal := proposal or self._propose(store, wait, until, stop):
                store.compare_set("agreed", "", proposal)
            else:
                self._wait_for(self._missing(), until)
        agreed = store.get("agreed").decode()
        if agreed != _GO:
            self._leave(store)
        return store, agreed

    def _find_first(self, wait: float, until: float, stop: Stop) -> None:
        """Wait until the first host listens: SageMaker's DNS may come later than its containers."""
        first = self.hosts[0]
        while not _listens(first):
            if silent := self._silent([first]):
                raise ClusterError(lost(silent))
            if stop.requested:
                until = min(until, time.monotonic() + _FAREWELL)
            if time.monotonic() > until:
                if stop.requested:
                    raise Stopped
                raise ClusterError(_absent([first], wait))
            self._wait_for([first], until)

    def _enter(self) -> TCPStore:
        from torch import distributed  # noqa: PLC0415  # time that one host need not spend

        return distributed.TCPStore(  # type: ignore[attr-defined]
            self.hosts[0],
            PORT,
            is_master=self.rank == 0,
            timeout=timedelta(seconds=SILENCE),
            wait_for_workers=False,
            master_listen_fd=None if self.rank else _listen(),
        )

    def _propose(self, store: TCPStore, wait: float, until: float, stop: Stop) -> str:
        """Return what is to be done, as far as this host can see; nothing, if it is to wait."""
        if stop.requested:
            return _STOP
        if store.add("came", 0) == len(self.hosts):
            return _GO
        if silent := self._silent(self.hosts, store):
            return lost(silent)
        return _absent(self._missing(), wait) if time.monotonic() > until else ""

    def _silent(self, hosts: Iterable[str], store: TCPStore | None = None) -> list[str]:
        """Return those of the hosts that have given signs of life, and none for long.

        Until a host has come its sign is that its name is known, and then what it adds to the
        store.
        """
        now = time.monotonic()
        for host in hosts:
            signs = store.add(_signs(host), 0) if store else 0
            if signs > self._signs.get(host, 0) or (not signs and address(host)):
                self._seen[host], self._signs[host] = now, signs
        return [host for host, last in self._seen.items() if now - last > SILENCE]

    def _missing(self) -> list[str]:
        return [host for host in self.hosts if not self._signs.get(host)]

    def _wait_for(self, hosts: list[str], until: float) -> None:
        """Wait a moment, having said for whom and how long in all, if that is new."""
        if hosts and hosts != self._waited_for:
            left = until - time.monotonic()
            log.info("waiting up to %.0f s for %s", left, " and ".join(hosts))
        self._waited_for = hosts
        time.sleep(_POLL)

    def _leave(self, store: TCPStore) -> None:
        """Go; but the first host, with which the store goes, not before the others know why."""
        with suppress(RuntimeError):
            known = store.add("know", 1)
            until = time.monotonic() + _FAREWELL
            while not self.rank and known < len(self.hosts) and time.monotonic() < until:
                time.sleep(_POLL)
                known = store.add("know", 0)


def _signs(host: str) -> str:
    """Return the store's name for the number of signs of life of a host."""
    return f"signs of {host}"


def address(host: str) -> str | None:
    """Return the address of a host, once its name is known."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return None


def failed(host: str) -> str:
    """Return what the others say of a host that failed."""
    return f"{host} failed; its own log and failure file say why."


def lost(hosts: Iterable[str]) -> str:
    """Return what the others say when one of these hosts is gone."""
    return (
        f"Lost contact with {' or '.join(hosts)}: it ended, or was silent for {SILENCE} s. Its own "
        "log and failure file say why, unless its machine is gone."
    )


def _absent(hosts: Iterable[str], wait: float) -> str:
    return (
        f"After {wait:g} s there is still no {' and no '.join(hosts)}; expected all hosts of "
        f"resourceconfig.json to be found by name and to reach each other at port {PORT}. "
        "Look at their logs, and at the security group of the job's VPC."
    )


def _listens(host: str) -> bool:
    try:
        with socket.create_connection((host, PORT), timeout=_FAREWELL):
            return True
    except OSError:
        return False


def _listen() -> int:
    """Return a socket that listens at the port of the job: torch's message names no port."""
    try:
        return socket.create_server(("", PORT)).detach()
    except OSError as error:
        raise ClusterError(
            f"Port {PORT}, at which the hosts of a job meet, cannot be used here: "
            f"{error.strerror}. End what else listens there."
        ) from None
