"""A container that serves, and requests to it."""

from __future__ import annotations

import http.client
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.engine import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from conformance.engine import Engine


@dataclass(frozen=True)
class Payload:
    """A body that the model can score, and its media type."""

    body: bytes
    content_type: str


@dataclass(frozen=True)
class Reply:
    """What the server answers."""

    status: int
    headers: Mapping[str, str]  #: by lower-case name
    body: bytes
    seconds: float

    def __str__(self) -> str:
        """Return the status and the beginning of the body."""
        return f"HTTP {self.status} after {self.seconds:.2f} s: {self.body[:200]!r}"


LINE_TYPES = ("text/csv", "application/jsonlines")


def enlarge(payload: Payload, size: int) -> Payload | None:
    """Return a payload of about that many bytes that can be scored, or None for unknown types."""
    kind = payload.content_type.partition(";")[0].strip().lower()
    if kind in LINE_TYPES:
        lines = payload.body.rstrip(b"\n") + b"\n"
        return Payload(lines * (size // len(lines) or 1), payload.content_type)
    if kind == "application/json":
        return Payload(payload.body + b" " * (size - len(payload.body)), payload.content_type)
    return None


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on a connection, and read the reply."""
    sent = time.monotonic()
    connection.request(method, path, body, {"Host": "model.aws.local:8080", **(headers or {})})
    return receive(connection, sent)


def receive(connection: http.client.HTTPConnection, sent: float) -> Reply:
    """Read the reply to a request that was sent at that time."""
    reply = connection.getresponse()
    content = reply.read()
    named = {name.lower(): text for name, text in reply.getheaders()}
    return Reply(reply.status, named, content, time.monotonic() - sent)


class Server:
    """One container that serves; it may be healthy or not."""

    def __init__(
        self, engine: Engine, image: str, options: tuple[str, ...] = (), inside: int = 8080
    ) -> None:
        publish = ("--publish", f"127.0.0.1::{inside}")
        self.container = engine.create(image, "serve", options=(*publish, *options))
        self._inside = inside
        self._port: int | None = None
        self._refusal = ""
        self.seconds = 0.0
        self.healthy = False

    def start(self, seconds: float) -> Server:
        """Start the program, and wait until `/ping` answers 200, it ends, or time is up."""
        started = time.monotonic()
        try:
            self.container.start()
        except StartError as error:
            self._refusal = str(error)
            return self
        while time.monotonic() < started + seconds and self.container.exit_code is None:
            self._port = self.container.port(self._inside)
            if self.pings():
                self.healthy = True
                break
            time.sleep(0.05)
        self.seconds = time.monotonic() - started
        return self

    @property
    def end(self) -> str:
        """How it fared, in words, with the last line of its log."""
        last = (self.log.strip().splitlines() or ["nothing"])[-1]
        code = None if self._refusal else self.container.exit_code
        how = f"the server exits with {code}" if code is not None else "/ping does not answer 200"
        return f"{how} after {self.seconds:.1f} s; the end of its log: {last}"

    @property
    def log(self) -> str:
        """What the program wrote so far."""
        return self._refusal or self.container.log()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens.

        Raises:
            ConnectionError: if it no longer runs.
        """
        if self._port is None:
            raise ConnectionError("the server does not run")
        return "127.0.0.1", self._port

    def pings(self) -> bool:
        """Say whether `/ping` answers 200 within SageMaker's 2 s."""
        try:
            return self.ask("GET", "/ping", timeout=2).status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 60,
    ) -> Reply:
        """Send one request with SageMaker's Host header; an iterable body goes in chunks."""
        with self.connect(timeout) as connection:
            return exchange(connection, method, path, body, headers)

    @contextmanager
    def connect(self, timeout: float = 60) -> Iterator[http.client.HTTPConnection]:
        """Give a connection; close it in the end."""
        with closing(http.client.HTTPConnection(*self.address, timeout=timeout)) as connection:
            connection.connect()
            yield connection

    def invoke(self, payload: Payload, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask for the scores of a body."""
        given = {"Content-Type": payload.content_type, **(headers or {})}
        return self.ask("POST", "/invocations", payload.body, given)

    def remove(self) -> None:
        """Remove the container."""
        self.container.remove()
