"""The life of a server: what it bears, what ends it, and what it is set to."""

from __future__ import annotations

import io
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
from simplenet.model import SimpleNet

from tests import engine
from tests.image.server import Server, serving
from tests.server import CSV

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.conftest import Moons

pytestmark = pytest.mark.docker

ONE_WORKER = ("--env", "SAGEMAKER_MODEL_SERVER_WORKERS=1")
TWO_WORKERS = ("--env", "SAGEMAKER_MODEL_SERVER_WORKERS=2")


class Load:
    """Clients that invoke the model again and again, until they are told to stop."""

    def __init__(self, server: Server, clients: int = 8) -> None:
        self.statuses: list[int] = []
        self.lost = 0
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        engine.wait_until(lambda: len(self.statuses) > 200, "the load is under way")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.statuses.append(self._server.score("1,2").status_code)
            except requests.RequestException:  # noqa: PERF203  # each request fails for itself
                self.lost += 1


def test_ping_is_answered_while_the_only_worker_scores(image: str, served: Path) -> None:
    """Large bodies are scored beside the event loop, a piece at a time, and `/ping`, which has 2 s,
    comes in between (H13, H17); nothing ends a request for its length (H41, B9).
    """
    rows = ", ".join(['{"features": [0.123456, 0.654321]}'] * 500_000)  # 20 MB
    body = f'{{"instances": [{rows}]}}'
    headers = {"Content_Type": "application/json", "Accept": "application/x-npy"}
    pings = 0
    with serving(image, served, *ONE_WORKER) as server, ThreadPoolExecutor(4) as clients:
        replies = [clients.submit(server.score, body, **headers) for _ in range(4)]
        while not all(reply.done() for reply in replies):
            assert 200 == server.ping()
            pings += 1

    assert [200] * 4 == [reply.result().status_code for reply in replies]
    assert pings > 1


def test_a_slow_client_is_waited_for_and_a_stalled_one_is_told(image: str, served: Path) -> None:
    """The time-out is for a client that sends nothing at all: asynchronous inference's 1 GB may
    take as long as it takes (H41).
    """
    seconds = 4
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 35"
    with (
        serving(image, served, "--env", f"SAGEMAKER_MODEL_SERVER_TIMEOUT={seconds}") as server,
        socket.create_connection(server.address, timeout=60) as slow,
        socket.create_connection(server.address, timeout=60) as stalled,
    ):
        for client in (slow, stalled):
            client.sendall(head + b"\r\nConnection: close\r\n\r\n1,2")
        for _ in range(2 * seconds):
            threading.Event().wait(0.75)
            slow.sendall(b"\n1,2")
        with slow.makefile("rb") as stream:
            answered = stream.read()
        with stalled.makefile("rb") as stream:
            told = stream.read()

    assert answered.startswith(b"HTTP/1.1 200 ")
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"The body stopped before its end' in told


def test_a_worker_killed_under_load_is_replaced(image: str, served: Path) -> None:
    """Others see no more than their own request fail."""
    with serving(image, served, *TWO_WORKERS) as server:
        before = server.workers()
        with Load(server) as load:
            server.inside(f"import os; os.kill({before[0]}, 9)")
            engine.wait_until(
                lambda: len(server.workers()) == 2 and server.workers() != before, "two again"
            )
            answered = len(load.statuses)
            engine.wait_until(lambda: len(load.statuses) > answered + 200, "the load goes on")

        assert {200} == {*load.statuses}
        assert load.lost <= 8  # a client has one request under way


def test_sigterm_under_load_answers_what_is_in_flight(image: str, served: Path) -> None:
    """Every request that was taken is answered, and the exit code is 0 (H3)."""
    with serving(image, served, *TWO_WORKERS) as server:
        with Load(server) as load:
            code = server.stop()
        log = server.log()

    assert "0" == code
    assert {200} == {*load.statuses}
    # What the log has as answered was received: no reply was cut off.
    assert sum(line["status"] == 200 for line in log) == len(load.statuses)


def test_sigterm_ends_an_idle_server_at_once(image: str, served: Path) -> None:
    """A client that keeps its connection does not hold it up, and it exits with 0 (H3)."""
    with serving(image, served) as server, requests.Session() as session:
        session.post(f"{server.url}/invocations", data="1,2", headers=CSV, timeout=60)

        assert "0" == server.stop()


def test_a_client_that_does_not_read_is_let_go(image: str, served: Path) -> None:
    """Its reply is kept no longer than a body is waited for (H17)."""
    connections = (
        "print(sum(' 01 ' in line and ':1F90 ' in line for line in open('/proc/net/tcp')))"
    )
    options = (*ONE_WORKER, "--env", "SAGEMAKER_MODEL_SERVER_TIMEOUT=3")
    with serving(image, served, *options) as server, ExitStack() as stack:
        server.leave_unread(stack)
        engine.wait_until(lambda: server.inside(connections) == "0", "its connection is closed")

        assert 200 == server.score("1,2").status_code


def test_sigterm_lets_a_request_finish(image: str, served: Path, moons: Moons) -> None:
    """PID 1 is gunicorn and hears SIGTERM (H2); whoever has sent half of a body may send the rest,
    and gets his scores (H3).
    """
    features = moons.test_features.astype(np.float32)
    scores = SimpleNet.load(served / "model" / "model.safetensors").score(features)
    body = "".join(f"{x!r},{y!r}\n" for x, y in features.astype(float).tolist()).encode()
    head = (
        "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with serving(image, served, *ONE_WORKER) as server:
        program = server.inside("print(open('/proc/1/cmdline').read())")
        with socket.create_connection(server.address, timeout=30) as client:
            client.sendall(head.encode() + body[:100])
            # A later connection's reply says that the earlier one's bytes were read.
            server.score("1,2")
            engine.docker("kill", "--signal", "TERM", server.name)
            engine.wait_until(lambda: not engine.healthy(server.port), "new requests are refused")
            client.sendall(body[100:])
            with client.makefile("rb") as stream:
                reply = stream.read()

        assert "gunicorn" in program.split("\0")[1]
        assert reply.startswith(b"HTTP/1.1 200 ")
        answered = np.loadtxt(io.BytesIO(reply.partition(b"\r\n\r\n")[2]))
        np.testing.assert_allclose(answered, scores, atol=1e-6)
        assert "0" == server.code()


def test_sigterm_is_heard_from_the_first_moment(image: str, served: Path) -> None:
    """PID 1 never hears of a signal that comes before it asks to: it waits, blocked, and a server
    that is stopped while it starts ends with 0 as well (H3).
    """
    with engine.container("--volume", f"{served}:/opt/ml:ro", image, "serve") as name:
        engine.wait_until(
            lambda: "gunicorn" in Path(f"/proc/{_pid(name)}/cmdline").read_text("utf-8"),
            "the shell has become gunicorn",
        )
        engine.docker("stop", "--time", "30", name)

        assert "0" == engine.docker("wait", name)


def _pid(name: str) -> str:
    return engine.docker("inspect", "--format", "{{.State.Pid}}", name)


def test_models_come_and_go_in_all_workers(image: str, served: Path) -> None:
    """Load, list, invoke and unload, whichever worker is asked (H37 to H40)."""
    with serving(image, served, "--env", "SAGEMAKER_MULTI_MODEL=true", *TWO_WORKERS) as server:
        models = f"{server.url}/models"
        asked = {"model_name": "one", "url": "/opt/ml/models/a/model"}

        def status(method: str, path: str, **rest: Any) -> int:
            return requests.request(method, models + path, timeout=60, **rest).status_code

        def invoke() -> set[int]:
            """Ask often enough, by new connections, to have asked every worker."""
            return {status("POST", "/one/invoke", data="1,2", headers=CSV) for _ in range(20)}

        assert {404} == invoke()
        assert 200 == status("POST", "", json=asked)
        assert {409} == {status("POST", "", json=asked) for _ in range(20)}
        assert {200} == invoke()
        assert {"models": [{"modelName": "one", "modelUrl": asked["url"]}]} == requests.get(
            models, timeout=60
        ).json()
        assert 400 == status("POST", "", json={"model_name": "x", "url": "/opt/ml/models/../model"})
        assert 200 == status("DELETE", "/one")
        assert {404} == invoke()
        assert 404 == status("DELETE", "/one")
        assert 404 == requests.get(f"{server.url}/invocations", timeout=60).status_code


def test_unloading_frees_the_memory_of_every_worker(image: str, tmp_path: Path) -> None:
    """SageMaker unloads a model to have its memory (H39); no worker waits for a request to do so,
    and one that can never fit is 507 (H38).
    """
    megabytes = 64
    net = SimpleNet(2, hidden_dim=(megabytes << 20) // 16)  # two weights and a bias in, one out
    net.save(tmp_path / "models" / "large" / "model" / "model.safetensors")
    for directory in (tmp_path, *tmp_path.rglob("*")):
        directory.chmod(0o755)
    multi = ("--env", "SAGEMAKER_MULTI_MODEL=true", *TWO_WORKERS)
    url = "/opt/ml/models/large/model"
    with serving(image, tmp_path, *multi) as server:
        engine.wait_until(lambda: len(server.workers()) == 2, "both workers are there")
        before = server.memory()
        models = f"{server.url}/models"
        requests.post(models, json={"model_name": "a", "url": url}, timeout=60)
        engine.wait_until(
            lambda: (
                requests.post(f"{models}/a/invoke", data="1,2", headers=CSV, timeout=60).ok
                and _grown(before, server.memory(), megabytes // 2) == 2
            ),
            "both workers hold the model",
        )
        requests.delete(f"{models}/a", timeout=60)
        engine.wait_until(
            lambda: not _grown(before, server.memory(), megabytes // 2), "neither holds it"
        )
    with serving(image, tmp_path, *multi, "--env", "SIMPLENET_MODELS_MB=1") as server:
        loaded = requests.post(
            f"{server.url}/models", json={"model_name": "a", "url": url}, timeout=60
        )

        assert (507, "Insufficient Storage") == (loaded.status_code, loaded.reason)


def _grown(before: list[int], now: list[int], megabytes: int) -> int:
    """Return how many workers hold that much more than before."""
    return sum(most - least > megabytes << 20 for least, most in zip(before, now, strict=True))


def test_batch_transform_may_mark_bad_records_and_set_the_limit(image: str, served: Path) -> None:
    """What CreateTransformJob sets arrives as variables, `true` in any case (B2, B8, B10, B17)."""
    batch = {
        "SAGEMAKER_BATCH": "True",
        "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "4",
        "SIMPLENET_BAD_RECORDS": "mark",
    }
    options = [f"--env={name}={text}" for name, text in batch.items()]
    with serving(image, served, *options) as server:
        lines = server.score("1,2\nx,2\n\n3,4\n").text.splitlines()
        too_large = server.score("1,2\n" * (1 << 19))

    assert ["ERROR", "ERROR"] == lines[1:3]
    assert 4 == len(lines)
    assert 413 == too_large.status_code
