"""Request bodies to features, or to one sentence about a fault: a function for each spelling."""

from __future__ import annotations

import io
import math
import re
import secrets
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import orjson
from numpy.lib import format as numpy_format

from simplenet import table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Features = NDArray[np.float32]  # (rows, columns)

_NPY_HEADERS = {
    (1, 0): numpy_format.read_array_header_1_0,
    (2, 0): numpy_format.read_array_header_2_0,
}

#: One call of a parser holds the interpreter, and so keeps `/ping` waiting, for as long as it
#: takes: about 20 ms for this much JSON.
PIECE_BYTES = 1 << 20

# Where a document of rows may be cut: before the first row, between two, after the last.
_HEAD = re.compile(rb'\s*(?:\{\s*"instances"\s*:\s*)?\[')
_BETWEEN = re.compile(rb"[\]}]\s*(,)\s*[\[{]")
_TAIL_BYTES = 100
_TAIL = re.compile(rb"\]\s*\}?\s*\Z")

# What stands between lines that are parsed together: no caller can know it.
_MARK = secrets.token_hex(8)
_MARKED = f',"{_MARK}",'.encode()


class BodyError(ValueError):
    """A request body that cannot be read; the message goes to the caller as it is."""


def csv(body: bytes, columns: int, before: int = 0) -> Features:
    """Read one row of features a line, without header or label; `before` lines come before."""
    try:
        rows = table.read_bytes(body, "The body", columns, before + 1)
    except table.TableError as error:
        raise BodyError(str(error)) from None
    if not len(rows):
        raise BodyError("The body is empty; expected one row of numbers a line.")
    return rows


def json(body: bytes, columns: int) -> Features:
    """Read `{"instances": [...]}` or a bare list of rows.

    Each row is a list of numbers, `{"features": [...]}` or, as AWS's own algorithms have it,
    `{"data": {"features": {"values": [...]}}}`.
    https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-inference.html
    """
    if len(body) > 2 * PIECE_BYTES and (features := _json_in_pieces(body, columns)) is not None:
        return features
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


def _json_in_pieces(body: bytes, columns: int) -> Features | None:
    """Read a large document a piece at a time, or decline what cannot be cut between its rows.

    Lists of values that are JSON each are JSON when they are joined by commas; a cut anywhere but
    between two rows leaves pieces that are not.
    """
    head = _HEAD.match(body)
    tail = _TAIL.search(body, len(body) - _TAIL_BYTES)
    if head is None or tail is None or (b"{" in head[0]) != (b"}" in tail[0]):
        return None
    start, end = head.end(), tail.start()
    blocks: list[Features] = []
    before = 0
    while start < end:
        cut = end
        if end - start > PIECE_BYTES:
            between = _BETWEEN.search(body, start + PIECE_BYTES, start + 2 * PIECE_BYTES)
            if between is None:
                return None
            cut = between.start(1)
        try:
            rows = orjson.loads(b"[%b]" % body[start:cut])
        except orjson.JSONDecodeError:
            return None
        if not rows or not isinstance(rows[0], list | dict):
            return None
        blocks.append(_stack(rows, "instance", columns, before))
        before += len(rows)
        start = cut + 1
    return np.concatenate(blocks)


def json_lines(body: bytes, columns: int, before: int = 0) -> Features:
    """Read one JSON row a line; `before` lines come before."""
    body = body.rstrip()
    if not body:
        raise BodyError('The body is empty; expected one {"features": [...]} a line.')
    start = 0
    blocks: list[Features] = []
    while start < len(body):
        end = body.find(b"\n", start + PIECE_BYTES) + 1 or len(body)
        lines = body[start:end].splitlines()
        blocks.append(_stack(_load_json_lines(lines, before), "line", columns, before))
        before += len(lines)
        start = end
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _load_json_lines(lines: list[bytes], before: int) -> list[Any]:
    try:
        # One parse of all is several times faster. Commas and brackets between lines could make
        # JSON of what is none; but then what nobody can guess does not stand between all values.
        rows = orjson.loads(b"[" + _MARKED.join(lines) + b"]")
        if len(rows) == 2 * len(lines) - 1 and rows[1::2].count(_MARK) == len(lines) - 1:
            return list(rows[::2])
    except orjson.JSONDecodeError:
        pass
    return [_load_json(line, f"line {number}") for number, line in enumerate(lines, before + 1)]


def npy(body: bytes, columns: int) -> Features:
    """Read an array of shape (rows, columns) or (columns,) that `numpy.save` wrote."""
    array = _load_npy(body, columns)
    return _check(array[np.newaxis] if array.ndim == 1 else array, "row", columns)


def _load_npy(body: bytes, columns: int) -> NDArray[Any]:
    """Return a view of the array in `body`; nothing is unpickled, unzipped or allocated for it."""
    stream = io.BytesIO(body)
    try:
        read_header = _NPY_HEADERS[numpy_format.read_magic(stream)]
        shape, fortran, dtype = read_header(stream)
    # Of a header that is none NumPy raises whatever its evaluation comes upon.
    except Exception:  # noqa: BLE001
        raise BodyError(
            "The body is not in NumPy's .npy format; "
            "expected what numpy.save(file, array, allow_pickle=False) writes."
        ) from None
    if dtype.kind not in "fiu":
        raise BodyError(f"The array holds {dtype}; expected floats or integers.")
    if len(shape) not in (1, 2) or not all(type(n) is int and n > 0 for n in shape):
        raise BodyError(
            f"The array has shape {str(shape)[:80]}; "
            f"expected (rows, {columns}) with at least one row."
        )
    size = math.prod(shape) * dtype.itemsize
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


def _stack(rows: list[Any], noun: str, columns: int, before: int = 0) -> Features:
    """Turn the JSON rows that follow `before` others into an array, or say which is wrong."""
    try:
        rows = [row["features"] for row in rows]  # the usual spelling, at the least cost
    except (TypeError, KeyError):
        rows = [_features(row) for row in rows]
    # A string or a boolean would become a number in NumPy's hands, and a ragged list an error.
    if {*map(type, rows)} != {list} or not {*map(type, chain.from_iterable(rows))} <= {int, float}:
        _refuse(rows, noun, columns, before)
    try:
        array = np.array(rows, dtype=np.float64)
    except (ValueError, OverflowError):
        _refuse(rows, noun, columns, before)
    return _check(array, noun, columns, before)


def _features(row: Any) -> Any:
    """Take the numbers out of either of the two objects that wrap them."""
    if isinstance(row, dict):
        row = row.get("data", row)
    if isinstance(row, dict):
        row = row.get("features")
    return row.get("values") if isinstance(row, dict) else row


def _refuse(rows: list[Any], noun: str, columns: int, before: int) -> NoReturn:
    """Say which row is no row of numbers; some row is not."""
    for number, row in enumerate(rows, before + 1):
        if not isinstance(row, list):
            raise BodyError(
                f"{noun.capitalize()} {number} holds no list of numbers; "
                'expected {"features": [...]} or [...].'
            )
        if len(row) != columns:
            raise BodyError(_width(noun, number, len(row), columns))
        for column, value in enumerate(row, 1):
            if type(value) not in (int, float) or not abs(value) <= np.finfo(np.float32).max:
                shown = _shown(value)
                raise BodyError(
                    f"{noun.capitalize()} {number}, column {column} is {shown}; "
                    "expected a number that float32 holds."
                )
    raise AssertionError("every row is right, and together they are not")


def _shown(value: Any) -> str:
    """Return the beginning of a value's JSON; orjson writes less depth than it reads."""
    try:
        return orjson.dumps(value, default=str).decode()[:40]
    except TypeError:
        return "lists in lists"


def _check(array: NDArray[Any], noun: str, columns: int, before: int = 0) -> Features:
    """Return finite float32 of the right width, or say where it is not."""
    if array.shape[1] != columns:
        raise BodyError(_width(noun, before + 1, array.shape[1], columns))
    with np.errstate(over="ignore", invalid="ignore"):
        features = array.astype(np.float32)
    finite = np.isfinite(features)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise BodyError(
            f"{noun.capitalize()} {before + row + 1}, column {column + 1} is {array[row, column]}; "
            "expected a finite number that float32 holds."
        )
    return features


def _width(noun: str, number: int, found: int, columns: int) -> str:
    return (
        f"{noun.capitalize()} {number} has {found:,} column{'' if found == 1 else 's'}; "
        f"expected {columns:,}, the features that the model was trained on."
    )
