"""Rules for what requests get."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.finding import (
    BlockedError,
    Finding,
    Outcome,
    failed,
    not_applicable,
    passed,
    warned,
)
from conformance.rule import rule
from conformance.server import NO_REPLY, PING_SECONDS, exchange, receive
from conformance.serving.bodies import SCORED, large, outcome, sizeable

if TYPE_CHECKING:
    from conformance.run import Run
    from conformance.server import Reply

_PINGS = 10
_CONTINUE_SECONDS = 1.0  # that clients such as curl wait for 100
_MADE_WRONG = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}  # not its size
_STREAM = "/invocations-bidirectional-stream"
_NONSENSE = b"\xff\xfe{] no model scores this\n"
_TRACEBACK = b"Traceback (most recent call last)"


@rule("H11", "H14", "X5", observes="started", asked_for_by="serve")
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
    if reply.status != HTTPStatus.OK or reply.seconds > PING_SECONDS:
        return failed(str(reply), "Answer it at once, whatever else the server is doing.")
    if reply.body.strip():
        return warned(
            f"it has a body: {reply.body[:80]!r}", "Only the status counts: leave the body empty."
        )
    return passed(str(reply))


@rule("T34", "H5", "H6", "H7", observes="over_archive")
def serves_its_own_archive(run: Run) -> Finding:
    """The model.tar.gz, of the image's own job if it has one, is served as root unpacks it."""
    server, size = run.over_archive, len(run.packed_model)
    cure = "Leave plain files in /opt/ml/model: what links lead to elsewhere is not packed."
    if not server.healthy:
        return failed(server.end, cure)
    if run.given.payload is None:
        return passed(f"/ping answers 200 over an archive of {size:,} bytes")
    _ = run.scored
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
    if reply.seconds > run.given.limits.reply:
        return failed(str(reply), "Answer in less time, or use batch transform: no setting helps.")
    return passed(str(reply))


@rule("H24", "X23", observes="server")
def media_type_forms(run: Run) -> Finding:
    """A media type is understood with parameters and in capitals, and its absence is no crash."""
    _ = run.scored
    given = run.payload.content_type
    kind, parted, parameters = given.partition(";")  # the body may need what it says of itself
    upper = f"{kind.upper()}{parted}{parameters}"
    forms = [f"{given};label_size=0", upper]
    if "charset=" not in parameters.lower():
        forms.insert(0, f"{given}; charset=utf-8")
    for form in forms:
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
    found = _refused("nonsense", reply, "Answer 400, so that the caller knows whose fault it is.")
    if found.outcome is Outcome.PASSED and not reply.body.strip():
        return warned(f"the reply is empty: {reply}", "Say in the body what was expected.")
    return found


def _refused(what: str, reply: Reply, cure: str) -> Finding:
    """Judge the reply to what is the caller's fault."""
    if _TRACEBACK in reply.body:
        return failed(
            f"{what} is answered with a traceback: {reply}",
            "Log the traceback, and answer with a sentence: the caller sees the body.",
        )
    if not HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return warned(f"{what} is answered with {reply}", cure)
    return passed(str(reply))


@rule("H28", "X23", observes="server")
def unknown_types_are_refused(run: Run) -> Finding:
    """A body of a type that nobody knows is answered with 4xx, without a traceback."""
    _ = run.scored
    reply = run.server.ask(
        "POST", "/invocations", run.payload.body, {"Content-Type": "application/x-no-such-type"}
    )
    return _refused(
        "the type application/x-no-such-type",
        reply,
        "Answer 415, and name the types that you read: a body of another is no data of yours.",
    )


@rule("H28", "B19", observes="server")
def empty_bodies_do_no_harm(run: Run) -> Finding:
    """A body without a byte is refused, or answered with 200 or 204; the server does not fail."""
    _ = run.scored
    reply = run.server.ask("POST", "/invocations", b"", {"Content-Type": run.payload.content_type})
    if reply.status in {HTTPStatus.OK, HTTPStatus.NO_CONTENT} and _TRACEBACK not in reply.body:
        return passed(str(reply))
    return _refused("an empty body", reply, "Look at the length first, and answer 204 or 400.")


@rule("H28", "H30", observes="server")
def other_methods_are_refused(run: Run) -> Finding:
    """GET /invocations is answered with 4xx, without a traceback."""
    reply = run.server.ask("GET", "/invocations")
    return _refused("GET /invocations", reply, "Answer 405: nothing can be scored without a body.")


def _like_an_ordinary_one(run: Run, found: Reply, cure: str) -> Finding:
    if not run.scored.is_like(found):
        return failed(f"{found}, but an ordinary request: {run.scored.first}", cure)
    if run.scored.varies:
        return passed("the reply is that of an ordinary request, but for what varies in those, too")
    return passed("the reply is that of an ordinary request")


@rule("H29", "B8", observes="server")
def chunked_bodies(run: Run) -> Finding:
    """A body in chunks is scored like a whole one."""
    _ = run.scored
    middle = len(run.payload.body) // 2
    pieces = [run.payload.body[:middle], run.payload.body[middle:]]
    found = run.server.ask(
        *("POST", "/invocations", iter(piece for piece in pieces if piece)),
        {"Content-Type": run.payload.content_type},
    )
    return _like_an_ordinary_one(run, found, "Read bodies with Transfer-Encoding: chunked as well.")


@rule("H29", observes="server")
def expect_continue(run: Run) -> Finding:
    """A client that waits for 100 before it sends the body, a second at most, gets its scores."""
    _ = run.scored
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
    like = _like_an_ordinary_one(run, found, cure)
    if like.outcome is not Outcome.PASSED:
        return like
    if not answered:
        return passed(f"the header is ignored: clients wait {_CONTINUE_SECONDS:g} s")
    return passed("100, then the reply of an ordinary request")


@rule("H19", "H21", "H22", observes="server")
def sagemaker_headers(run: Run) -> Finding:
    """Headers that SageMaker adds, and those that nobody knows, do no harm."""
    _ = run.scored
    names = ("Target-Model", "Target-Variant", "Inference-Id", "Session-Id", "Component")
    headers = {f"X-Amzn-SageMaker-{name}": "conformance" for name in names}
    attributes = {"X-Amzn-SageMaker-Custom-Attributes": "c" * 1024, "X-No-One-Knows": "it"}
    found = run.server.invoke(run.payload, {**headers, **attributes})
    return _like_an_ordinary_one(run, found, "Ignore the headers that you have no use for.")


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
    _ = run.scored
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


@rule("H18", "B8", "X9")  # not for each bad server: a large body takes its time
def large_bodies(run: Run) -> Finding:
    """A body of 6 MB is scored within 60 s, and one of 25 MB."""
    _ = run.scored
    slow = "Score many rows at a time."
    bodies = ((large(run, 6), 6, failed), (large(run, 25), 25, warned))
    with run.serving() as server:  # one that a large body has done harm to is none for other rules
        for body, megabytes, found in bodies:
            try:
                reply = server.invoke(body)
            except NO_REPLY as error:
                cure = slow if isinstance(error, TimeoutError) else "Have room for such bodies."
                return found(f"{megabytes} MB get no reply: {error!r}", cure)
            if reply.status in _MADE_WRONG:
                raise BlockedError(f"{megabytes} MB made of the given body are refused: {reply}")
            if reply.status != HTTPStatus.OK:
                return found(
                    f"{megabytes} MB are answered with {reply}",
                    "Raise the server's limit, client_max_body_size in nginx, to 100 MB.",
                )
            if reply.seconds > run.given.limits.reply:
                return found(f"{megabytes} MB are answered with {reply}", slow)
    return passed(f"25 MB after {reply.seconds:.1f} s")


@rule("H13", "H17", observes="server")
def pings_while_busy(run: Run) -> Finding:
    """/ping answers 200 within 2 s while four clients send one large request after the other."""
    payload = sizeable(run)
    enough = threading.Event()

    def keep_busy() -> Counter[str]:
        replies: Counter[str] = Counter()
        while not enough.is_set():
            replies[outcome(run.server, payload)] += 1
        return replies

    with ThreadPoolExecutor(4) as clients:
        busy = [clients.submit(keep_busy) for _ in range(4)]
        try:
            for count in range(_PINGS):
                time.sleep(0.1)
                if not run.server.pings():
                    return failed(
                        f"after {count} pings, /ping does not answer 200 within {PING_SECONDS} s "
                        "while requests are scored",
                        "Answer /ping in a thread of its own: more threads than requests at a "
                        "time.",
                    )
        finally:
            enough.set()
    replies = sum((one.result() for one in busy), Counter[str]())
    scored = replies.pop(SCORED, 0)
    if replies:
        (other, times), *_ = replies.most_common()
        return failed(
            f"{times} of {scored + replies.total()} requests of four clients get {other}",
            "Let requests wait for their turn; one alone is scored.",
        )
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
        f"/ping does not answer 200 within {PING_SECONDS} s while clients stall",
        "Let no client hold a worker: use more threads, or read requests without blocking.",
    )


@rule("H17", observes="server")
def simultaneous_requests(run: Run) -> Finding:
    """Thirty-two requests at the same time get the reply that one alone gets."""
    _ = run.scored
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
    odd = [one for one in replies if not run.scored.is_like(one)]
    return _like_an_ordinary_one(
        run, (odd or replies)[0], "Let requests wait for their turn, and share nothing."
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


@rule("H32", "I14", observes="server")
def opens_a_stream(run: Run) -> Finding:
    """With the label bidirectional-streaming, /invocations-bidirectional-stream is a WebSocket."""
    if not run.image.claims("bidirectional-streaming"):
        return not_applicable("the image does not claim the capability bidirectional-streaming")
    key = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "Y29uZm9ybWFuY2UgcnVuIQ=="}
    reply = run.server.ask(
        "GET", _STREAM, headers={"Connection": "Upgrade", "Upgrade": "websocket", **key}
    )
    if reply.status == HTTPStatus.SWITCHING_PROTOCOLS:
        return passed("HTTP 101")
    return failed(
        f"asked to become a WebSocket, {_STREAM} answers {reply}",
        "Answer 101, and go on as RFC 6455 says, or remove the label.",
    )
