"""The program `serve`: connections, and what comes before and after the application.

`tests/image` asks the container, of which this is a part.
"""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import requests
from simplenet.model import SimpleNet
from simplenet.paths import Paths

from tests import engine
from tests.programs.program import serving
from tests.server import CSV

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs.program import Server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """An `/opt/ml` with a model."""
    paths = Paths(tmp_path_factory.mktemp("served"))
    SimpleNet(2).save(paths.model_file)
    return paths


@pytest.fixture(scope="module")
def server(served: Paths) -> Iterator[Server]:
    """One server for all tests that leave it as it was."""
    with serving(served) as server:
        yield server


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n1,2", 400),
        (b"POST /invocations HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_a_sentence_too(server: Server, request_: bytes, status: int) -> None:
    """The parser refuses it before the application is asked, in the application's words."""
    head, _, body = server.raw(request_).partition(b"\r\n\r\n")

    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert ["error"] == [*json.loads(body)]
    assert 200 == server.score("1,2").status_code


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1,2",
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n1,2",
        b"POST /invo",
    ],
)
def test_a_request_that_ends_early_harms_nobody(server: Server, request_: bytes) -> None:
    """Its connection ends; the server lives on, answers others, and logs no fault of its own."""
    reply = server.raw(request_)

    assert not reply.startswith((b"HTTP/1.1 5", b"HTTP/1.1 2"))
    assert 200 == server.score("1,2").status_code
    assert 1 == server.output().count("Booting worker")
    assert [] == [line for line in server.log() if line["status"] >= 500]


def test_the_wish_for_another_protocol_is_ignored(server: Server) -> None:
    """As RFC 9110 allows (7.8): the request is answered as if it had not been said."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    reply = requests.get(f"{server.url}/ping", headers=headers, timeout=30)

    assert 200 == reply.status_code


def test_a_connection_too_many_is_503(served: Paths) -> None:
    """A worker's memory has a limit whatever comes, and whoever is turned away is told (H17)."""
    with serving(served, SIMPLENET_CONNECTIONS="5", SIMPLENET_METRICS="true") as server:
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection(server.address, timeout=60))
            engine.wait_until(lambda: server.score("1,2").status_code == 503, "all are taken")
            refused = server.score("1,2")

        assert (503, "1") == (refused.status_code, refused.headers["Retry-After"])
        assert "SIMPLENET_CONNECTIONS" in refused.json()["error"]
        engine.wait_until(lambda: server.score("1,2").status_code == 200, "there is room again")
        counts = requests.get(f"{server.url}/metrics", timeout=60).text
        assert re.search(r'simplenet_requests_total{status="503"} [2-9]', counts)


def test_sigterm_kills_no_idle_worker(served: Paths) -> None:
    """Each ends by itself, well before its grace is over and gunicorn sends SIGKILL (H3)."""
    with serving(served, workers=2) as server, requests.Session() as session:
        session.post(f"{server.url}/invocations", data="1,2", headers=CSV, timeout=60)
        code = server.stop()
        log = server.output()

    assert 0 == code
    assert 2 == log.count("Worker exiting")
    assert "Forcing close" not in log


def test_sigterm_waits_for_no_client_that_does_not_read(served: Paths) -> None:
    """Else gunicorn waits until it has to kill the worker (H3)."""
    with serving(served) as server, ExitStack() as stack:
        server.leave_unread(stack)
        code = server.stop()
        log = server.output()

    assert 0 == code
    assert "Worker exiting" in log
    assert "Forcing close" not in log


def test_metrics_are_the_sum_over_all_workers(served: Paths) -> None:
    """Detailed observability scrapes them where they are asked for, and only there (H30)."""
    with serving(served, workers=2, SIMPLENET_METRICS="true") as server:
        for _ in range(20):
            server.score("1,2\n3,4")
        text = requests.get(f"{server.url}/metrics", timeout=60).text

    assert 'simplenet_requests_total{status="200"} 20.0' in text
    assert "simplenet_rows_total 40.0" in text
