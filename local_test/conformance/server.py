"""A container that serves, and requests to it."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.engine import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from conformance.engine import Engine

#: What is raised where a request gets no whole reply in time. Other errors are this machine's own.
NO_REPLY = (ConnectionError, TimeoutError, http.client.HTTPException)

PING_SECONDS = 2  # that `/ping` may take (H13)


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

    @property
    def media_type(self) -> str:
        """What the body is, without parameters; empty if the reply does not say so."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


_VARIES = "(it varies)"


class Ordinary:
    """What an ordinary request is answered with, as far as it is the same each time.

    Replies may have an id or the time in them. So where one differs from the first, another
    ordinary request is made: in what its reply differs too, any reply may.
    """

    def __init__(self, ask: Callable[[], Reply]) -> None:
        self._ask = ask
        self.first = ask()
        self._content = _content(self.first)
        self.varies = False

    def is_like(self, reply: Reply) -> bool:
        """Say whether a reply has the status, the type and all that does not vary."""
        return self.fits(reply) or (self.learn() and self.fits(reply))

    def fits(self, reply: Reply) -> bool:
        """Say so by what is known already."""
        first = self.first
        if (reply.status, reply.media_type) != (first.status, first.media_type):
            return False
        common = _common(self._content, _content(reply))
        return reply.body == first.body or bool(common == self._content)

    def learn(self) -> bool:
        """Ask once more; return whether there was something to learn."""
        before, reply = self._content, self._ask()
        if reply.status == self.first.status:
            self._content = _common(before, _content(reply))
        changed = bool(self._content != before)
        self.varies = self.varies or changed
        return changed


def _content(reply: Reply) -> Any:
    """Return what a body holds: JSON, or lines of cells."""
    try:
        return json.loads(reply.body)
    except ValueError:
        return [line.split(b",") for line in reply.body.splitlines(keepends=True)]


def _common(one: Any, other: Any) -> Any:
    """Return what two contents have in common."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {name: _common(one[name], other[name]) for name in one}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [_common(*pair) for pair in zip(one, other, strict=True)]
    return one if one == other else _VARIES


LINE_TYPES = ("text/csv", "application/jsonlines")


def enlarge(payload: Payload, size: int) -> Payload | None:
    """Return a payload of about that many bytes that can be scored, or None for unknown types."""
    kind = payload.content_type.partition(";")[0].strip().lower()
    if kind in LINE_TYPES:
        lines = payload.body.rstrip(b"\n") + b"\n"
        return Payload(lines * (size // len(lines) or 1), payload.content_type)
    if kind == "application/json":
        body = _repeated(payload.body, size)
        return Payload(body + b" " * (size - len(body)), payload.content_type)
    return None


def _repeated(document: bytes, size: int) -> bytes:
    """Return a document with its rows, of a list or of `instances`, so often that it has the size.

    What is no list of lists or objects may be one row, and stays as it is.
    """
    try:
        content = json.loads(document)
    except ValueError:
        return document
    rows = content.get("instances") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], (list, dict)):
        return document
    many = rows * (size // (len(json.dumps(rows)) + 2) or 1)
    return json.dumps({**content, "instances": many} if rows is not content else many).encode()


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


def _pings(address: tuple[str, int]) -> bool:
    try:
        with closing(http.client.HTTPConnection(*address, timeout=PING_SECONDS)) as connection:
            return exchange(connection, "GET", "/ping").status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


class Server:
    """One container that serves; it may be healthy or not."""

    def __init__(  # noqa: PLR0913 - each is a thing of its own
        self,
        engine: Engine,
        image: str,
        options: tuple[str, ...] = (),
        inside: int = 8080,
        *,
        published: bool = True,
        reply_seconds: float = 60,
    ) -> None:
        publish = ("--publish", f"127.0.0.1::{inside}") if published else ()
        self.container = engine.create(image, "serve", options=(*publish, *options))
        self._inside = inside
        self._published = published
        self._reply_seconds = reply_seconds
        self._address: tuple[str, int] | None = None
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
            self._address = self._find()
            if self.pings():
                self.healthy = True
                break
            time.sleep(0.05)
        self.seconds = time.monotonic() - started
        return self

    def _find(self) -> tuple[str, int] | None:
        if self._published:
            port = self.container.port(self._inside)
            return ("127.0.0.1", port) if port else None
        ip = self.container.ip()
        return (ip, self._inside) if ip else None

    def reaches_container(self) -> bool:
        """Say whether this machine reaches the container by its own address: not from macOS."""
        ip = self.container.ip()
        return ip is not None and _pings((ip, self._inside))

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
        if self._address is None:
            raise ConnectionError("the server does not run")
        return self._address

    def pings(self) -> bool:
        """Say whether `/ping` answers 200 within SageMaker's 2 s."""
        return self._address is not None and _pings(self._address)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request with SageMaker's Host header; an iterable body goes in chunks."""
        with self.connect() as connection:
            return exchange(connection, method, path, body, headers)

    @contextmanager
    def connect(self) -> Iterator[http.client.HTTPConnection]:
        """Give a connection, which waits for replies as long as they may take; close it at last."""
        with closing(
            http.client.HTTPConnection(*self.address, timeout=self._reply_seconds)
        ) as connection:
            connection.connect()
            yield connection

    def invoke(self, payload: Payload, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask for the scores of a body."""
        given = {"Content-Type": payload.content_type, **(headers or {})}
        return self.ask("POST", "/invocations", payload.body, given)

    def remove(self) -> None:
        """Remove the container."""
        self.container.remove()
