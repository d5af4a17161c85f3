"""The running container, asked as SageMaker asks it, and abused as nobody should."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
from simplenet import job
from simplenet.paths import Paths
from simplenet.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

CSV = {"Content-Type": "text/csv"}


def docker(*arguments: str) -> str:
    """Return what a Docker command prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Ask until it is so; a minute is for ever."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        threading.Event().wait(0.05)


class Server:
    """A container that serves."""

    def __init__(self, name: str) -> None:
        self.name = name
        port = int(docker("port", name).split("->")[1].split(":")[1].split()[0])
        self.address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"

    def answers(self) -> bool:
        """Say whether the server is up."""
        try:
            return requests.get(f"{self.url}/ping", timeout=2).status_code == 200
        except requests.RequestException:
            assert "false" != docker("inspect", "--format", "{{.State.Running}}", self.name)
            return False

    def score(self, body: Any, **headers: str) -> requests.Response:
        """Invoke the model."""
        return requests.post(
            f"{self.url}/invocations",
            data=body,
            headers=CSV | {key.replace("_", "-"): text for key, text in headers.items()},
            timeout=60,
        )

    def workers(self) -> list[int]:
        """Return the workers' process ids, as the container numbers them."""
        script = (
            "import glob\n"
            "for path in glob.glob('/proc/[0-9]*/stat'):\n"
            "    fields = open(path).read().rpartition(')')[2].split()\n"
            "    if fields[1] == '1': print(path.split('/')[2])\n"
        )
        found = docker("exec", self.name, "python", "-c", script).split()
        # `docker exec` itself has no parent in the container.
        return [int(pid) for pid in found]

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the requests' log."""
        lines = docker("logs", self.name).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def errors(self) -> str:
        """Return what gunicorn says."""
        done = subprocess.run(
            ["docker", "logs", self.name], capture_output=True, text=True, check=True
        )
        return done.stderr

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and return all that comes back until the server closes."""
        with socket.create_connection(self.address, timeout=30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def serving(image: str, opt_ml: Path, *options: str) -> Iterator[Server]:
    """Run the image's `serve` over a made `/opt/ml`, read-only, as SageMaker mounts it."""
    name = f"simplenet-serving-{uuid.uuid4().hex[:8]}"
    docker(
        *("run", "--detach", "--name", name, "--publish", "127.0.0.1::8080"),
        *("--volume", f"{opt_ml}:/opt/ml:ro", *options, image, "serve"),
    )
    try:
        server = Server(name)
        wait_until(server.answers, f"{name} answers /ping")
        yield server
    finally:
        docker("rm", "--force", name)


@pytest.fixture(scope="module")
def opt_ml(tmp_path_factory: pytest.TempPathFactory, moon_rows: np.ndarray) -> Path:
    """An `/opt/ml` with a trained model, and the same as a multi-model endpoint has it."""
    paths = Paths(tmp_path_factory.mktemp("serving"))
    (paths.channels / "train").mkdir(parents=True)
    np.savetxt(paths.channels / "train" / "train.csv", moon_rows, delimiter=",")
    job.train(paths, Stop())
    for name in ("a", "b"):
        directory = paths.models / name / "model"
        directory.mkdir(parents=True)
        (directory / "model.safetensors").write_bytes(paths.model_file.read_bytes())
    paths.root.chmod(0o755)  # any user may serve it
    return paths.root


@pytest.fixture(scope="module")
def server(image: str, opt_ml: Path) -> Iterator[Server]:
    """One container for all tests that leave it as it was, locked down as far as it goes."""
    locks = ("--read-only", "--tmpfs", "/tmp", "--user", "12345", "--cap-drop", "ALL")  # noqa: S108
    with serving(image, opt_ml, *locks) as server:
        yield server


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_ping_is_200_and_empty(server: Server, method: str) -> None:
    """A container is healthy that answers /ping with HTTP 200 and an empty body (H13, H15)."""
    reply = requests.request(method, f"{server.url}/ping", timeout=2)

    assert (200, b"") == (reply.status_code, reply.content)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("", {}, 400),
        ("a,b", {}, 400),
        ("1,nan", {}, 400),
        ("1,1e99", {}, 400),
        ("1,2,3", {}, 400),
        ("1,2\n3", {}, 400),
        (b"\xff\xfe,2", {}, 400),
        ("[" * 1_000_000, {"Content_Type": "application/json"}, 400),
        ("1,2", {"Accept": "image/png"}, 406),
        ("1,2", {"Content_Type": "image/png"}, 415),
        (b"\x1f\x8b\x08", {"Content_Encoding": "gzip"}, 415),
    ],
)
def test_a_bad_request_is_a_sentence(
    server: Server, body: Any, headers: dict[str, str], status: int
) -> None:
    """The caller gets one sentence, and the next caller is served (H27)."""
    reply = server.score(body, **headers)

    assert status == reply.status_code
    assert ["error"] == [*reply.json()]
    assert 200 == server.score("1,2").status_code


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


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1,2",
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n1,2",
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n1,2",
        b"POST /invo",
        b"\x00\x01\x02\r\n\r\n",
    ],
)
def test_a_request_that_lies_or_ends_early_harms_nobody(server: Server, request_: bytes) -> None:
    """Its connection ends; the server lives on, and answers others."""
    before = server.workers()
    reply = server.raw(request_)

    assert not reply.startswith(b"HTTP/1.1 5")
    assert not reply.startswith(b"HTTP/1.1 2")
    assert 200 == server.score("1,2").status_code
    assert before == server.workers()


def test_a_gigabyte_is_refused_without_being_kept(server: Server) -> None:
    """The body is read and dropped, so that the client gets to read why (B8)."""
    chunk = b"1,2\n" * (1 << 18)
    reply = server.score(chunk for _ in range(1 << 10))
    memory = int(
        docker("exec", server.name, "python", "-c", PEAK_KB).strip()
    )  # of the worst worker

    assert 413 == reply.status_code
    assert "send fewer rows" in reply.json()["error"]
    assert memory < 1 << 20


PEAK_KB = """
import glob, re
print(max(int(re.search(r"VmHWM:\\s+(\\d+)", open(path).read())[1])
    for path in glob.glob("/proc/[0-9]*/status")))
"""


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
            assert 200 == requests.get(f"{server.url}/ping", timeout=2).status_code
            assert 200 == server.score("1,2").status_code


def test_ping_is_answered_while_the_only_worker_scores(image: str, opt_ml: Path) -> None:
    """Large bodies are scored beside the event loop, which answers in between (H13, H17)."""
    body = "[" + ",".join(["[0.123456,0.654321]"] * 300_000) + "]"  # SageMaker's 6 MB (H18)
    replies: list[int] = []

    def score(server: Server) -> None:
        reply = server.score(body, Content_Type="application/json", Accept="application/x-npy")
        replies.append(reply.status_code)

    pings_in_between = 0
    with serving(image, opt_ml, "--env", "SAGEMAKER_MODEL_SERVER_WORKERS=1") as server:
        threads = [threading.Thread(target=score, args=(server,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(replies) < len(threads):
            assert 200 == requests.get(f"{server.url}/ping", timeout=60).status_code
            pings_in_between += len(replies) < len(threads)
        for thread in threads:
            thread.join()

    assert [200] * 8 == replies
    assert pings_in_between


def test_custom_attributes_come_back(server: Server) -> None:
    """Whoever does not set them in the response returns an empty value (H22)."""
    reply = server.score("1,2", X_Amzn_SageMaker_Custom_Attributes="trace=a b;c")

    assert "trace=a b;c" == reply.headers["X-Amzn-SageMaker-Custom-Attributes"]


def test_each_request_is_one_line_of_the_log(server: Server) -> None:
    """Status, rows, bytes, types and the inference id, and no payload; `/ping` has no line."""
    server.score("1.25,2\n3,4", X_Amzn_SageMaker_Inference_Id="one")
    wait_until(lambda: [line for line in server.log() if line.get("inference_id") == "one"], "log")
    (line,) = [line for line in server.log() if line.get("inference_id") == "one"]

    assert ("POST", "/invocations", 200, 2, "text/csv") == tuple(
        line[key] for key in ("method", "path", "status", "rows", "content_type")
    )
    assert "1.25" not in json.dumps(line)
    assert not [line for line in server.log() if line["path"] == "/ping"]


def test_a_killed_worker_is_replaced(image: str, opt_ml: Path) -> None:
    """Others see no more than their own request fail."""
    with serving(image, opt_ml, "--env", "SAGEMAKER_MODEL_SERVER_WORKERS=2") as server:
        before = server.workers()
        docker("exec", server.name, "python", "-c", f"import os; os.kill({before[0]}, 9)")
        wait_until(lambda: len(server.workers()) == 2 and server.workers() != before, "two again")

        assert [200] * 20 == [server.score("1,2").status_code for _ in range(20)]


def test_sigterm_ends_an_idle_server_at_once(image: str, opt_ml: Path) -> None:
    """A client that keeps its connection does not hold it up, and it exits with 0 (H3)."""
    with serving(image, opt_ml) as server, requests.Session() as session:
        session.post(f"{server.url}/invocations", data="1,2", headers=CSV, timeout=60)
        docker("stop", "--time", "20", server.name)
        state = docker("inspect", "--format", "{{.State.ExitCode}}", server.name)

        assert "0" == state


def test_sigterm_lets_requests_in_flight_finish(image: str, opt_ml: Path) -> None:
    """Whoever has sent half of a body may send the rest (H3)."""
    with serving(image, opt_ml, "--env", "SAGEMAKER_MODEL_SERVER_WORKERS=1") as server:
        with socket.create_connection(server.address, timeout=30) as connection:
            connection.sendall(
                b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
                b"Content-Length: 3\r\n\r\n1,"
            )
            # A later connection's reply says that the earlier one's bytes were read.
            server.score("1,2")
            docker("kill", "--signal", "TERM", server.name)
            wait_until(lambda: "Worker shutting down" in server.errors(), "no more connections")
            connection.sendall(b"2")
            reply = connection.recv(65536)

        assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
        assert "0" == docker("wait", server.name)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "There is no model: /opt/ml/model holds nothing; expected model.safetensors"),
        (("--env", "SIMPLENET_BAD_RECORDS=x"), "SIMPLENET_BAD_RECORDS is 'x'; expected fail or"),
        (("--env", "SAGEMAKER_BIND_TO_PORT=x"), "SAGEMAKER_BIND_TO_PORT is 'x'; expected a whole"),
    ],
)
def test_a_server_that_cannot_serve_ends_with_a_sentence(
    image: str, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    """Before the model is loaded nothing listens (H16)."""
    (tmp_path / "model").mkdir()
    done = subprocess.run(
        ["docker", "run", "--rm", "-v", f"{tmp_path}:/opt/ml:ro", *options, image, "serve"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 != done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pipeline_names_the_port(image: str, opt_ml: Path) -> None:
    """Listen on SAGEMAKER_BIND_TO_PORT if it is set (H12)."""
    name = f"simplenet-serving-{uuid.uuid4().hex[:8]}"
    docker(
        *("run", "--detach", "--name", name, "--publish", "127.0.0.1::21000"),
        *("--env", "SAGEMAKER_BIND_TO_PORT=21000", "--volume", f"{opt_ml}:/opt/ml:ro"),
        *(image, "serve"),
    )
    try:
        wait_until(Server(name).answers, "the other port answers")
    finally:
        docker("rm", "--force", name)


def test_serverless_is_small_and_has_no_shared_memory(image: str, opt_ml: Path) -> None:
    """1 GB, one core, any uid, nothing written but /tmp, no /dev/shm (H42, H50)."""
    with serving(
        *(image, opt_ml, "--memory", "1g", "--cpus", "1", "--user", "12345", "--read-only"),
        *("--tmpfs", "/tmp", "--tmpfs", "/dev/shm:ro", "--cap-drop", "ALL"),  # noqa: S108
    ) as server:
        assert 1 == len(server.workers())
        assert 200 == server.score("1,2").status_code


def test_models_come_and_go_in_all_workers(image: str, opt_ml: Path) -> None:
    """Load, list, invoke and unload, whichever worker is asked (H38, H39, H40)."""
    options = ("--env", "SAGEMAKER_MULTI_MODEL=true", "--env", "SAGEMAKER_MODEL_SERVER_WORKERS=2")
    with serving(image, opt_ml, *options) as server:
        models = f"{server.url}/models"
        asked = {"model_name": "one", "url": "/opt/ml/models/a/model"}

        def status(method: str, path: str, **rest: Any) -> int:
            return requests.request(method, models + path, timeout=60, **rest).status_code

        assert 404 == status("POST", "/one/invoke", data="1,2", headers=CSV)
        assert 200 == status("POST", "", json=asked)
        assert 409 == status("POST", "", json=asked)
        assert {200} == {status("POST", "/one/invoke", data="1,2", headers=CSV) for _ in range(20)}
        assert {"models": [{"modelName": "one", "modelUrl": asked["url"]}]} == requests.get(
            models, timeout=60
        ).json()
        assert 400 == status("POST", "", json={"model_name": "x", "url": "/opt/ml/models/../model"})
        assert 200 == status("DELETE", "/one")
        assert {404} == {status("POST", "/one/invoke", data="1,2", headers=CSV) for _ in range(20)}
        assert 404 == status("DELETE", "/one")


def test_metrics_are_the_sum_over_all_workers(image: str, opt_ml: Path) -> None:
    """Detailed observability scrapes them where they are asked for, and only there (H30)."""
    options = ("--env", "SIMPLENET_METRICS=true", "--env", "SAGEMAKER_MODEL_SERVER_WORKERS=2")
    with serving(image, opt_ml, *options) as server:
        for _ in range(20):
            server.score("1,2\n3,4")
        text = requests.get(f"{server.url}/metrics", timeout=60).text

        assert 'simplenet_requests_total{status="200"} 20.0' in text
        assert "simplenet_rows_total 40.0" in text


def test_there_are_no_metrics_unless_asked_for(server: Server) -> None:
    """Any other path is 404 (H30)."""
    assert 404 == requests.get(f"{server.url}/metrics", timeout=60).status_code
