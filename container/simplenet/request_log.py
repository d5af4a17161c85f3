"""One line of JSON a request, for CloudWatch; never what a request or a reply held."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

#: What an application leaves in its environment for the line.
ROWS = "simplenet.rows"
REASON = "simplenet.reason"

_STDOUT = 1


def write(
    environ: WSGIEnvironment, status: int, bytes_in: int, bytes_out: int, seconds: float
) -> None:
    """Write the line, except for `/ping`, which SageMaker asks for every few seconds."""
    path = environ["PATH_INFO"]
    if path == "/ping":
        return
    line: dict[str, Any] = {
        "time": datetime.now(timezone.utc),
        "method": environ["REQUEST_METHOD"],
        "path": path[:200],
        "status": status,
        "ms": round(seconds * 1e3, 3),
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
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
    # One write of a short line is never cut by another worker's; a log that is gone fails nobody.
    with suppress(OSError):
        os.write(_STDOUT, text)
