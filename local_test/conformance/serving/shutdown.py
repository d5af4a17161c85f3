"""Rules for the end of a server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.finding import BlockedError, Finding, failed, passed
from conformance.rule import rule
from conformance.server import exchange
from conformance.serving.bodies import bearable, large

if TYPE_CHECKING:
    from conformance.run import Run
    from conformance.server import Payload

_UNDER_WAY_SECONDS = 0.5  # that a request must take to be under way when SIGTERM comes
_IDLE_SECONDS = 3.0  # in which a server ends that has only waited for an idle connection


@rule("H2", "H3")
def ends_on_sigterm(run: Run) -> Finding:
    """A server ends by itself within 30 s of SIGTERM, though a client keeps its connection open."""
    limit = run.given.limits.serve_stop
    with run.serving() as server, server.connect() as idle:
        exchange(idle, "GET", "/ping")
        server.container.signal("TERM")
        code = server.container.wait(limit)
        if code is not None:
            return passed(f"exit code {code}")
        idle.close()
        waited = server.container.wait(_IDLE_SECONDS) is not None
    if waited:
        return failed(
            f"it waits for an idle connection to be closed, {limit:g} s and more after SIGTERM",
            "Close connections on which no request is under way: clients keep theirs open.",
        )
    return failed(
        f"it still runs {limit:g} s after SIGTERM",
        "Handle SIGTERM: PID 1 ignores it otherwise. A shell script must exec the program.",
    )


@rule("H3")
def answers_before_it_ends(run: Run) -> Finding:
    """Requests that are being scored when SIGTERM comes are answered, and then the server ends."""
    payload, sent = _slow(run)
    with run.serving() as server, ThreadPoolExecutor(4) as clients, ExitStack() as opened:
        headers = {"Content-Type": payload.content_type, "Connection": "close"}
        connections = [opened.enter_context(server.connect()) for _ in range(4)]
        asked = [
            clients.submit(exchange, one, "POST", "/invocations", payload.body, headers)
            for one in connections
        ]
        time.sleep(_UNDER_WAY_SECONDS / 2)  # they are on their way
        under_way = [one for one in asked if not one.done()]
        server.container.signal("TERM")
        stopped = time.monotonic()
        lost = [error for one in asked if (error := one.exception()) is not None]
        wrong = [one.result() for one in asked if not lost and one.result().status != HTTPStatus.OK]
        rest = run.given.limits.serve_stop - (time.monotonic() - stopped)
        ended = lost or wrong or server.container.wait(max(0.0, rest)) is not None
    if lost or wrong:
        return failed(
            f"{len(lost or wrong)} of 4 are not answered: {(lost or wrong)[0]}",
            "Stop listening on SIGTERM, finish what has come, and end within 30 s.",
        )
    if not ended:
        return failed(
            f"all are answered, and it still runs {run.given.limits.serve_stop:g} s after SIGTERM",
            "End when the last reply is sent: SIGKILL comes 30 s after SIGTERM.",
        )
    if not under_way:
        raise BlockedError(f"{sent} are scored too fast for SIGTERM to come meanwhile")
    return passed(f"{len(under_way)} of 4 were under way, and all are answered: {sent}")


def _slow(run: Run) -> tuple[Payload, str]:
    """Return a body that is scored, not too fast if the server takes a large one; and its size."""
    payload = bearable(run, 2 * 2**20)
    given = f"{len(run.payload.body):,} bytes as given"
    if payload is None:
        return run.payload, given
    reply = run.server.invoke(payload)
    if reply.status != HTTPStatus.OK:
        return run.payload, f"{given} ({_size(payload)} get HTTP {reply.status})"
    if reply.seconds < _UNDER_WAY_SECONDS:
        seconds = max(reply.seconds, 0.01)
        larger = large(run, min(20, int(2 * _UNDER_WAY_SECONDS / seconds) + 1))
        if run.server.invoke(larger).status == HTTPStatus.OK:
            payload = larger
    return payload, _size(payload)


def _size(payload: Payload) -> str:
    megabytes = len(payload.body) / 1e6
    return f"{megabytes:.0f} MB" if megabytes >= 1 else f"{len(payload.body):,} bytes"
