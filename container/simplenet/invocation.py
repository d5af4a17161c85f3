"""An invocation: a body of rows, answered with as many scores."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from simplenet import formats, marking, request_log
from simplenet.decoding import BodyError
from simplenet.formats import FORMATS
from simplenet.replies import Reply, refusal

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

    from flask import Response

    from simplenet.decoding import Features
    from simplenet.encoding import Scores
    from simplenet.model import SimpleNet
    from simplenet.settings import Settings

_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


def invoke(net: SimpleNet, settings: Settings) -> Response:
    """Answer a body of rows with as many scores, in order."""
    environ = request.environ
    request_type = formats.media_type(environ.get("CONTENT_TYPE"))
    if request_type is None:
        return refusal(415, _unsupported("Content-Type"))
    accept = environ.get("HTTP_ACCEPT", "").strip()
    if accept in {"", "*/*"}:
        accept = settings.default_accept
    reply_type = formats.negotiate(accept, request_type)
    if reply_type is None:
        return refusal(406, _unsupported("Accept", accept))
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        return refusal(
            415, f"Content-Encoding is {encoding[:40]!r}; expected an uncompressed body."
        )
    content = body(environ, settings)
    decoder, encoder = formats.choose(request_type, reply_type, content)
    score = partial(_score, net)
    try:
        features = decoder.decode(content, net.input_dim)
        text, rows = encoder.encode(score(features)), len(features)
    except BodyError:
        answer = settings.bad_records == "mark" and marking.answer_each(
            decoder, encoder, content, net.input_dim, score
        )
        if not answer:
            raise
        text, rows = answer
    environ[request_log.ROWS] = rows
    reply = Reply(text, content_type=reply_type)
    # Whoever sends custom attributes gets them back; a header can hold no more than these.
    attributes = environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES")
    if attributes and re.fullmatch(r"[ -~]{1,1024}", attributes):
        reply.headers[_ATTRIBUTES] = attributes
    return reply


def _score(net: SimpleNet, features: Features, before: int = 0) -> Scores:
    """Return the scores: numbers that float32 holds may be too large to be standardised.

    `before` rows come before these.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scores = net.score(features)
    if not math.isfinite(scores.sum()):
        row = before + int(np.argmin(np.isfinite(scores))) + 1
        raise BodyError(
            f"Row {row} has no score: its numbers are too large for this model. "
            "Expected such as it was trained on."
        )
    return scores


def body(environ: WSGIEnvironment, settings: Settings) -> bytes:
    """Return the body, which the bridge has read, or refuse one that is too large."""
    most = settings.max_payload_mb << 20
    if int(environ.get("CONTENT_LENGTH") or 0) > most:
        raise RequestEntityTooLarge(_too_large(settings))
    content: bytes = environ["wsgi.input"].read(most + 1)
    if len(content) > most:
        raise RequestEntityTooLarge(_too_large(settings))
    return content


def _too_large(settings: Settings) -> str:
    return (
        f"The body is larger than {settings.max_payload_mb} MB; send fewer rows at a time, "
        "or raise SAGEMAKER_MAX_PAYLOAD_IN_MB."
    )


def _unsupported(header: str, found: str | None = None) -> str:
    found = request.headers[header] if found is None else found
    return f"{header} is {found[:200]!r}; expected one of {', '.join(FORMATS)}."
