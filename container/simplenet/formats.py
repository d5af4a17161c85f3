"""Media types: how each spells features and scores. One entry a type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header, parse_options_header

from simplenet import decoding, encoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from simplenet.decoding import Features
    from simplenet.encoding import Scores


@dataclass(frozen=True)
class Format:
    """How one media type spells features and scores.

    One that has a record a line can say of a record that it is bad, in the place of its score; it
    decodes a part of a body too, if it is told how many lines come before.
    """

    decode: Callable[..., Features]  # of the body, and how many columns there must be
    encode: Callable[[Scores], bytes]
    bad_record: Callable[[str], bytes] | None = None


_JSON_LINES = Format(
    decoding.json_lines,
    encoding.json_lines,
    bad_record=lambda sentence: orjson.dumps({"error": sentence}) + b"\n",
)

#: Each media type that a request or a reply can have; the first is the default of a request.
FORMATS = {
    # AWS's own word for a bad record:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-errors.html
    "text/csv": Format(decoding.csv, encoding.csv, bad_record=lambda _: b"ERROR\n"),
    "application/json": Format(decoding.json, encoding.json),
    "application/jsonlines": _JSON_LINES,
    "application/x-jsonlines": _JSON_LINES,
    "application/x-ndjson": _JSON_LINES,
    "application/x-npy": Format(decoding.npy, encoding.npy),
}


def choose(request_type: str, reply_type: str, body: bytes) -> tuple[Format, Format]:
    """Return the formats that the body is in and that the reply is to be in.

    Batch transform splits a file of JSON Lines and sends the lines under the name of JSON if the
    job says so. They are read as lines then, and answered with as many.
    """
    request, reply = FORMATS[request_type], FORMATS[reply_type]
    if request_type == "application/json" and _is_lines(body):
        request = _JSON_LINES
        if reply_type == request_type:
            reply = _JSON_LINES
    return request, reply


def _is_lines(body: bytes) -> bool:
    """Say whether JSON is one record a line, or one record: an object that is a row itself."""
    first, _, rest = body.strip().partition(b"\n")
    if (not rest and not first.startswith(b"{")) or b'"instances"' in first[:64]:
        return False
    try:
        document = orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return bool(rest) or "features" in document or "data" in document


@lru_cache(maxsize=256)
def media_type(content_type: str | None) -> str | None:
    """Return the key of `FORMATS` that a Content-Type names, or None where there is none.

    Neither case nor parameters count, and a request without the header is CSV.

    >>> media_type("Text/CSV; charset=utf-8")
    'text/csv'
    """
    name = parse_options_header(content_type)[0].strip().lower()
    return name if name in FORMATS else None if name else next(iter(FORMATS))


@lru_cache(maxsize=256)
def negotiate(accept: str | None, own: str) -> str | None:
    """Return the key of `FORMATS` that an Accept header likes best, or None where it likes none.

    `own` is the request's type: the reply has it too where the header leaves a choice. Parameters,
    such as a charset, make no difference.

    >>> negotiate("application/json;q=0.5, text/csv", "application/x-npy")
    'text/csv'
    """
    if not accept or not accept.strip():
        return own
    names = [own, *(name for name in FORMATS if name != own)]
    liked = parse_accept_header(accept.lower(), MIMEAccept)
    return MIMEAccept([(kind.partition(";")[0], q) for kind, q in liked]).best_match(names)
