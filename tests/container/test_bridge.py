"""What gunicorn's event loop hands to Flask, by hypothesis; `tests/image` asks the container."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from simplenet.app import Application, create_app
from simplenet.bridge import Bridge
from simplenet.model import SimpleNet
from simplenet.settings import Settings

from tests.engine import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from simplenet.paths import Paths

Answer = tuple[int, dict[str, str], bytes]


SETTINGS = Settings(max_payload_mb=1, threads=1)


def ask(
    app: Application,
    chunks: list[bytes],
    headers: list[tuple[bytes, bytes]],
    path: bytes = b"/invocations",
) -> Answer:
    """Send one request through a bridge to the application."""
    bridge = Bridge(app.wsgi_app, SETTINGS, app.takes_long, app.observers)
    return through(bridge, chunks, headers, path)


def scope(headers: list[tuple[bytes, bytes]], path: bytes = b"/invocations") -> dict[str, Any]:
    """Return what gunicorn says of a request."""
    return {
        "type": "http",
        "method": "POST",
        "raw_path": path,
        "path": "",
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8080),
        "headers": headers,
    }


def through(
    bridge: Bridge,
    chunks: list[bytes],
    headers: list[tuple[bytes, bytes]],
    path: bytes = b"/invocations",
) -> Answer:
    """Send one request through a bridge; chunks that end in `stall` never end."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            return {"type": "http.disconnect"}
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    if chunks and chunks[-1] != b"stall":
        messages[-1]["more_body"] = False
    asyncio.run(bridge(scope(headers, path), receive, send))
    start, body = sent
    fields = {name.decode().lower(): text.decode("latin-1") for name, text in start["headers"]}
    return start["status"], fields, body["body"]


@pytest.fixture(scope="module")
def app(trained: Paths) -> Application:
    """The application, of one megabyte bodies."""
    return create_app(trained, SETTINGS)


def echo(environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
    """Give the body back, in two chunks."""
    body = environ["wsgi.input"].read(2 << 20)
    start("200 OK", [("Content-Type", "text/plain")])
    return [body[:2], body[2:]]


def test_an_application_finds_what_wsgi_promises_it() -> None:
    """Python's validator holds the bridge to PEP 3333; a header that is there twice has both."""
    found: list[WSGIEnvironment] = []

    def application(environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
        found.append(environ)
        return echo(environ, start)

    headers = [(b"content-type", b"text/csv"), (b"x-some", b"1"), (b"x-some", b"2")]
    answer = through(Bridge(validator(application), SETTINGS), [b"a", b"bcd"], headers)
    (environ,) = found

    assert (200, {"content-type": "text/plain"}, b"abcd") == answer
    assert "1,2" == environ["HTTP_X_SOME"]
    assert ("HTTP/1.1", "127.0.0.1", "8080") == tuple(
        environ[name] for name in ("SERVER_PROTOCOL", "SERVER_NAME", "SERVER_PORT")
    )


def test_a_body_may_take_all_the_room_there_is() -> None:
    """And not a byte more; it counts until it is answered (B8)."""
    bridge = Bridge(echo, Settings(max_payload_mb=2, bodies_mb=1))
    for size, status in ((1 << 20, 200), ((1 << 20) + 1, 503), (1 << 20, 200)):
        for headers in ([], [(b"content-length", str(size).encode())]):
            answer = through(bridge, [b"1" * (size - 1), b"1"], headers)

            assert status == answer[0]
            if status == 200:
                assert b"1" * size == answer[2]
            else:
                assert str(len(answer[2])) == answer[1]["content-length"]
                assert "application/json" == answer[1]["content-type"]


@pytest.mark.parametrize(("expect", "left"), [(b"100-Continue", 2), (b"", 0)])
def test_a_body_that_waits_for_leave_is_not_waited_for(expect: bytes, left: int) -> None:
    """A client that asks first does not send a body that is too large; of another one it is read,
    and dropped, or it would not see the answer. The application gets none of it (H29).
    """
    messages = [
        {"type": "http.request", "body": b"12", "more_body": more_body}
        for more_body in (True, False)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-length", b"2000000"), (b"expect", expect)]
    asyncio.run(Bridge(echo, SETTINGS)(scope(headers), receive, send))

    assert left == len(messages)
    assert b"" == sent[1]["body"]


def test_a_body_in_pieces_is_one_body(app: Application) -> None:
    """Small or large, at once or in a thread (H29)."""
    for rows in (2, 50_000):
        status, fields, body = ask(app, [b"1,2\n" * (rows // 2)] * 2, [(b"accept", b"text/csv")])

        assert (200, "text/csv", rows) == (status, fields["content-type"], body.count(b"\n"))
        assert fields["content-length"] == str(len(body))


@pytest.mark.parametrize(
    ("hidden_dim", "rows", "thread"),
    [
        (20, 1, "MainThread"),
        (20, 1_000, "MainThread"),
        (20, 5_000, "invocation_0"),
        (4096, 1, "MainThread"),
        (4096, 1_000, "invocation_0"),
    ],
)
def test_what_takes_long_is_not_the_event_loop_s(
    paths: Paths, hidden_dim: int, rows: int, thread: str
) -> None:
    """`/ping` has 2 s, whatever the other requests are: many rows, or few in a wide network, are
    scored in a thread; one row costs none (H13).
    """
    SimpleNet(2, hidden_dim).save(paths.model_file)
    app = create_app(paths, SETTINGS)
    threads: list[str] = []
    app.observers.append(lambda *_: threads.append(threading.current_thread().name))
    status, _, body = ask(app, [b"1,2\n" * rows], [])

    assert (200, rows) == (status, body.count(b"\n"))
    assert [thread] == threads


def test_a_model_that_may_have_to_be_loaded_is_not_the_event_loop_s(paths: Paths) -> None:
    """A disk takes as long as it takes, and `/ping` has 2 s (H13, H38)."""
    SimpleNet(2).save(paths.models / "a" / "model.safetensors")
    app = create_app(paths, Settings(multi_model=True))
    threads: dict[str, str] = {}
    app.observers.append(
        lambda environ, *_: threads.update({environ["PATH_INFO"]: threading.current_thread().name})
    )
    asked = json.dumps({"model_name": "a", "url": str(paths.models / "a")}).encode()
    answers = [
        ask(app, [body], [], path)[0]
        for path, body in ((b"/models", asked), (b"/models/a/invoke", b"1,2"), (b"/ping", b""))
    ]

    assert [200, 200, 200] == answers
    assert {
        "/models": "invocation_0",
        "/models/a/invoke": "invocation_0",
        "/ping": "MainThread",
    } == threads


def test_a_body_that_stops_is_408(app: Application) -> None:
    """A client that stalls gets a sentence, and its connection ends."""
    status, fields, body = ask(app, [b"1,", b"stall"], [(b"content-length", b"100")])

    assert (408, "close") == (status, fields["connection"])
    assert json.loads(body)["error"].startswith("The body stopped before its end")


def test_the_log_has_a_line_a_request_and_no_payload(
    app: Application, capfd: pytest.CaptureFixture[str]
) -> None:
    """Time, status, rows, bytes, milliseconds, types, reason; `/ping` has none."""
    ask(app, [b""], [], b"/ping")
    ask(app, [b"1.25,2"], [(b"x-amzn-sagemaker-inference-id", b"one")])
    ask(app, [b"1"], [(b"content-type", b"text/csv; charset=utf-8")])
    ask(app, [b"1,", b"stall"], [(b"content-length", b"100")])
    good, bad, stalled = map(json.loads, capfd.readouterr().out.splitlines())

    assert (200, 1, 6, "one") == tuple(
        good[key] for key in ("status", "rows", "bytes_in", "inference_id")
    )
    assert {"time", "ms", "bytes_out", "content_type", "accept"} <= {*good}
    assert "1.25" not in str(good)
    assert (400, "text/csv; charset=utf-8") == (bad["status"], bad["content_type"])
    assert "1 column" in bad["error"]
    assert 408 == stalled["status"]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"2000000")],
        [(b"content-length", b"2000000"), (b"expect", b"100-continue")],
        [],
    ],
)
def test_a_body_too_large_is_413_however_it_is_announced(
    app: Application, headers: list[tuple[bytes, bytes]]
) -> None:
    """By its length, before it is sent, or in chunks without a length (B8)."""
    status, _, body = ask(app, [b"1,2\n" * 100_000] * 5, headers)

    assert 413 == status
    assert "larger than 1 MB" in json.loads(body)["error"]


@pytest.mark.parametrize("announced", [[], [(b"content-length", b"400000")]])
def test_bodies_that_are_too_many_together_are_503(
    app: Application, announced: list[tuple[bytes, bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Each alone is small enough; the next is told to come again, whether it says its length or
    not, and those that were there first are answered. Nothing is held in the end (B8, H17).
    """
    few = Settings(max_payload_mb=1, bodies_mb=1)
    bridge = Bridge(app.wsgi_app, few, app.takes_long, app.observers)
    body = b"1,2\n" * 100_000
    statuses: list[int] = []
    fields: list[tuple[bytes, bytes]] = []

    async def send(message: dict[str, Any]) -> None:
        if "status" in message:
            statuses.append(message["status"])
            fields.extend(message["headers"])

    async def ask_all() -> None:
        rest = asyncio.Event()

        async def first() -> dict[str, Any]:
            if bridge.held:
                await rest.wait()
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": body * 2, "more_body": True}

        async def next_() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        waiting = asyncio.create_task(bridge(scope([]), first, send))
        await asyncio.sleep(0)
        await bridge(scope(announced), next_, send)
        rest.set()
        await waiting
        await bridge(scope(announced), next_, send)

    asyncio.run(ask_all())

    assert [503, 200, 200] == statuses
    assert (b"retry-after", b"1") in fields
    refused, *answered = map(json.loads, capfd.readouterr().out.splitlines())
    assert (
        "The server holds 1 MB of bodies, as much as it may; "
        "try again in a second, or raise SIMPLENET_BODIES_MB."
    ) == refused["error"]
    assert [503, 200, 200] == [line["status"] for line in (refused, *answered)]
    assert 0 == bridge.held


async def silent(_: dict[str, Any]) -> None:
    """Send nothing anywhere."""


def whole(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return what receives a body at once."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def test_ping_is_healthy_while_there_is_no_room_for_bodies(app: Application) -> None:
    """It has none; a client that takes its time over a large reply makes nobody unhealthy (H13)."""
    bridge = Bridge(app.wsgi_app, Settings(bodies_mb=1), app.takes_long)
    bridge.held = 2 << 20

    assert 200 == through(bridge, [b""], [], b"/ping")[0]
    assert 200 == through(bridge, [b""], [(b"content-length", b"0")], b"/ping")[0]
    assert 503 == through(bridge, [b"1,2"], [])[0]


def test_what_a_client_leaves_behind_counts_until_it_is_gone() -> None:
    """A thread goes on with a body, which takes room; one that waits for a thread is let go of."""
    began, go_on = threading.Event(), threading.Event()
    asked: list[int] = []

    def application(environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
        asked.append(len(environ["wsgi.input"].read()))
        began.set()
        go_on.wait()
        start("200 OK", [])
        return []

    bridge = Bridge(application, SETTINGS, lambda *_: True)

    async def leave() -> None:
        tasks = [
            asyncio.create_task(bridge(scope([]), whole(bytes(size)), silent)) for size in (9, 70)
        ]
        await asyncio.to_thread(began.wait)
        assert 79 == bridge.held
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert 9 == bridge.held
        go_on.set()
        await asyncio.to_thread(wait_until, lambda: not bridge.held, "nothing is held")

    asyncio.run(leave())

    assert [9] == asked


def test_a_body_too_large_for_one_of_many_models_is_a_thread_s_too(paths: Paths) -> None:
    """Its model may have to be loaded before it can be refused (H13, H38)."""
    app = create_app(paths, Settings(multi_model=True, max_payload_mb=1))
    threads: list[str] = []
    app.observers.append(lambda *_: threads.append(threading.current_thread().name))
    headers = [(b"content-length", b"2000000")]

    assert 404 == ask(app, [b"1"], headers, b"/models/a/invoke")[0]
    assert ["invocation_0"] == threads


HEADER = st.binary(max_size=40).filter(lambda text: not {*text} & {0, 10, 13})
NAMES = st.sampled_from(
    [
        b"content-type",
        b"accept",
        b"content-encoding",
        b"expect",
        b"cookie",
        b"authorization",
        b"host",
        b"range",
        b"x-amzn-sagemaker-custom-attributes",
        b"x-amzn-sagemaker-inference-id",
        b"x-amzn-sagemaker-target-model",
    ]
)
TYPES = st.sampled_from([b"text/csv", b"application/json", b"application/jsonlines", b"*/*;q=0.1"])


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    headers=st.lists(st.tuples(NAMES, HEADER | TYPES), max_size=5),
    body=st.binary(max_size=100) | st.from_regex(rb"[-0-9.,e\n]{0,40}", fullmatch=True),
    path=st.just(b"/invocations") | st.binary(max_size=20),
)
def test_no_request_is_our_own_fault(
    app: Application, headers: list[tuple[bytes, bytes]], body: bytes, path: bytes
) -> None:
    """Any header, body and path is answered by scores or by one sentence, and never by a 500."""
    status, fields, reply = ask(app, [body], headers, path)

    assert status in {200, 400, 404, 405, 406, 415}
    if status >= 400:
        assert "application/json" == fields["content-type"]
        assert ["error"] == [*json.loads(reply)]
