"""Replies that are not scores: one small JSON object, and in an error one sentence."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING

import orjson
from flask import Response, request

from simplenet import request_log

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from werkzeug.exceptions import HTTPException

    from simplenet.decoding import BodyError

log = logging.getLogger(__name__)

_SENTENCES = {404: "There is no such path", 405: "The path does not take this method"}


class Reply(Response):
    """A reply of bytes under headers that are final, as all of ours are.

    werkzeug would look for what may be missing, at a tenth of a small request's time.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it."""
        start_response(self.status, list(self.headers))
        return () if environ["REQUEST_METHOD"] == "HEAD" else self.iter_encoded()


def document(content: object, status: int = 200) -> Response:
    """Return an object as JSON."""
    return Reply(orjson.dumps(content), status, content_type="application/json")


def refusal(status: int, sentence: str) -> Response:
    """Return one sentence, which SageMaker shows the caller as OriginalMessage."""
    sentence = sentence.encode(errors="replace").decode()  # a lone surrogate is no UTF-8
    request.environ[request_log.REASON] = sentence
    return document({"error": sentence}, status)


def refuse_body(error: BodyError) -> Response:
    """Tell the caller what is wrong with the rows."""
    return refusal(400, str(error))


def refuse_request(expected: str, error: HTTPException) -> Response:
    """Tell the caller what is wrong with the request, as HTTP itself sees it."""
    code = error.code or 500
    if code in _SENTENCES:
        reply = refusal(code, f"{_SENTENCES[code]}; expected {expected}.")
    else:
        reply = refusal(code, error.description or error.name)
    if allowed := getattr(error, "valid_methods", None):
        reply.headers["Allow"] = ", ".join(sorted(allowed))
    return reply


def report(error: Exception) -> Response:
    """Keep our own fault out of the reply, and give it a number that the log has too."""
    number = uuid.uuid4().hex[:12]
    log.error("error %s in %s %s", number, request.method, request.path, exc_info=error)
    return refusal(500, f"The server failed; its log says why under error {number}.")
