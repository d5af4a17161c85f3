"""Rules for what a server takes from the machine, and what it can do without."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.finding import BlockedError, Finding, passed, warned
from conformance.rule import rule
from conformance.serving.bodies import SCORED, outcome

if TYPE_CHECKING:
    from conformance.run import Run

_OFTEN, _OFTEN_ENOUGH = 500, 100  # requests: what is meant, and less than which says nothing
_GROWTH_BYTES = 16 * 2**20


@rule("H6", "T41", observes="server")
def writes_only_to_tmp(run: Run) -> Finding:
    """A server writes to /tmp alone: elsewhere the disk is small, or cannot be written to."""
    server = run.server
    server.ask("GET", "/ping")
    written = server.container.written()
    above = {parent for path in (*written, "/opt/ml/model") for parent in _above(path)}
    found = [
        path
        for path in written
        if path not in above and not f"{path}/".startswith(("/tmp/", "/opt/ml/"))  # noqa: S108
    ]
    if found:
        return warned(
            f"{len(found)} files, such as {', '.join(found[:3])}",
            "Write to /tmp, or nothing: PYTHONDONTWRITEBYTECODE=1 for bytecode, logs to stdout.",
        )
    return passed("nothing is written elsewhere")


def _above(path: str) -> list[str]:
    """Return the directories that a path is in."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


@rule("H17", "X13", observes="server")
def memory_stays_flat(run: Run) -> Finding:
    """Five hundred requests leave the server with the memory that it had before them."""
    _ = run.scored
    _invoke_often(run, _OFTEN_ENOUGH)
    before = run.server.container.memory()
    count = _invoke_often(run, _OFTEN)
    after = run.server.container.memory()
    if not after:
        raise BlockedError("the engine does not say how much memory a container has")
    if count < _OFTEN_ENOUGH:
        raise BlockedError(
            f"{count} requests, which take {run.given.limits.often:g} s, are too few to tell"
        )
    found = f"{before / 2**20:.0f} MiB, and {after / 2**20:.0f} MiB {count} requests later"
    if after - before > _GROWTH_BYTES:
        return warned(
            found, "Look for what each request leaves behind: lists, caches without bound, files."
        )
    return passed(found)


def _invoke_often(run: Run, times: int) -> int:
    """Send the payload so many times, or for a quarter of a minute; return how often."""
    give_up = time.monotonic() + run.given.limits.often
    count = 0
    while count < times and time.monotonic() < give_up:
        run.server.invoke(run.payload)
        count += 1
    return count


def _without(run: Run, what: str, cure: str) -> Finding:
    server = run.server_without(what)
    if not server.healthy:
        return warned(server.end, cure)
    if run.given.payload is None:
        return passed("/ping answers 200")
    _ = run.scored
    found = outcome(server, run.payload)
    if found == SCORED:
        return passed(found)
    last = (server.log.strip().splitlines() or ["nothing"])[-1]
    return warned(f"the payload gets {found}; the end of the server's log: {last}", cure)


@rule("H50", observes="confined")
def needs_no_root(run: Run) -> Finding:
    """A server scores as any user: serverless endpoints have one of their own."""
    return _without(run, "user", "chmod -R a+rX the program, and write to /tmp alone.")


@rule("H50", observes="confined")
def needs_no_writable_root(run: Run) -> Finding:
    """A server scores where only /tmp can be written to, as on serverless endpoints."""
    return _without(run, "writable_root", "Write to /tmp, or nothing.")


@rule("H47", observes="confined")
def needs_no_network(run: Run) -> Finding:
    """A server scores that reaches nothing, as with EnableNetworkIsolation."""
    return _without(run, "network", "Install and download when the image is built.")


@rule("H50", observes="confined")
def needs_no_capabilities(run: Run) -> Finding:
    """A server scores without any of root's capabilities."""
    return _without(run, "capabilities", "Give the program files that it may read as their owner.")
