"""Whatever serves at a port of this machine, and what a test asks of it."""

from __future__ import annotations

import io
import json
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import requests

from tests import engine

if TYPE_CHECKING:
    from contextlib import ExitStack

CSV = {"Content-Type": "text/csv"}


class Server(ABC):
    """A server that runs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"

    @abstractmethod
    def output(self) -> str:
        """Return all that it has written so far."""

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the requests' log."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def score(self, body: Any, **headers: str) -> requests.Response:
        """Invoke the model."""
        return requests.post(
            f"{self.url}/invocations",
            data=body,
            headers=CSV | {key.replace("_", "-"): text for key, text in headers.items()},
            timeout=60,
        )

    def ping(self) -> int:
        """Ask for /ping as SageMaker does, which waits 2 s (H13)."""
        return requests.get(f"{self.url}/ping", timeout=2).status_code

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and return all that comes back until the server closes."""
        with socket.create_connection(self.address, timeout=30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def leave_unread(self, stack: ExitStack) -> None:
        """Ask for a reply that no buffer holds, and read nothing of it."""
        file = io.BytesIO()
        np.save(file, np.zeros((1_000_000, 2), np.int8))
        body = file.getvalue()
        client = stack.enter_context(socket.create_connection(self.address, timeout=60))
        client.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-npy\r\n"
            b"Accept: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        engine.wait_until(
            lambda: any(line.get("rows") == 1_000_000 for line in self.log()), "it is scored"
        )
