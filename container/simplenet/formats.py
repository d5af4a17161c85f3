"""Media types: request bodies to features, scores to reply bodies. One entry a type."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import orjson
from numpy.lib import format as npy
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header, parse_options_header

from simplenet import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Features = NDArray[np.float32]  # (rows, columns)
    Scores = NDArray[np.float32]  # (rows,)


_NPY_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class BodyError(ValueError):
    """A request body that cannot be read; the message goes to the caller as it is."""


@dataclass(frozen=True)
class Format:
    """How one media type spells features and scores.

    One that has a record a line can say of a record that it is bad, in the place of its score.
    """

    decode: Callable[[bytes, int], Features]
    encode: Callable[[Scores], bytes]
    bad_record: Callable[[str], bytes] | None = None


def _decode_csv(body: bytes, columns: int) -> Features:
    """Read one row of features a line, without header or label."""
    try:
        rows = table.read_bytes(body, "The body", columns)
    except table.TableError as error:
        raise BodyError(str(error)) from None
    if not len(rows):
        raise BodyError("The body is empty; expected one row of numbers a line.")
    return rows


def _decode_json(body: bytes, columns: int) -> Features:
    """Read `{"instances": [...]}` or a bare list of rows.

    Each row is a list of numbers, `{"features": [...]}` or, as AWS's own algorithms have it,
    `{"data": {"features": {"values": [...]}}}`.
    https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-inference.html
    """
    document = _load_json(body, "the body")
    rows = document.get("instances") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not rows:
        raise BodyError(
            'The body holds no rows; expected {"instances": [{"features": [...]}, ...]} '
            "or a list of lists of numbers."
        )
    # A list of plain numbers is one row.
    if not isinstance(rows[0], list | dict):
        rows = [rows]
    return _stack(rows, "instance", columns)


def _decode_json_lines(body: bytes, columns: int) -> Features:
    """Read one JSON row a line."""
    lines = body.rstrip().splitlines()
    if not lines:
        raise BodyError('The body is empty; expected one {"features": [...]} a line.')
    return _stack(_load_json_lines(lines), "line", columns)


def _load_json_lines(lines: list[bytes]) -> list[Any]:
    try:
        # One parse of all is several times faster; commas and brackets between lines could make
        # JSON of what is none, but then not as many values as there are lines.
        rows = orjson.loads(b"[" + b",".join(lines) + b"]")
        if len(rows) == len(lines) and b"" not in lines:
            return list(rows)
    except orjson.JSONDecodeError:
        pass
    return [_load_json(line, f"line {number}") for number, line in enumerate(lines, 1)]


def _decode_npy(body: bytes, columns: int) -> Features:
    """Read an array of shape (rows, columns) or (columns,) that `numpy.save` wrote."""
    array = _load_npy(body)
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2 or not len(array):  # noqa: PLR2004
        raise BodyError(
            f"The array has shape {array.shape}; expected (rows, {columns}) with at least one row."
        )
    return _check(array, "row", columns)


def _load_npy(body: bytes) -> NDArray[Any]:
    """Return a view of the array in `body`; nothing is unpickled, unzipped or allocated for it."""
    stream = io.BytesIO(body)
    try:
        read_header = _NPY_HEADERS[npy.read_magic(stream)]
        shape, fortran, dtype = read_header(stream)
        size = math.prod(shape) * dtype.itemsize
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError, TokenError):
        raise BodyError(
            "The body is not in NumPy's .npy format; "
            "expected what numpy.save(file, array, allow_pickle=False) writes."
        ) from None
    if dtype.kind not in "fiu":
        raise BodyError(f"The array holds {dtype}; expected floats or integers.")
    if size != len(body) - stream.tell():
        raise BodyError(
            f"The array's header promises {size:,} bytes of numbers, and "
            f"{len(body) - stream.tell():,} follow; the body is cut short or has more behind it."
        )
    array = np.frombuffer(body, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def _load_json(text: bytes, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BodyError(f"{where.capitalize()} is not JSON: {error}.") from None


def _stack(rows: list[Any], noun: str, columns: int) -> Features:
    """Turn JSON rows into an array, or say which of them is wrong."""
    try:
        rows = [row["features"] for row in rows]  # the usual spelling, at the least cost
    except (TypeError, KeyError):
        rows = [_features(row) for row in rows]
    if {*map(type, rows)} == {dict}:
        rows = [_features(row) for row in rows]
    # A string or a boolean would become a number in NumPy's hands, and a ragged list an error.
    if {*map(type, rows)} != {list} or not {*map(type, chain.from_iterable(rows))} <= {int, float}:
        _refuse(rows, noun, columns)
    try:
        array = np.array(rows, dtype=np.float64)
    except (ValueError, OverflowError):
        _refuse(rows, noun, columns)
    return _check(array, noun, columns)


def _features(row: Any) -> Any:
    """Take the numbers out of either of the two objects that wrap them."""
    if isinstance(row, dict):
        row = row.get("data", row)
    if isinstance(row, dict):
        row = row.get("features")
    return row.get("values") if isinstance(row, dict) else row


def _refuse(rows: list[Any], noun: str, columns: int) -> NoReturn:
    """Say which row is no row of numbers; some row is not."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list):
            raise BodyError(
                f"{noun.capitalize()} {number} holds no list of numbers; "
                'expected {"features": [...]} or [...].'
            )
        if len(row) != columns:
            raise BodyError(_width(noun, number, len(row), columns))
        for column, value in enumerate(row, 1):
            if type(value) not in (int, float) or not abs(value) <= np.finfo(np.float32).max:
                shown = orjson.dumps(value, default=str).decode()[:40]
                raise BodyError(
                    f"{noun.capitalize()} {number}, column {column} is {shown}; "
                    "expected a number that float32 holds."
                )
    raise AssertionError("every row is right, and together they are not")


def _check(array: NDArray[Any], noun: str, columns: int) -> Features:
    """Return finite float32 of the right width, or say where it is not."""
    if array.shape[1] != columns:
        raise BodyError(_width(noun, 1, array.shape[1], columns))
    with np.errstate(over="ignore", invalid="ignore"):
        features = array.astype(np.float32)
    finite = np.isfinite(features)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise BodyError(
            f"{noun.capitalize()} {row + 1}, column {column + 1} is {array[row, column]}; "
            "expected a finite number that float32 holds."
        )
    return features


def _width(noun: str, number: int, found: int, columns: int) -> str:
    return (
        f"{noun.capitalize()} {number} has {found:,} column{'' if found == 1 else 's'}; "
        f"expected {columns:,}, the features that the model was trained on."
    )


def _encode_csv(scores: Scores) -> bytes:
    """Return a score a line, with a final newline (batch transform joins replies end to end)."""
    return table.write(scores)


def _objects(scores: Scores, separator: bytes) -> bytes:
    """Return `{"score": ..., "predicted_label": ...}` for each, as Linear Learner does.

    https://docs.aws.amazon.com/sagemaker/latest/dg/LL-in-formats.html
    """
    pairs = np.column_stack([scores, np.round(scores)])
    text = orjson.dumps(pairs, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2]
    # "0.97,1.0],[0.3,0.0": a comma within brackets is always before a label.
    text = text.replace(b",1.0", b', "predicted_label": 1').replace(
        b",0.0", b', "predicted_label": 0'
    )
    return b'{"score": ' + text.replace(b"],[", b"}" + separator + b'{"score": ') + b"}"


def _encode_json(scores: Scores) -> bytes:
    return b'{"predictions": [' + _objects(scores, b", ") + b"]}\n"


def _encode_json_lines(scores: Scores) -> bytes:
    return _objects(scores, b"\n") + b"\n"


def _encode_npy(scores: Scores) -> bytes:
    """Return float32 of shape (rows, 1), so that `np.squeeze(np.round(...))` gives the labels."""
    file = io.BytesIO()
    np.save(file, scores.reshape(-1, 1), allow_pickle=False)
    return file.getvalue()


_JSON_LINES = Format(
    _decode_json_lines,
    _encode_json_lines,
    bad_record=lambda sentence: orjson.dumps({"error": sentence}) + b"\n",
)

#: Each media type that a request or a reply can have; the first is the default of a request.
FORMATS = {
    # AWS's own word for a bad record:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-errors.html
    "text/csv": Format(_decode_csv, _encode_csv, bad_record=lambda _: b"ERROR\n"),
    "application/json": Format(_decode_json, _encode_json),
    "application/jsonlines": _JSON_LINES,
    "application/x-jsonlines": _JSON_LINES,
    "application/x-ndjson": _JSON_LINES,
    "application/x-npy": Format(_decode_npy, _encode_npy),
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


def answer_each(
    request: Format,
    reply: Format,
    body: bytes,
    columns: int,
    score: Callable[[Features], Scores],
) -> tuple[bytes, int] | None:
    """Return a line for each line of the body, and how many; one that is bad says so in its place.

    None where either format has no lines.
    """
    if request.bad_record is None or reply.bad_record is None:
        return None
    lines = body.rstrip().splitlines()
    rows = [_try(request, line, columns) for line in lines]
    good = [row for row in rows if not isinstance(row, BodyError)]
    scored = reply.encode(score(np.concatenate(good))) if good else b""
    texts = iter(scored.splitlines(keepends=True))
    answers = [
        reply.bad_record(str(row)) if isinstance(row, BodyError) else next(texts) for row in rows
    ]
    return (b"".join(answers), len(lines)) if lines else None


def _try(request: Format, line: bytes, columns: int) -> Features | BodyError:
    try:
        return request.decode(line, columns)
    except BodyError as error:
        return error


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

    `own` is the request's type: the reply has it too where the header leaves a choice.

    >>> negotiate("application/json;q=0.5, text/csv", "application/x-npy")
    'text/csv'
    """
    if not accept or not accept.strip():
        return own
    names = [own, *(name for name in FORMATS if name != own)]
    return parse_accept_header(accept.lower(), MIMEAccept).best_match(names)
