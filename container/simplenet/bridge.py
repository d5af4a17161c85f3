"""gunicorn's event loop to Flask: whole bodies in, whole replies out.

The loop reads every client on its own, so that one that stalls holds up nobody, and Flask is called
only with a request that is complete. One that is little work is answered at once; another one in a
thread, so that `/ping` need not wait for it.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import orjson

from simplenet import request_log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from simplenet.settings import Settings

    Headers = list[tuple[bytes, bytes]]
    Reply = tuple[int, Headers, bytes]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    # Environment, status, bytes of the request's and the reply's body, seconds between the two.
    Observer = Callable[[WSGIEnvironment, int, int, int, float], None]

#: A larger body is a thread's, which costs 0.1 ms: this one takes up to 1 ms to read, and where one
#: of its last rows has a fault that a sentence must name, 20.
SMALL_BYTES = 8 << 10

# A client that sends on without being read is reset, and so never sees why it was refused. Its
# bytes are therefore read and dropped, as far as asynchronous inference's largest body.
_DRAIN_BYTES = 1 << 30

_STALLED = "The body stopped before its end; expected as many bytes as Content-Length says."

# What PEP 3333 wants that no request changes.
_ENVIRON: WSGIEnvironment = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


class Bridge:
    """An ASGI application that asks a WSGI application, and tells `observers` of each answer.

    `takes_long` says of a request, and the size of its body, whether it is a thread's.
    """

    def __init__(
        self,
        wsgi: WSGIApplication,
        settings: Settings,
        takes_long: Callable[[WSGIEnvironment, int], bool] = lambda _, size: size > SMALL_BYTES,
        observers: Sequence[Observer] = (),
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._wsgi = wsgi
        self._max_body_bytes = settings.max_payload_mb << 20
        self._max_held_bytes = settings.bodies_mb << 20
        self._full = (
            f"The server holds {settings.bodies_mb} MB of bodies, as much as it may; "
            "try again in a second, or raise SIMPLENET_BODIES_MB."
        )
        #: Bytes of all bodies that are being read or scored, and of replies that are being sent.
        self.held = 0
        self._takes_long = takes_long
        self._observers = observers
        #: What is to be done once a second, between requests.
        self.beat = beat
        # No thread starts before the first request that is long: the workers are forked after this.
        self._threads = ThreadPoolExecutor(settings.threads, "invocation")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        share = _Share(self)
        try:
            status, headers, reply = await self._answer(_environ(scope), receive, share)
            share.set(len(reply))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": reply})
        finally:
            if not share.outlives:
                share.set(0)

    async def _answer(self, environ: WSGIEnvironment, receive: Receive, share: _Share) -> Reply:
        """Read the body and have it scored, or say why not."""
        announced = _announced(environ)
        if announced > self._max_body_bytes:
            # Its length is enough to know; of many models, one may have to be loaded all the same.
            answer = await self._invoke(environ, b"", announced, share)
        elif announced and announced + self.held > self._max_held_bytes:
            answer = self._refuse(environ, 503, self._full, (b"retry-after", b"1"))
        else:
            body = await self._read(receive, share)
            if body is None:
                return self._refuse(environ, 408, _STALLED, (b"connection", b"close"))
            if share.refused:
                return self._refuse(environ, 503, self._full, (b"retry-after", b"1"))
            return await self._invoke(environ, body, len(body), share)
        if environ.get("HTTP_EXPECT", "").lower() != "100-continue":
            await _drain(receive)
        return answer

    async def _read(self, receive: Receive, share: _Share) -> bytes | None:
        """Return the body, at most one byte more than is allowed; None where it stopped.

        Nothing of a body that all of them leave no room for is kept.
        """
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message["body"]
            more = message["more_body"]
            chunks.append(chunk)
            size += len(chunk)
            share.set(size)
            # What has no body, /ping above all, takes no room.
            if size and self.held > self._max_held_bytes:
                chunks.clear()
                share.set(0)
                share.refused = True
                await _drain(receive, more=more)
                return b""
            if size > self._max_body_bytes:
                await _drain(receive, more=more)
                return b"".join(chunks)[: self._max_body_bytes + 1]
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _invoke(
        self, environ: WSGIEnvironment, body: bytes, size: int, share: _Share
    ) -> Reply:
        """Ask the application, in a thread if it takes long.

        A client that leaves does not stop a thread: the body counts until that is done with it.
        """
        if not self._takes_long(environ, size):
            return self._ask(environ, body)
        bodies = [body]
        work = self._threads.submit(lambda: self._ask(environ, bodies.pop()))
        del body
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if work.cancel():
                bodies.clear()  # the queue keeps the work itself until a thread comes by it
            else:
                share.outlives = True
                work.add_done_callback(partial(_let_go, asyncio.get_running_loop(), share))
            raise

    def _refuse(
        self, environ: WSGIEnvironment, status: int, sentence: str, header: tuple[bytes, bytes]
    ) -> Reply:
        """Answer in the application's place."""
        reply = orjson.dumps({"error": sentence})
        environ[request_log.REASON] = sentence
        self.tell(environ, status, 0, len(reply), 0.0)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(reply)).encode()),
            header,
        ]
        return status, headers, reply

    def _ask(self, environ: WSGIEnvironment, body: bytes) -> Reply:
        """Call the WSGI application."""
        started = time.perf_counter()
        environ["wsgi.input"] = io.BytesIO(body)
        status = 500
        headers: Headers = []

        def start_response(line: str, fields: list[tuple[str, str]], _: Any = None) -> Any:
            nonlocal status
            status = int(line[:3])
            headers[:] = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in fields]

        start: StartResponse = start_response
        chunks: Iterable[bytes] = self._wsgi(environ, start)
        try:
            reply = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        self.tell(environ, status, len(body), len(reply), time.perf_counter() - started)
        return status, headers, reply

    def tell(self, *answer: Any) -> None:
        """Tell the observers of an answer, in their words."""
        for observe in self._observers:
            observe(*answer)


class _Share:
    """What one request holds of the bytes that all of them may."""

    __slots__ = ("_bridge", "_size", "outlives", "refused")

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._size = 0
        self.refused = False
        self.outlives = False  #: whether a thread still has the body when the request has ended

    def set(self, size: int) -> None:
        """Hold so many from now on."""
        self._bridge.held += size - self._size
        self._size = size


def _let_go(loop: asyncio.AbstractEventLoop, share: _Share, _: object) -> None:
    """Hold nothing any more, as a thread says that has come to its end."""
    with suppress(RuntimeError):  # the loop has, too
        loop.call_soon_threadsafe(share.set, 0)


def _environ(scope: dict[str, Any]) -> WSGIEnvironment:
    """Return what PEP 3333 calls the environment, without the body."""
    host, port = scope.get("server") or ("", 0)
    environ: WSGIEnvironment = {
        **_ENVIRON,
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.url_scheme": scope["scheme"],
    }
    for field, text in scope["headers"]:
        name = _variable(field)
        value = text.decode("latin-1")
        environ[name] = f"{environ[name]},{value}" if name in environ else value
    return environ


@lru_cache(maxsize=256)
def _variable(field: bytes) -> str:
    """Return the name that a header has in the environment."""
    name = field.decode("latin-1").upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"


def _announced(environ: WSGIEnvironment) -> int:
    """Return the length that the header gives, which gunicorn has found to be a number, or 0."""
    return int(environ.get("CONTENT_LENGTH") or 0)


async def _drain(receive: Receive, *, more: bool = True) -> None:
    """Read what the client still sends, and keep nothing of it."""
    size = 0
    while more and size < _DRAIN_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
