"""One line of JSON a request, for CloudWatch; never what a request or a reply held."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import orjson
from flask import Response, request

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

STARTED = "simplenet.started"
ROWS = "simplenet.rows"
REASON = "simplenet.reason"

_STDOUT = 1


def begin() -> None:
    """Look at the clock."""
    request.environ[STARTED] = time.perf_counter()


def elapsed(environ: WSGIEnvironment) -> float:
    """Return the seconds since `begin`."""
    return time.perf_counter() - float(environ[STARTED])


def write(reply: Response) -> Response:
    """Write the line, except for `/ping`, which SageMaker asks for every few seconds."""
    environ = request.environ
    path = environ["PATH_INFO"]
    if path == "/ping":
        return reply
    line = {
        "time": datetime.now(timezone.utc),
        "method": environ["REQUEST_METHOD"],
        "path": path[:200],
        "status": reply.status_code,
        "ms": round(elapsed(environ) * 1e3, 3),
        "bytes_in": request.content_length,
        "bytes_out": reply.content_length,
        "content_type": environ.get("CONTENT_TYPE", "")[:200],
        "accept": environ.get("HTTP_ACCEPT", "")[:200],
    }
    if ROWS in environ:
        line["rows"] = environ[ROWS]
    if REASON in environ:
        line["error"] = environ[REASON]
    if inference_id := environ.get("HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID"):
        line["inference_id"] = inference_id[:64]
    try:
        text = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # a lone surrogate, from a name in a path or a body
        text = orjson.dumps(
            {
                key: value.encode(errors="replace").decode() if isinstance(value, str) else value
                for key, value in line.items()
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
    # One write of a short line is never cut by another worker's.
    os.write(_STDOUT, text)
    return reply
