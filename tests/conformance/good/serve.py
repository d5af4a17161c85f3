#!/usr/local/bin/python -u
"""A server that keeps every rule, in the standard library alone.

Each bad image is this one with a line or two changed (see bad.py), so a line does one thing.
"""

import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
MULTI_MODEL = os.environ.get("SAGEMAKER_MULTI_MODEL") == "true"
PARAMETERS = {"MaxConcurrentTransforms": 4, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}

MOST_BYTES = 32 << 20  # of a model's file; the networks of this server are small

models: dict[str, tuple[str, list[float]]] = {}
idle: set[socket.socket] = set()  # the connections on which nothing is asked


def load(directory: str) -> list[float]:
    """Read the model of a directory."""
    means: list[float] = json.loads((Path(directory) / "model.json").read_text())
    return means


def score(means: list[float], body: bytes) -> bytes:
    """Answer each line with a line."""
    scores = []
    for number, line in enumerate(body.decode().splitlines(), 1):
        cells = line.split(",")
        if len(cells) != len(means):
            raise ValueError(f"line {number} has {len(cells)} columns, expected {len(means)}")
        scores.append(sum(float(x) - mean for x, mean in zip(cells, means, strict=True)))
    return "".join(f"{value}\n" for value in scores).encode()


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        """Wait for a request, as long as the server does not end."""
        idle.add(self.connection)
        try:
            super().handle_one_request()
        finally:
            idle.discard(self.connection)

    def parse_request(self) -> bool:
        """Read the head of one that has come."""
        idle.discard(self.connection)
        return super().parse_request()

    def body(self) -> bytes:
        """Read a body, whole or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self, status: int, body: bytes = b"", content_type: str = "text/csv") -> None:
        """Send a reply."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        attributes = self.headers.get("X-Amzn-SageMaker-Custom-Attributes")
        if attributes:
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", attributes)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def document(self, status: int, content: object) -> None:
        """Send a reply in JSON."""
        self.answer(status, json.dumps(content).encode(), "application/json")

    def invoke(self, means: list[float]) -> None:
        """Send the scores of a body, or what is wrong with it."""
        body = self.body()
        kind = self.headers.get("Content-Type", "text/csv").partition(";")[0].strip().lower()
        if kind != "text/csv":
            self.answer(415, b"The content type is not known; expected text/csv.", "text/plain")
            return
        if self.headers.get("Accept", "*/*").partition(";")[0] not in {"*/*", "text/csv"}:
            self.answer(406, b"Accept is not known; expected text/csv.", "text/plain")
            return
        try:
            self.answer(200, score(means, body))
        except ValueError as error:
            self.answer(400, str(error).encode(), "text/plain")

    def do_GET(self) -> None:
        """Answer what only reads."""
        name = self.path.removeprefix("/models/")
        if self.path == "/ping":
            self.answer(200)
        elif self.path == "/execution-parameters":
            self.document(200, PARAMETERS)
        elif self.path == "/invocations":
            self.answer(405, b"Expected POST.", "text/plain")
        elif MULTI_MODEL and self.path == "/models":
            listed = [{"modelName": name, "modelUrl": url} for name, (url, _) in models.items()]
            self.document(200, {"models": listed})
        elif MULTI_MODEL and name in models:
            self.document(200, {"modelName": name, "modelUrl": models[name][0]})
        else:
            self.answer(404)

    def do_HEAD(self) -> None:
        """Answer as GET, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer what has a body."""
        name = self.path.removeprefix("/models/").removesuffix("/invoke")
        if self.path == "/invocations" and not MULTI_MODEL:
            self.invoke(models[""][1])
        elif MULTI_MODEL and self.path == "/models":
            self.load_model(json.loads(self.body()))
        elif MULTI_MODEL and name in models:
            self.invoke(models[name][1])
        else:
            self.body()
            self.answer(404)

    def do_DELETE(self) -> None:
        """Unload a model."""
        found = models.pop(self.path.removeprefix("/models/"), None)
        self.answer(200 if found else 404)

    def load_model(self, asked: dict[str, str]) -> None:
        """Load a model of the multi-model endpoint."""
        if asked["model_name"] in models:
            self.answer(409)
        elif (Path(asked["url"]) / "model.json").stat().st_size > MOST_BYTES:
            self.answer(507)
        else:
            models[asked["model_name"]] = (asked["url"], load(asked["url"]))
            self.answer(200)


class Server(ThreadingHTTPServer):
    """A server that finishes the requests that it has."""

    daemon_threads = False
    request_queue_size = 128


def end(*_: object) -> None:
    """Stop listening, and wait for no client that asks nothing."""
    threading.Thread(target=server.shutdown).start()
    for connection in list(idle):
        with suppress(OSError):  # it is closed by now
            connection.shutdown(socket.SHUT_RD)


if not MULTI_MODEL:
    models[""] = ("/opt/ml/model", load("/opt/ml/model"))
server = Server(("0.0.0.0", PORT), Handler)  # noqa: S104
signal.signal(signal.SIGTERM, end)
server.serve_forever()
server.server_close()
sys.exit(0)
