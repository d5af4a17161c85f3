"""`docker run IMAGE serve`: requests as SageMaker sends them, and as nobody should."""

from __future__ import annotations

import io
import json
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
from simplenet.model import SimpleNet

from tests import engine
from tests.image.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Moons

pytestmark = pytest.mark.docker


@pytest.fixture(
    scope="module",
    params=[pytest.param((), id="root"), pytest.param(engine.HARDENED, id="hardened")],
)
def server(image: str, served: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """One container for all tests that leave it as it was: root's (H4), and one that is denied all
    that can be (H50).
    """
    with serving(image, served, *request.param) as server:
        yield server


@pytest.fixture
def features(moons: Moons) -> np.ndarray:
    """The seed's test points: float32 (150, 2)."""
    return moons.test_features.astype(np.float32)


@pytest.fixture
def scores(served: Path, features: np.ndarray) -> np.ndarray:
    """What the model itself says of them: (150,)."""
    return SimpleNet.load(served / "model" / "model.safetensors").score(features)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_ping_is_200_and_empty(server: Server, method: str) -> None:
    """SageMaker waits "for an HTTP 200 status code and an empty body" (H13, H15, B1, X6)."""
    reply = requests.request(method, f"{server.url}/ping", timeout=2)

    assert (200, b"") == (reply.status_code, reply.content)


def test_csv_rows_get_the_models_scores(
    server: Server, features: np.ndarray, scores: np.ndarray
) -> None:
    """A score a line, in order (B12); the media type may have parameters (H24), and is the reply's
    too, without any (H26, F11).
    """
    body = "".join(f"{x!r},{y!r}\n" for x, y in features.astype(float).tolist())
    reply = server.score(body, Content_Type="text/csv; charset=utf-8")

    assert (200, "text/csv") == (reply.status_code, reply.headers["Content-Type"])
    assert reply.text.endswith("\n")
    np.testing.assert_allclose(np.loadtxt(io.StringIO(reply.text)), scores, atol=1e-6)


def test_each_row_scores_the_same_alone(
    server: Server, features: np.ndarray, scores: np.ndarray
) -> None:
    """SingleRecord and MultiRecord give one file (B6, X38, X41)."""
    lines = [f"{x!r},{y!r}" for x, y in features[:20].astype(float).tolist()]
    alone = [float(server.score(line).text) for line in lines]

    np.testing.assert_allclose(alone, scores[:20], atol=1e-6)


def test_json_rows_get_the_models_scores(
    server: Server, features: np.ndarray, scores: np.ndarray
) -> None:
    """One object with a prediction a row (H11, F4, F6)."""
    body = json.dumps({"instances": [{"features": row} for row in features.tolist()]})
    reply = server.score(body, Content_Type="application/json")
    predictions = reply.json()["predictions"]

    assert (200, "application/json") == (reply.status_code, reply.headers["Content-Type"])
    np.testing.assert_allclose([one["score"] for one in predictions], scores, atol=1e-6)
    assert scores.round().tolist() == [one["predicted_label"] for one in predictions]


def test_npy_rows_get_the_models_scores(
    server: Server, features: np.ndarray, scores: np.ndarray
) -> None:
    """NumPy's own format, in and out: float32 of shape (rows, 1) (F8)."""
    body = io.BytesIO()
    np.save(body, features)
    reply = server.score(body.getvalue(), Content_Type="application/x-npy")
    array = np.load(io.BytesIO(reply.content), allow_pickle=False)

    assert (200, "application/x-npy") == (reply.status_code, reply.headers["Content-Type"])
    assert ((150, 1), np.float32) == (array.shape, array.dtype)
    np.testing.assert_allclose(array[:, 0], scores, atol=1e-6)


@pytest.mark.parametrize("split", ["text/csv", "application/jsonlines"])
def test_batch_transform_gets_a_line_for_each_line(
    server: Server, features: np.ndarray, split: str
) -> None:
    """Mini-batches, assembled by joining the replies end to end, are the whole object's reply,
    wherever it was split, and with its last newline or without (B5, B7, B11, B13, B14, X40).
    """
    spell = {"text/csv": "{},{}", "application/jsonlines": '{{"features": [{}, {}]}}'}[split]
    lines = [f"{spell.format(*row)}\n" for row in features.astype(float).tolist()]
    headers = {"Content_Type": split, "Accept": split}
    whole = server.score("".join(lines).rstrip("\n"), **headers).text
    parts = [lines[:1], lines[1:2], lines[2:50], lines[50:]]
    assembled = "".join(server.score("".join(part), **headers).text for part in parts)

    assert 150 == len(whole.splitlines())
    np.testing.assert_allclose(_scores(whole), _scores(assembled), atol=1e-6)


def _scores(lines: str) -> list[float]:
    found = [json.loads(line) for line in lines.splitlines()]
    return [one["score"] if isinstance(one, dict) else one for one in found]


def test_batch_transform_is_told_what_suits_the_workers(server: Server) -> None:
    """One request at a time for each, of several records, 100 MB together at most (B3, B4, B8)."""
    told = requests.get(f"{server.url}/execution-parameters", timeout=60).json()

    assert len(server.workers()) == told["MaxConcurrentTransforms"]
    assert "MULTI_RECORD" == told["BatchStrategy"]
    assert 1 <= told["MaxPayloadInMB"] * told["MaxConcurrentTransforms"] <= 100


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        ("", {}, 400, "The body is empty"),
        ("x0,x1\n1,2", {}, 400, "line 1, column 1 is 'x0'"),
        ("1,2\n1,oops", {}, 400, "line 2, column 2 is 'oops'"),
        ("1,nan", {}, 400, "'nan'; expected a finite number"),
        ("1,1e99", {}, 400, "expected a number that float32 holds"),
        ("1,2,3", {}, 400, "line 1 has 3 columns; expected 2"),
        ("1,2\n3", {}, 400, "line 2 has 1 column; expected 2"),
        (b"\xff\xfe,2", {}, 400, "line 1 is not UTF-8"),
        ("[" * 1_000_000, {"Content_Type": "application/json"}, 400, "is not JSON"),
        (b"\x93NUMPY", {"Content_Type": "application/x-npy"}, 400, "NumPy's .npy format"),
        ("1,2", {"Accept": "image/png"}, 406, "Accept is 'image/png'"),
        ("1,2", {"Content_Type": "image/png"}, 415, "Content-Type is 'image/png'"),
        (b"\x1f\x8b\x08", {"Content_Encoding": "gzip"}, 415, "Content-Encoding is 'gzip'"),
    ],
)
def test_a_bad_request_is_a_sentence(
    server: Server, body: Any, headers: dict[str, str], status: int, sentence: str
) -> None:
    """The caller gets one sentence, which SageMaker shows as OriginalMessage (H27), and the next
    caller is served.
    """
    reply = server.score(body, **headers)

    assert (status, ["error"]) == (reply.status_code, [*reply.json()])
    assert reply.reason not in {"", "Unknown"}
    assert sentence in reply.json()["error"]
    assert 200 == server.score("1,2").status_code


def test_headers_that_are_none_of_ours_change_nothing(server: Server) -> None:
    """SageMaker adds headers of its own, and calls us by names of its own (H19, H20, H33, H21)."""
    others = {
        "Host": "model.aws.local:8080",
        "X-Amzn-SageMaker-Session-Id": "NEW_SESSION",
        "X-Amzn-SageMaker-Target-Variant": "blue",
        "X-Amzn-Trace-Id": "Root=1-2",
        "Cookie": "a=b",
    }

    assert server.score("1,2").text == server.score("1,2", **others).text


def test_a_chunked_body_is_a_body(server: Server) -> None:
    """Batch transform with MaxPayloadInMB=0 streams the object (B8, H29)."""
    reply = server.score(iter([b"1,2\n3", b",4\n"]))

    assert (200, 2) == (reply.status_code, len(reply.text.splitlines()))


def test_a_client_that_expects_100_gets_it(server: Server) -> None:
    """Curl waits for 100 before it sends a large body (H29)."""
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: model.aws.local:8080\r\n"
            b"Content-Type: text/csv\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == connection.recv(100)
        connection.sendall(b"1,2")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_gigabyte_is_refused_without_being_kept(server: Server) -> None:
    """The body is read and dropped, so that the client gets to read why (B8)."""
    chunk = b"1,2\n" * (1 << 18)
    reply = server.score(chunk for _ in range(1 << 10))

    assert 413 == reply.status_code
    assert "send fewer rows" in reply.json()["error"]
    assert max(server.memory("VmHWM")) < 1 << 30


@pytest.mark.parametrize(
    "start", [b"POST /invocations HTTP/1.1\r\nHo", b"POST /invocations HTTP/1.1\r\nHost: x\r\n"]
)
def test_200_stalled_clients_hold_up_nobody(server: Server, start: bytes) -> None:
    """`/ping` has 2 s (H13); stalls are in mid-header or, after it, in mid-body."""
    if start.endswith(b"\r\n"):
        start += b"Content-Type: text/csv\r\nContent-Length: 100\r\n\r\n1,"
    with ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(socket.create_connection(server.address, timeout=30))
            connection.sendall(start)
        for _ in range(10):
            assert 200 == server.ping()
            assert 200 == server.score("1,2").status_code


def test_custom_attributes_come_back(server: Server) -> None:
    """Whoever does not set them in the response returns an empty value (H22)."""
    reply = server.score("1,2", X_Amzn_SageMaker_Custom_Attributes="trace=a b;c")

    assert "trace=a b;c" == reply.headers["X-Amzn-SageMaker-Custom-Attributes"]


def test_each_request_is_one_line_of_the_log(server: Server) -> None:
    """Status, rows, bytes, types and the inference id (H23), and no payload; `/ping` has none."""
    server.score("1.25,2\n3,4", X_Amzn_SageMaker_Inference_Id="one")
    engine.wait_until(
        lambda: [line for line in server.log() if line.get("inference_id") == "one"], "the line"
    )
    (line,) = [line for line in server.log() if line.get("inference_id") == "one"]

    assert ("POST", "/invocations", 200, 2, 10, "text/csv") == tuple(
        line[key] for key in ("method", "path", "status", "rows", "bytes_in", "content_type")
    )
    assert "1.25" not in json.dumps(line)
    assert not [line for line in server.log() if line["path"] == "/ping"]


@pytest.mark.parametrize("path", ["/metrics", "/models", "/ping/", "/invocations/", "/static/x"])
def test_any_other_path_is_404(server: Server, path: str) -> None:
    """Metrics and models are there only where they are asked for (H30, H39)."""
    reply = requests.get(server.url + path, timeout=60)

    assert (404, ["error"]) == (reply.status_code, [*reply.json()])
