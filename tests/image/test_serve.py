"""`docker run IMAGE serve`, the way SageMaker runs an endpoint."""

from __future__ import annotations

import io
import json
import socket
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simplenet.model import SimpleNet

from tests import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.conftest import Moons

    Serving = Callable[..., AbstractContextManager[tuple[str, int]]]

pytestmark = pytest.mark.docker

CSV = {"Content-Type": "text/csv"}


@pytest.fixture(
    scope="module",
    params=[pytest.param((), id="root"), pytest.param(engine.HARDENED, id="hardened")],
)
def port(serving: Serving, request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server: root's, and one that is denied all that can be; the model's directory
    is read-only for both (H6).
    """
    with serving(*request.param) as (_, port):
        yield port


@pytest.fixture
def features(moons: Moons) -> np.ndarray:
    """The seed's test points: float32 (150, 2)."""
    return moons.test_features.astype(np.float32)


@pytest.fixture
def scores(model: Path, features: np.ndarray) -> np.ndarray:
    """What the model itself says of them: (150,)."""
    return SimpleNet.load(model / "model.safetensors").score(features)


def test_ping_is_200_and_empty(port: int) -> None:
    """SageMaker waits "for an HTTP 200 status code and an empty body" (H13)."""
    status, _, body = engine.ask(port, "GET", "/ping")

    assert (200, b"") == (status, body)


def test_csv_rows_get_the_models_scores(
    port: int, features: np.ndarray, scores: np.ndarray
) -> None:
    """A score a line; the media type may have parameters (H24), and is the reply's too (H26)."""
    body = "".join(f"{x!r},{y!r}\n" for x, y in features.astype(float).tolist()).encode()
    headers = {"Content-Type": "text/csv; charset=utf-8"}
    status, media_type, reply = engine.ask(port, "POST", "/invocations", body, headers)

    assert (200, "text/csv") == (status, str(media_type).partition(";")[0])
    np.testing.assert_allclose(np.loadtxt(io.BytesIO(reply)), scores, rtol=1e-5)


def test_json_rows_get_the_models_scores(
    port: int, features: np.ndarray, scores: np.ndarray
) -> None:
    """One object with a prediction a row (H11)."""
    body = json.dumps({"instances": [{"features": row} for row in features.tolist()]}).encode()
    headers = {"Content-Type": "application/json"}
    status, media_type, reply = engine.ask(port, "POST", "/invocations", body, headers)
    predictions = json.loads(reply)["predictions"]

    assert (200, "application/json") == (status, media_type)
    np.testing.assert_allclose([one["score"] for one in predictions], scores, rtol=1e-5)
    assert scores.round().tolist() == [one["predicted_label"] for one in predictions]


def test_npy_rows_get_the_models_scores(
    port: int, features: np.ndarray, scores: np.ndarray
) -> None:
    """NumPy's own format, in and out: float32 of shape (rows, 1)."""
    body = io.BytesIO()
    np.save(body, features)
    headers = {"Content-Type": "application/x-npy"}
    status, media_type, reply = engine.ask(port, "POST", "/invocations", body.getvalue(), headers)
    array = np.load(io.BytesIO(reply), allow_pickle=False)

    assert (200, "application/x-npy") == (status, media_type)
    assert ((150, 1), np.float32) == (array.shape, array.dtype)
    np.testing.assert_allclose(array[:, 0], scores, rtol=1e-5)


def test_a_bad_row_is_the_callers_fault(port: int) -> None:
    """A 400 with its place, which SageMaker shows as OriginalMessage (H27); the server lives on."""
    status, _, body = engine.ask(port, "POST", "/invocations", b"1,2\n1,oops\n", CSV)

    assert 400 == status
    assert "line 2, column 2 is 'oops'" in json.loads(body)["error"]
    assert engine.healthy(port)


def test_sagemaker_may_choose_the_port(serving: Serving) -> None:
    """In an inference pipeline it is SAGEMAKER_BIND_TO_PORT's, as the image's label says (H12)."""
    with serving("--env", "SAGEMAKER_BIND_TO_PORT=9123", inside=9123) as (_, port):
        assert 200 == engine.ask(port, "POST", "/invocations", b"0.5,0.25\n", CSV)[0]


def test_no_network_is_needed(image: str, model: Path) -> None:
    """EnableNetworkIsolation leaves the container nothing to call (H47)."""
    ask = "from urllib.request import urlopen as u; print(u('http://127.0.0.1:8080/ping').status)"
    with engine.container(
        *("--network", "none", "--volume", f"{model}:/opt/ml/model:ro", image, "serve")
    ) as name:
        engine.wait_until(
            lambda: engine.exits_well("exec", name, "python", "-c", ask), "/ping answers inside"
        )


def test_sigterm_lets_a_request_finish(
    serving: Serving, features: np.ndarray, scores: np.ndarray
) -> None:
    """SIGTERM, and 30 s later SIGKILL (H3): PID 1 hears it (H2), takes no new request, answers the
    one that it has and exits with 0.
    """
    head = (
        "POST /invocations HTTP/1.1\r\nHost: model.aws.local:8080\r\nContent-Type: text/csv\r\n"
        "Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    body = "".join(f"{x!r},{y!r}\n" for x, y in features.astype(float).tolist()).encode()
    with serving() as (name, port), socket.create_connection(("127.0.0.1", port), 60) as client:
        program = engine.docker("exec", name, "cat", "/proc/1/cmdline")
        client.sendall(head.format(len(body)).encode())
        # Now a worker has the request, and waits for its body.
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        engine.docker("kill", "--signal", "TERM", name)
        engine.wait_until(lambda: not engine.healthy(port), "new requests are refused")
        client.sendall(body)
        with client.makefile("rb") as stream:
            reply = stream.read()
        code = engine.docker("wait", name)

    assert "gunicorn" in program.split("\0")[1]
    assert reply.startswith(b"HTTP/1.1 200 ")
    answered = np.loadtxt(io.BytesIO(reply.partition(b"\r\n\r\n")[2]))
    np.testing.assert_allclose(answered, scores, rtol=1e-5)
    assert "0" == code


@pytest.mark.parametrize(
    ("names", "there"),
    [(["model.pkl", "model"], "model.pkl"), ([], "nothing")],
    ids=["another file", "nothing"],
)
def test_without_a_model_nothing_listens(
    image: str, tmp_path: Path, names: list[str], there: str
) -> None:
    """The server ends at once (H16) with a sentence that says what is there instead (H7, X30)."""
    for name in names:
        (tmp_path / name).write_bytes(b"")
    job = engine.run("--volume", f"{tmp_path}:/opt/ml/model:ro", image, "serve")
    log = job.stdout + job.stderr

    assert 0 != job.returncode
    (sentence,) = [line for line in log.splitlines() if "model.safetensors" in line]
    assert there in sentence
    assert "Traceback" not in log
