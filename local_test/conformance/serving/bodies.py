"""Bodies larger than the given one, as large as the server can bear, and what requests get."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.finding import BlockedError
from conformance.server import NO_REPLY, enlarge

if TYPE_CHECKING:
    from conformance.run import Run
    from conformance.server import Payload, Server

#: What `outcome` returns for a request that is scored.
SCORED = f"HTTP {HTTPStatus.OK.value}"

_PROBE_BYTES, _BEARABLE_SECONDS = 16 << 10, 5.0  # what tells how long a large body may take


def sizeable(run: Run) -> Payload:
    """Return a body of 2 MB, or the given one where such a body cannot be made, or is refused."""
    payload = bearable(run, 2 * 2**20)
    taken = payload and run.server.invoke(payload).status == HTTPStatus.OK
    return payload if payload and taken else run.payload


def bearable(run: Run, size: int) -> Payload | None:
    """Return a body of so many bytes, or one that is scored within seconds; None if there is none.

    Who is given too much goes on with it when the client has left, and is busy for later rules.
    """
    _ = run.scored
    probe = enlarge(run.payload, _PROBE_BYTES)
    if probe is None:
        return None
    try:
        reply = run.server.invoke(probe)
    except NO_REPLY:
        return None
    if reply.status != HTTPStatus.OK:
        return None
    most = int(len(probe.body) * _BEARABLE_SECONDS / max(reply.seconds, 1e-3))
    return enlarge(run.payload, min(size, most))


def large(run: Run, megabytes: int) -> Payload:
    """Return a body of so many MB, whether or not the server can bear it.

    Raises:
        BlockedError: if none can be made of the given one.
    """
    payload = enlarge(run.payload, megabytes * 2**20)
    if payload is None:
        raise BlockedError(f"no large body can be made of one of {run.payload.content_type}")
    return payload


def outcome(server: Server, payload: Payload) -> str:
    """Return what a request gets: a status, or no reply."""
    try:
        return f"HTTP {server.invoke(payload).status}"
    except NO_REPLY as error:
        return repr(error)
