"""gunicorn's event-loop worker, which on SIGTERM also lets idle connections go."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi


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


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """Answers what is in flight after SIGTERM, and waits for nothing else.

    gunicorn waits for all connections, those of clients that keep theirs for a next request too.
    """

    def handle_exit_signal(self) -> None:
        """Stop."""
        super().handle_exit_signal()
        for connection in list(Connection.open):
            connection.close_if_idle()


# gunicorn makes its connections of the class of this name.
gasgi.ASGIProtocol = Connection
