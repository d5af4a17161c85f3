"""The meeting of the hosts of one job: all of them come and go on together, or none goes on.

They meet in a store of torch.distributed, which the first host keeps, and which it watches.
"""

from __future__ import annotations

import logging
import math
import socket
import time
from contextlib import suppress
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING

from torch import distributed

from simplenet.stop import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not in its __all__

    from simplenet.stop import Stop

log = logging.getLogger("train")

#: The port of AWS's own training toolkit: known to be open between the hosts of a job.
#: https://github.com/aws/sagemaker-training-toolkit/blob/master/src/sagemaker_training/params.py
PORT = 7777

#: Seconds after which a host that gives no sign of life is taken for lost.
SILENCE = 50

# Seconds for which a host that goes tries to tell the others, and after which it goes anyhow.
_FAREWELL = 1
_PATIENCE = 3

# Seconds for which a sign of life says that a host is there.
_FRESH = 1

_POLL = 0.1

# What the hosts agree on, if it is no sentence that says why they cannot go on.
_GO = "go"
_STOP = "stop"


class ClusterError(ValueError):
    """Hosts that do not come together, or one that was lost; the message names it."""


class Meeting:
    """The part that the host number `rank` of the `hosts` takes in their meeting."""

    def __init__(self, hosts: tuple[str, ...], rank: int, stop: Stop) -> None:
        self._hosts = hosts
        self._rank = rank
        self._stop = stop
        #: How often a host has said in the store that it lives, and when it did last.
        self._signs = dict.fromkeys(hosts, 0)
        self._last = dict[str, float]()
        #: Since when the name of one that has not come is known no more.
        self._gone = dict[str, float]()
        self._said: list[str] = []
        #: When the store last answered, if it has been asked.
        self._answered = math.inf

    def hold(self, wait: float, then: Callable[[TCPStore], None]) -> None:
        """Meet the other hosts within so many seconds, and do with their store what comes `then`.

        Raises:
            Stopped: if one of them is asked to stop before they have met.
            ClusterError: if one does not come, fails before it comes, or is lost.
        """
        errors: list[BaseException] = []

        def meet() -> None:
            try:
                then(self._meet(wait))
            except (Exception, Stopped) as error:  # noqa: BLE001  # raised again below
                errors.append(error)

        thread = Thread(target=meet, daemon=True)
        thread.start()
        leave = math.inf
        while thread.is_alive():
            # Names may take long to be looked up, and torch waits for a host that is silent without
            # an end: neither would hear SIGTERM.
            thread.join(_POLL)
            now = time.monotonic()
            if self._stop.requested:
                leave = min(leave, now + _PATIENCE)
            if now > leave:
                raise Stopped
            if now > self._answered + SILENCE + _PATIENCE:
                raise ClusterError(lost(self._hosts[:1] if self._rank else self._hosts[1:]))
        if errors and self._rank and isinstance(errors[0], RuntimeError):  # the store is gone
            raise Stopped if self._stop.requested else ClusterError(lost(self._hosts[:1]))
        if errors:
            raise errors[0]

    def decline(self) -> None:
        """Tell the others, as far as they are there, that this host has failed."""

        def tell() -> None:
            with suppress(ClusterError, RuntimeError, Stopped):
                self._meet(_FAREWELL, failed(self._hosts[self._rank]))

        thread = Thread(target=tell, daemon=True)
        thread.start()
        thread.join(_PATIENCE)

    def _meet(self, wait: float, proposal: str = "") -> TCPStore:
        """Return the store when all have come to it, or raise what one of them proposed first."""
        until = time.monotonic() + wait
        for host in self._hosts[:1] if self._rank else self._hosts:
            Thread(target=self._look_up, args=(host,), daemon=True).start()
        if self._rank:
            self._find_first(wait, until)
        self._answered = time.monotonic()
        store: TCPStore = distributed.TCPStore(  # type: ignore[attr-defined]
            self._hosts[0] if self._rank else "127.0.0.1",
            PORT,
            is_master=self._rank == 0,
            timeout=timedelta(seconds=SILENCE),
            wait_for_workers=False,
            master_listen_fd=None if self._rank else _listen(),
        )
        if not proposal:
            store.set(_came(self._hosts[self._rank]), "")
        while not store.check(["agreed"]):
            self._answered = time.monotonic()
            store.add(_key(self._hosts[self._rank]), 1)
            if proposal := proposal or self._propose(store, wait, until):
                # Of several that propose something now, one is heard.
                store.compare_set("agreed", "", proposal)
            else:
                time.sleep(_POLL)
        agreed = store.get("agreed").decode()
        if agreed == _GO:
            return store
        self._leave(store)
        if agreed == _STOP:
            self._stop.requested = True
            raise Stopped
        raise ClusterError(agreed)

    def _find_first(self, wait: float, until: float) -> None:
        """Wait until the first host listens: SageMaker's DNS may come later than its containers."""
        first = self._hosts[0]
        while not _listens(first):
            now = time.monotonic()
            if self._stop.requested:
                until = min(until, now + _FAREWELL)
            if now > until:
                raise Stopped if self._stop.requested else ClusterError(_absent([first], wait))
            if silent := self._silent():
                raise ClusterError(lost(silent))
            self._say([first], wait)
            time.sleep(_POLL)

    def _look_up(self, host: str) -> None:
        """Look up a name until its host has come; one known once, and not any more, is gone."""
        known = False
        while not self._signs[host]:
            if address(host):
                known = True
                self._gone.pop(host, None)
            elif known:
                self._gone.setdefault(host, time.monotonic())
            time.sleep(1)

    def _propose(self, store: TCPStore, wait: float, until: float) -> str:
        """Return what is to be done, as far as this host can say; nothing, if it is to wait."""
        if self._stop.requested:
            return _STOP
        if self._rank:
            # The first host watches them all, and says what it waits for.
            self._look(store, self._hosts[:1])
            if store.check(["missing"]):
                others = store.get("missing").decode().split("\n")
                self._say([host for host in others if host != self._hosts[self._rank]], wait)
            return ""
        self._look(store, self._hosts)
        now = time.monotonic()
        if silent := self._silent():
            return lost(silent)
        absent = [host for host in self._hosts if now - self._last.get(host, -math.inf) > _FRESH]
        if not absent and store.check([_came(host) for host in self._hosts]):
            return _GO
        if absent and now > until:
            return _absent(absent, wait)
        if missing := [host for host, signs in self._signs.items() if not signs]:
            store.set("missing", "\n".join(missing))
            self._say(missing, wait)
        return ""

    def _look(self, store: TCPStore, hosts: Iterable[str]) -> None:
        """See who has given a sign of life since this host last looked."""
        for host in hosts:
            signs = store.add(_key(host), 0)
            if signs > self._signs[host]:
                self._signs[host], self._last[host] = signs, time.monotonic()

    def _silent(self) -> list[str]:
        """Return those that have been there, and have given no sign of life for long."""
        now = time.monotonic()
        since = {**self._gone, **self._last}
        return [host for host in self._hosts if now - since.get(host, now) > SILENCE]

    def _say(self, hosts: list[str], wait: float) -> None:
        """Say whom this host waits for, if that is new."""
        if hosts and hosts != self._said:
            log.info("waiting up to %g s for %s", wait, " and ".join(hosts))
        self._said = hosts

    def _leave(self, store: TCPStore) -> None:
        """Go; but the first host, with which the store goes, not before the others know why."""
        with suppress(RuntimeError):
            known = store.add("know", 1)
            until = time.monotonic() + _FAREWELL
            while not self._rank and known < len(self._hosts) and time.monotonic() < until:
                time.sleep(_POLL)
                known = store.add("know", 0)


def _key(host: str) -> str:
    """Return the store's name for the number of signs of life of a host."""
    return f"signs of {host}"


def _came(host: str) -> str:
    """Return the store's name for what is there when a host has come to go on."""
    return f"{host} came"


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
        with socket.create_connection((host, PORT), timeout=_FRESH):
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
