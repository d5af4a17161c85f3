"""Rules for `docker run IMAGE serve`."""

from __future__ import annotations

import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.finding import BlockedError, Finding, failed, not_applicable, passed, warned
from conformance.rule import rule
from conformance.server import enlarge, exchange, receive

if TYPE_CHECKING:
    from conformance.run import Run
    from conformance.server import Payload, Reply

_PING_SECONDS = 2
_PINGS = 10
_CONTINUE_SECONDS = 1.0  # that clients such as curl wait for 100
_UNDER_WAY_SECONDS = 0.5  # that a request must take to be under way when SIGTERM comes
_OFTEN_SECONDS = 15.0
_GROWTH_BYTES = 16 * 2**20
_NONSENSE = b"\xff\xfe{] no model scores this\n"


@rule("H11", "H14", "X5", observes="started")
def starts(run: Run) -> Finding:
    """/ping on port 8080 answers 200 within 8 minutes of the start."""
    if run.started.healthy:
        return passed(f"after {run.started.seconds:.1f} s")
    return failed(
        run.started.end,
        "Listen on 0.0.0.0:8080, and answer GET /ping with 200 once the model is loaded. "
        "If the image only trains, check it with --only train.",
    )


@rule("H13", observes="server")
def ping_is_empty(run: Run) -> Finding:
    """/ping answers 200 with an empty body, within 2 s."""
    reply = run.server.ask("GET", "/ping")
    if reply.status != HTTPStatus.OK or reply.seconds > _PING_SECONDS:
        return failed(str(reply), "Answer it at once, whatever else the server is doing.")
    if reply.body.strip():
        return warned(
            f"it has a body: {reply.body[:80]!r}", "Only the status counts: leave the body empty."
        )
    return passed(str(reply))


@rule("T34", "H5", "H6", "H7", observes="over_archive")
def serves_its_own_archive(run: Run) -> Finding:
    """The model.tar.gz of the image's own job is served: unpacked by root, mounted read-only."""
    server, size = run.over_archive, len(run.trained.packed_model)
    cure = "Leave plain files in /opt/ml/model: what links lead to elsewhere is not packed."
    if not server.healthy:
        return failed(server.end, cure)
    if run.given.payload is None:
        return passed(f"/ping answers 200 over an archive of {size:,} bytes")
    _scored(run)
    reply = server.invoke(run.payload)
    if reply.status != HTTPStatus.OK or not reply.body:
        return failed(str(reply), cure)
    return passed(f"over an archive of {size:,} bytes, {reply}")


@rule("H11", "H17", observes="server")
def scores(run: Run) -> Finding:
    """/invocations answers the given payload with 200 and a body, within 60 s."""
    reply = run.server.invoke(run.payload)
    if reply.status != HTTPStatus.OK or not reply.body:
        return failed(
            str(reply), "Look into the server's log, and whether the payload fits the model."
        )
    return passed(str(reply))


def _scored(run: Run) -> Reply:
    """Return the reply to the given payload.

    Raises:
        BlockedError: if it is not 200; the rule `scores` says so.
    """
    reply = run.server.invoke(run.payload)
    if reply.status != HTTPStatus.OK:
        raise BlockedError(f"the payload is not scored: {reply}")
    return reply


@rule("H24", "X23", observes="server")
def media_type_forms(run: Run) -> Finding:
    """A media type is understood with parameters and in capitals, and its absence is no crash."""
    _scored(run)
    kind = run.payload.content_type.partition(";")[0].strip()
    for form in (f"{kind}; charset=utf-8", f"{kind};label_size=0", kind.upper()):
        reply = run.server.invoke(run.payload, {"Content-Type": form})
        if reply.status != HTTPStatus.OK:
            return failed(
                f"{form!r} is answered with {reply}",
                "Compare what is before the semicolon, in lower case.",
            )
    reply = run.server.ask("POST", "/invocations", run.payload.body)
    if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return failed(
            f"without Content-Type: {reply}", "Take a default, or answer 415: callers may omit it."
        )
    return passed(f"with parameters and in capitals; without Content-Type: HTTP {reply.status}")


@rule("H27", "H28", observes="server")
def errors_say_why(run: Run) -> Finding:
    """A body that cannot be scored is answered with 4xx and a sentence, without a traceback."""
    reply = run.server.ask(
        "POST", "/invocations", _NONSENSE, {"Content-Type": run.payload.content_type}
    )
    if b"Traceback (most recent call last)" in reply.body:
        return failed(
            f"the reply has a traceback: {reply}",
            "Log the traceback, and answer with a sentence: the caller sees the body.",
        )
    if not HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return warned(
            f"nonsense is answered with {reply}",
            "Answer 400, so that the caller knows whose fault it is.",
        )
    if not reply.body.strip():
        return warned(f"the reply is empty: {reply}", "Say in the body what was expected.")
    return passed(str(reply))


def _like_the_first(found: Reply, first: Reply, cure: str) -> Finding:
    if (found.status, found.body) == (first.status, first.body):
        return passed("the reply is that of an ordinary request")
    return failed(f"{found}, but an ordinary request: {first}", cure)


@rule("H29", "B8", observes="server")
def chunked_bodies(run: Run) -> Finding:
    """A body in chunks is scored like a whole one."""
    first = _scored(run)
    middle = len(run.payload.body) // 2
    pieces = [run.payload.body[:middle], run.payload.body[middle:]]
    found = run.server.ask(
        *("POST", "/invocations", iter(piece for piece in pieces if piece)),
        {"Content-Type": run.payload.content_type},
    )
    return _like_the_first(found, first, "Read bodies with Transfer-Encoding: chunked as well.")


@rule("H29", observes="server")
def expect_continue(run: Run) -> Finding:
    """A client that waits for 100 before it sends the body, a second at most, gets its scores."""
    first = _scored(run)
    cure = "Answer 100, or ignore the header; never 417, and never a reply before the body."
    with run.server.connect() as connection:
        connection.putrequest("POST", "/invocations")
        connection.putheader("Content-Type", run.payload.content_type)
        connection.putheader("Content-Length", str(len(run.payload.body)))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        sent = time.monotonic()
        answered, _, _ = select.select([connection.sock], [], [], _CONTINUE_SECONDS)
        if answered:
            status = connection.sock.recv(12, socket.MSG_PEEK)  # HTTP/1.1 100
            if not status.endswith(b" 100"):
                return failed(f"before the body: {receive(connection, sent)}", cure)
        connection.send(run.payload.body)
        found = receive(connection, sent)
    if (found.status, found.body) != (first.status, first.body):
        return failed(f"{found}, but an ordinary request: {first}", cure)
    if not answered:
        return passed(f"the header is ignored: clients wait {_CONTINUE_SECONDS:g} s")
    return passed("100, then the reply of an ordinary request")


@rule("H19", "H21", "H22", observes="server")
def sagemaker_headers(run: Run) -> Finding:
    """Headers that SageMaker adds, and those that nobody knows, do no harm."""
    first = _scored(run)
    names = ("Target-Model", "Target-Variant", "Inference-Id", "Session-Id", "Component")
    headers = {f"X-Amzn-SageMaker-{name}": "conformance" for name in names}
    attributes = {"X-Amzn-SageMaker-Custom-Attributes": "c" * 1024, "X-No-One-Knows": "it"}
    found = run.server.invoke(run.payload, {**headers, **attributes})
    return _like_the_first(found, first, "Ignore the headers that the program has no use for.")


@rule("H20", observes="server")
def any_host(run: Run) -> Finding:
    """A request is answered whatever its Host header says."""
    for host in ("169.254.255.131:8080", "localhost", "model.aws.local:8080"):
        reply = run.server.ask("GET", "/ping", headers={"Host": host})
        if reply.status != HTTPStatus.OK:
            return failed(f"/ping with Host: {host} gives {reply}", "Turn off the filter of hosts.")
    return passed("three names, HTTP 200 each")


@rule("H19", observes="server")
def connections(run: Run) -> Finding:
    """Several requests on one connection are answered, and one that asks to close it."""
    _scored(run)
    headers = {"Content-Type": run.payload.content_type}
    with run.server.connect() as connection:
        for last in (False, False, True):
            more = {"Connection": "close"} if last else {}
            reply = exchange(
                connection, "POST", "/invocations", run.payload.body, {**headers, **more}
            )
            if reply.status != HTTPStatus.OK:
                return failed(
                    f"a request on a connection that was used before gives {reply}",
                    "Read each body to its end, and give each reply its length.",
                )
    return passed("three requests on one connection")


def _large(run: Run, megabytes: int) -> Payload:
    payload = enlarge(run.payload, megabytes * 2**20)
    if payload is None:
        raise BlockedError(f"no large body can be made of one of {run.payload.content_type}")
    return payload


@rule("H18", "B8", "X9")  # not for each bad server: a large body takes its time
def large_bodies(run: Run) -> Finding:
    """A body of 6 MB is scored within 60 s, and one of 25 MB."""
    _scored(run)
    for megabytes, found in ((6, failed), (25, warned)):
        reply = run.server.invoke(_large(run, megabytes))
        if reply.status != HTTPStatus.OK:
            return found(
                f"{megabytes} MB are answered with {reply}",
                "Raise the server's limit, client_max_body_size in nginx, to 100 MB.",
            )
    return passed(f"25 MB after {reply.seconds:.1f} s")


@rule("H13", "H17", observes="server")
def pings_while_busy(run: Run) -> Finding:
    """/ping answers 200 within 2 s while four clients send one large request after the other."""
    _scored(run)
    payload = _large(run, 2)
    enough = threading.Event()

    def keep_busy() -> int:
        count = 0
        while not enough.is_set():
            run.server.invoke(payload)
            count += 1
        return count

    with ThreadPoolExecutor(4) as clients:
        busy = [clients.submit(keep_busy) for _ in range(4)]
        try:
            for count in range(_PINGS):
                time.sleep(0.1)
                if not run.server.pings():
                    return failed(
                        f"after {count} pings, /ping does not answer 200 within {_PING_SECONDS} s "
                        "while requests are scored",
                        "Answer /ping in a thread of its own: more threads than requests at a "
                        "time.",
                    )
                if all(one.done() for one in busy):
                    raise BlockedError(f"large requests fail: {busy[0].exception()}")
        finally:
            enough.set()
    scored = sum(one.result() for one in busy if one.exception() is None)
    return passed(f"{_PINGS} pings, while {scored} requests were scored")


@rule("H13", observes="server")
def pings_past_stalled_clients(run: Run) -> Finding:
    """/ping answers 200 within 2 s while sixteen clients have sent half a request."""
    with ExitStack() as clients:
        for _ in range(16):
            connection = clients.enter_context(run.server.connect())
            connection.putrequest("POST", "/invocations")
            connection.putheader("Content-Type", run.payload.content_type)
            connection.putheader("Content-Length", "1000")
            connection.endheaders(b"1")
        answered = True
        for _ in range(5):  # the first may come before the server has seen all of them
            answered = answered and run.server.pings()
            time.sleep(0.1)
    if answered:
        return passed("HTTP 200")
    return failed(
        "/ping does not answer 200 within 2 s while clients stall",
        "Let no client hold a worker: use more threads, or read requests without blocking.",
    )


@rule("H17", observes="server")
def simultaneous_requests(run: Run) -> Finding:
    """Thirty-two requests at the same time get the reply that one alone gets."""
    first = _scored(run)
    body = run.payload.body
    with ExitStack() as clients:
        connections = [clients.enter_context(run.server.connect()) for _ in range(32)]
        for connection in connections:
            connection.putrequest("POST", "/invocations")
            connection.putheader("Content-Type", run.payload.content_type)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
        sent = time.monotonic()
        for connection in connections:
            connection.send(body)
        replies = [receive(connection, sent) for connection in connections]
    odd = [one for one in replies if (one.status, one.body) != (first.status, first.body)]
    return _like_the_first(
        odd[0] if odd else replies[0], first, "Let requests wait for their turn, and share nothing."
    )


@rule("H30", observes="server")
def unknown_paths_are_404(run: Run) -> Finding:
    """A path that the server does not know is answered with 404."""
    reply = run.server.ask("GET", "/no-such-path")
    if reply.status == HTTPStatus.NOT_FOUND:
        return passed("HTTP 404")
    return warned(str(reply), "Answer 404: SageMaker asks for optional routes, and reads replies.")


@rule("H12", "I14")
def binds_to_the_given_port(run: Run) -> Finding:
    """With the label accept-bind-to-port, the server listens where SAGEMAKER_BIND_TO_PORT says."""
    if not run.image.claims("accept-bind-to-port"):
        return not_applicable("the image does not claim the capability accept-bind-to-port")
    with run.serving("--env", "SAGEMAKER_BIND_TO_PORT=21000", inside=21000) as server:
        if server.healthy:
            return passed("it listens on port 21000 when asked to")
        return failed(
            f"asked to listen on port 21000: {server.end}",
            "Listen on SAGEMAKER_BIND_TO_PORT where it is set, or remove the label.",
        )


@rule("H2", "H3")
def ends_on_sigterm(run: Run) -> Finding:
    """A server that is stopped ends by itself before SIGKILL comes, 30 s after SIGTERM."""
    with run.serving() as server:
        server.container.signal("TERM")
        code = server.container.wait(run.given.limits.serve_stop)
    if code is None:
        return failed(
            f"it still runs {run.given.limits.serve_stop:g} s after SIGTERM",
            "Handle SIGTERM: PID 1 ignores it otherwise. A shell script must exec the program.",
        )
    return passed(f"exit code {code}")


@rule("H3")
def answers_before_it_ends(run: Run) -> Finding:
    """Requests that are being scored when SIGTERM comes are answered."""
    payload, sent = _slow(run)
    with run.serving() as server, ThreadPoolExecutor(4) as clients, ExitStack() as opened:
        headers = {"Content-Type": payload.content_type}
        connections = [opened.enter_context(server.connect()) for _ in range(4)]
        asked = [
            clients.submit(exchange, one, "POST", "/invocations", payload.body, headers)
            for one in connections
        ]
        time.sleep(_UNDER_WAY_SECONDS / 2)  # they are on their way
        under_way = [one for one in asked if not one.done()]
        server.container.signal("TERM")
        lost = [error for one in asked if (error := one.exception()) is not None]
        wrong = [one.result() for one in asked if not lost and one.result().status != HTTPStatus.OK]
    if lost or wrong:
        return failed(
            f"{len(lost or wrong)} of 4 are not answered: {(lost or wrong)[0]}",
            "Stop listening on SIGTERM, finish what has come, and end within 30 s.",
        )
    if not under_way:
        raise BlockedError(f"{sent} are scored too fast for SIGTERM to come meanwhile")
    return passed(f"{len(under_way)} of 4 were under way, and all are answered: {sent}")


def _slow(run: Run) -> tuple[Payload, str]:
    """Return a body that is scored, not too fast if the server takes a large one; and its size."""
    _scored(run)
    payload = _large(run, 2)
    reply = run.server.invoke(payload)
    if reply.status != HTTPStatus.OK:
        given = len(run.payload.body)
        return run.payload, f"{given:,} bytes as given (2 MB get HTTP {reply.status})"
    if reply.seconds < _UNDER_WAY_SECONDS:
        seconds = max(reply.seconds, 0.01)
        larger = _large(run, min(20, int(2 * _UNDER_WAY_SECONDS / seconds) + 1))
        if run.server.invoke(larger).status == HTTPStatus.OK:
            payload = larger
    return payload, f"{len(payload.body) / 1e6:.0f} MB"


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
    _scored(run)
    _invoke_often(run, 100)
    before = run.server.container.memory()
    count = _invoke_often(run, 500)
    after = run.server.container.memory()
    if not after:
        raise BlockedError("the engine does not say how much memory a container has")
    found = f"{before / 2**20:.0f} MiB, and {after / 2**20:.0f} MiB {count} requests later"
    if after - before > _GROWTH_BYTES:
        return warned(
            found, "Look for what each request leaves behind: lists, caches without bound, files."
        )
    return passed(found)


def _invoke_often(run: Run, times: int) -> int:
    """Send the payload so many times, or for a quarter of a minute; return how often."""
    give_up = time.monotonic() + _OFTEN_SECONDS
    count = 0
    while count < times and time.monotonic() < give_up:
        run.server.invoke(run.payload)
        count += 1
    return count
