"""gunicorn's event-loop worker: connections that hold it up end, and refusals are ours."""

from __future__ import annotations

import logging
import uuid
import weakref
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import orjson
from gunicorn.asgi import protocol
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from simplenet import request_log

if TYPE_CHECKING:
    from collections.abc import Iterable


log = logging.getLogger(__name__)

# How long a client has after SIGTERM to read on: less than the grace that the others have.
_UNREAD_SECONDS = 5

# How long one connection too many may take to send a request, and so to be told.
_CROWDED_SECONDS = 2

_CROWDED = (
    "The server has as many connections as it may; try again in a second, "
    "or raise SIMPLENET_CONNECTIONS."
)


class Connection(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """One client's connection."""

    open: ClassVar[weakref.WeakSet[Connection]] = weakref.WeakSet()
    _crowded = False
    _unsent = 0
    _unsent_since = 0.0

    def connection_made(self, transport: Any) -> None:
        """Remember the connection."""
        super().connection_made(transport)
        self.open.add(self)
        # gunicorn's own begins with the second request: one that sends no first is let go, too.
        self._arm_keepalive_timer()
        if self.worker.nr_conns > self.cfg.worker_connections:
            # It is told so as soon as it has sent something: before, it might never read it.
            self._crowded = True
            self.worker.loop.call_later(_CROWDED_SECONDS, self._keepalive_timeout)

    def close_if_idle(self) -> None:
        """Close a connection on which no request is under way, as its time-out would."""
        if self._awaiting_request and not self._finishing_calls:
            self._keepalive_timeout()

    def drop_if_unread(self, seconds: float) -> None:
        """End a connection whose client has read nothing of what waits for it, for so long."""
        unsent = self.transport.get_write_buffer_size()
        now = self.worker.loop.time()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since >= seconds:
            self.transport.abort()

    def _is_websocket_upgrade(self, request: Any) -> bool:  # noqa: ARG002
        """Ignore the wish, as RFC 9110 allows (7.8): the application has no such protocol."""
        return False

    def _feed_callback_parser(self, data: bytes) -> bool:
        """Parse what has come; a number too long for Python to read is refused like any other."""
        if self._crowded:
            self._refuse(503, _CROWDED, (("Retry-After", "1"),))
            self._keepalive_timeout()
            return False
        try:
            parsed: bool = super()._feed_callback_parser(data)
        except ValueError:
            self._send_error_response(400, "a number in its head is too long")
            self._close_transport()
            return False
        return parsed

    def _send_error_response(
        self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Refuse what is no request for the application: one sentence in JSON, as it has them."""
        if self._closed:
            return  # nobody is there to read it
        found = message.encode(errors="replace").decode()[:200] or HTTPStatus(status).phrase
        sentence = f"The request is not HTTP as this server takes it: {found.rstrip('.')}."
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
            number = uuid.uuid4().hex[:12]
            log.error("error %s between HTTP and the application: %s", number, found)
            sentence = f"The server failed; its log says why under error {number}."
        self._refuse(status, sentence, extra_headers)

    def _refuse(self, status: int, sentence: str, extra_headers: Iterable[tuple[str, str]]) -> None:
        body = orjson.dumps({"error": sentence})
        fields = {
            "Content-Type": "application/json",
            "Content-Length": len(body),
            **dict(extra_headers),
            "Connection": "close",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._safe_write(
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode("latin-1") + body
        )
        environ = {"REQUEST_METHOD": "", "PATH_INFO": "", request_log.REASON: sentence}
        self.worker.asgi.tell(environ, status, 0, len(body), 0.0)


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """Answers what is in flight after SIGTERM, and waits for nothing else.

    gunicorn waits for all connections, those of clients that keep theirs for a next request too,
    and goes on to accept new ones for up to a second.
    """

    def notify(self) -> None:
        """Beat, once a second, and let the application do what no request makes it do."""
        super().notify()
        self.asgi.beat()
        for connection in list(Connection.open):
            connection.drop_if_unread(self.cfg.timeout)

    def handle_exit_signal(self) -> None:
        """Stop."""
        super().handle_exit_signal()
        for server in self.servers:
            server.close()
        self._close_what_holds_up()

    def _close_what_holds_up(self) -> None:
        """Close, once a second after SIGTERM, what is idle, and what nobody reads."""
        for connection in list(Connection.open):
            connection.close_if_idle()
            connection.drop_if_unread(_UNREAD_SECONDS)
        self.loop.call_later(1, self._close_what_holds_up)


# gunicorn makes its connections of the class of this name.
gasgi.ASGIProtocol = Connection

# gunicorn calls what is not in its table, 406 and 507 of ours, "Unknown".
for each in HTTPStatus:
    protocol._REASON_PHRASES.setdefault(each.value, each.phrase)  # noqa: SLF001
