"""gunicorn's event-loop worker: idle connections end on SIGTERM, and refusals are ours."""

from __future__ import annotations

import weakref
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import orjson
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from simplenet import request_log

if TYPE_CHECKING:
    from collections.abc import Iterable


class Connection(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """One client's connection."""

    open: ClassVar[weakref.WeakSet[Connection]] = weakref.WeakSet()

    def connection_made(self, transport: Any) -> None:
        """Remember the connection."""
        super().connection_made(transport)
        self.open.add(self)

    def close_if_idle(self) -> None:
        """Close a connection on which no request is under way, as its time-out would."""
        if self._awaiting_request and not self._finishing_calls:
            self._keepalive_timeout()

    def _send_error_response(
        self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Refuse what is no request for the application: one sentence in JSON, as it has them."""
        found = message.encode(errors="replace").decode()[:200] or HTTPStatus(status).phrase
        sentence = f"The request is not HTTP as this server takes it: {found.rstrip('.')}."
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
        request_log.write(environ, status, 0, len(body), 0.0)


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """Answers what is in flight after SIGTERM, and waits for nothing else.

    gunicorn waits for all connections, those of clients that keep theirs for a next request too.
    """

    def notify(self) -> None:
        """Beat, once a second, and let the application do what no request makes it do."""
        super().notify()
        self.asgi.beat()

    def handle_exit_signal(self) -> None:
        """Stop."""
        super().handle_exit_signal()
        for connection in list(Connection.open):
            connection.close_if_idle()


# gunicorn makes its connections of the class of this name.
gasgi.ASGIProtocol = Connection
