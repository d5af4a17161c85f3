"""CSV bytes to a float32 array and back: the one reader of training files and request bodies.

A table has no header, a number in every cell, and as many cells in each line as in the first.
`_parse_strictly` is the definition; the two faster parsers only ever agree with it or decline (but
that `-0` may be 0).
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

#: Bytes read at a time: large enough that a parse is not all overhead, small enough that what it
#: needs stays with the allocator, and that the blocks in flight do not count beside the table.
BLOCK_BYTES = 2048 << 10

# Below this pandas, which takes 0.2 ms to start, loses to a JSON parse of the same numbers; with
# very many columns it loses at any size, since it keeps an array for each.
_FEW_BYTES = 32 << 10
_MANY_COLUMNS = 1_000

# Of csv for a whole process; a number may have any length.
csv.field_size_limit(sys.maxsize)

_NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*")
_QUOTED = re.compile(rb'(?<![^,\r\n])"([^",\r\n]*)"(?![^,\r\n])')
_PLAIN = b"0123456789+-.eE,\n \t"
_UNUSUAL = b'uUsS"\v\f\xef'
_END = b"\r\n\t "
_ENDS = tuple(bytes([byte]) for byte in _END)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TableError(ValueError):
    """A CSV that is not a table of numbers; the message names the line and the column."""


def read(
    stream: BinaryIO,
    name: str,
    columns: int | None = None,
    threads: int = 1,
    first_line: int = 1,
) -> Iterator[NDArray[np.float32]]:
    """Read CSV from `stream`, yielding arrays of shape (rows, columns), in order.

    `name` is what errors call the source, and `first_line` the number of its first line. `columns`
    is how many there must be; by default what the first line has. Blank lines at the end are no
    rows. `threads` is how many blocks are parsed at a time.

    Raises:
        TableError: for the first cell, line or byte that cannot be read.
    """
    line = first_line
    for block, quick in _parse_ahead(_blocks(stream), columns, threads):
        table = quick
        if table is None or columns not in {None, table.shape[1]}:
            table = _parse_strictly(block, name, line, columns)
        yield table
        columns = table.shape[1]
        line += len(table)


def read_bytes(text: bytes, name: str, columns: int, first_line: int = 1) -> NDArray[np.float32]:
    """Read all of `text`, as `read` does, into one array of shape (rows, columns)."""
    if len(text) > BLOCK_BYTES:
        blocks = read(io.BytesIO(text), name, columns, first_line=first_line)
        return np.concatenate([np.empty((0, columns), np.float32), *blocks])
    block = text.removeprefix(_BYTE_ORDER_MARK).rstrip(_END)
    return parse(block, name, first_line, columns) if block else np.empty((0, columns), np.float32)


def parse(
    block: bytes, name: str, first_line: int = 1, columns: int | None = None
) -> NDArray[np.float32]:
    r"""Parse whole lines of CSV into an array of shape (lines, columns).

    >>> parse(b"1,2.5\n3,4e1", "example").tolist()
    [[1.0, 2.5], [3.0, 40.0]]
    """
    table = _parse_quickly(block, columns)
    return _parse_strictly(block, name, first_line, columns) if table is None else table


def write(scores: NDArray[np.float32]) -> bytes:
    """Return scores of shape (rows,) as one a line, with a final newline.

    Each has the fewest digits that read back as the same float32.
    """
    return (
        orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].replace(b",", b"\n") + b"\n"
    )


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Cut a stream into blocks of whole lines, without the blank lines at its end."""
    kept = [stream.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)]
    while read := stream.read(BLOCK_BYTES):
        rest = b"".join(_rest_of_line(stream))
        if not (read.strip(_END) or rest.strip(_END)):
            kept += [read, rest]
            continue
        line = rest.removesuffix(b"\n").removesuffix(b"\r")
        block = b"".join((*kept, read, line))
        kept = []
        if not block.endswith(_ENDS):
            yield block
            continue
        # The last line that has anything in it is kept back: whether the blank lines after it end
        # the stream is not known yet.
        cut = block.rfind(b"\n", 0, len(block.rstrip(_END))) + 1
        kept = [block[cut:], rest[len(line) :]]
        if cut:
            yield block[: cut - 1].removesuffix(b"\r")
    if last := b"".join(kept).rstrip(_END):
        yield last


def _rest_of_line(stream: BinaryIO) -> Iterator[bytes]:
    """Read to the end of a line, in parts: within one, SIGTERM is not heard."""
    while part := stream.readline(BLOCK_BYTES):
        yield part
        if part.endswith(b"\n"):
            return


def _parse_ahead(
    blocks: Iterable[bytes], columns: int | None, threads: int
) -> Iterator[tuple[bytes, NDArray[np.float32] | None]]:
    """Parse blocks, the next ones while one is used: pandas lets go of the interpreter meanwhile.

    The thread that reads is one of the `threads`, and parses what the others have no time for: one
    more than there are cores would only have them wait for each other.
    """
    waiting: deque[tuple[bytes, Future[NDArray[np.float32] | None]]] = deque()
    others = threads - 1
    pool = ThreadPoolExecutor(max(others, 1))  # starts no thread that it has no work for
    try:
        for block in blocks:
            if sum(not parsed.done() for _, parsed in waiting) < 2 * others:
                parsed = pool.submit(_parse_quickly, block, columns)
            else:
                parsed = Future()
                parsed.set_result(_parse_quickly(block, columns))
            waiting.append((block, parsed))
            while waiting and (waiting[0][1].done() or len(waiting) > 3 * threads):
                first, parsed = waiting.popleft()
                yield first, parsed.result()
        for last, parsed in waiting:
            yield last, parsed.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # nobody waits for what is not wanted


def _parse_quickly(block: bytes, columns: int | None) -> NDArray[np.float32] | None:
    """Parse whole lines that have nothing unusual in them, or decline."""
    end = block.find(b"\n")
    width = block.count(b",", 0, end if end >= 0 else len(block)) + 1
    if columns not in {None, width}:
        return None
    if len(block) < _FEW_BYTES or width > _MANY_COLUMNS:
        table = _parse_plain(block)
    else:
        table = _parse_with_pandas(block)
    if table is None or columns not in {None, table.shape[1]}:
        return None
    return table if np.count_nonzero(np.isfinite(table)) == table.size else None


def _parse_plain(block: bytes) -> NDArray[np.float32] | None:
    """Parse numbers that are JSON's numbers too, or decline."""
    block = block.replace(b"\r\n", b"\n")
    return _parse_long_lines(block) if len(block) > 2 * BLOCK_BYTES else _parse_json(block)


def _parse_json(block: bytes) -> NDArray[np.float32] | None:
    block = _unquoted(block)
    if block.translate(None, _PLAIN):
        return None
    try:
        rows = orjson.loads(b"[[" + block.replace(b"\n", b"],[") + b"]]")
        with np.errstate(over="ignore"):
            return np.array(rows, dtype=np.float32, ndmin=2) if rows[0] else None
    except (ValueError, OverflowError):
        return None


def _unquoted(block: bytes) -> bytes:
    """Return the block without the quotes that are around a whole cell."""
    return _QUOTED.sub(rb"\1", block) if b'"' in block else block


def _parse_long_lines(block: bytes) -> NDArray[np.float32] | None:
    """Parse lines in parts: of one, all numbers at once are many objects, and no SIGTERM heard."""
    lines = []
    for line in block.split(b"\n"):
        parts = [_parse_json(part) for part in _cut(line)]
        lines.append([part for part in parts if part is not None])
        if len(lines[-1]) < len(parts):
            return None
    try:
        return np.concatenate([np.concatenate(parts, axis=1) for parts in lines])
    except ValueError:  # not as many columns in each
        return None


def _cut(line: bytes) -> Iterator[bytes]:
    """Cut a line between its cells into parts of about the length of a block."""
    begin = 0
    while (end := line.find(b",", begin + BLOCK_BYTES)) >= 0:
        yield line[begin:end]
        begin = end + 1
    yield line[begin:]


class _Undecoded:
    """A file of bytes for pandas, which decodes a BytesIO, and encodes it again."""

    def __init__(self, block: bytes) -> None:
        self.read = io.BytesIO(block).read

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")  # pandas asks whether it is there


def _parse_with_pandas(block: bytes) -> NDArray[np.float32] | None:
    """Parse by pandas' C engine, or decline."""
    import pandas as pd  # noqa: PLC0415  # 0.4 s to import, and a small table never needs it

    # True and False are numbers to pandas, and it takes more for a blank than a space; no other
    # word gets past it as a finite number. It does not see a blank line at the end of what it is
    # given. A quote that is not around a whole cell it takes for part of the number, or of several,
    # and a byte-order mark (which begins with \xef) anywhere for nothing.
    block = _unquoted(block)
    if any(byte in block for byte in _UNUSUAL) or block.endswith((b"\n", b"\r")):
        return None
    try:
        with np.errstate(over="ignore"):
            return pd.read_csv(
                cast("BinaryIO", _Undecoded(block)),
                header=None,
                dtype=np.float32,
                na_filter=False,  # an empty cell is an error, not a NaN
                skip_blank_lines=False,
                low_memory=False,  # in parts it takes longer, and lets go of less
                engine="c",
            ).to_numpy()
    except (ValueError, OverflowError):
        return None


def _parse_strictly(
    block: bytes, name: str, first_line: int, columns: int | None
) -> NDArray[np.float32]:
    """Parse line by line and cell by cell, and say where the first fault is."""
    rows: list[NDArray[np.float32]] = []
    for line, text in enumerate(re.split(rb"\r\n|\r|\n", block), first_line):
        where = f"{name}, line {line}"
        cells = _cells(text, where, columns if columns is not None or not rows else len(rows[0]))
        numbers = (_number(cell, where, column, line) for column, cell in enumerate(cells, 1))
        rows.append(np.fromiter(numbers, dtype=np.float32))
    return np.array(rows, dtype=np.float32)


def _cells(text: bytes, where: str, columns: int | None) -> Iterator[str]:
    """Split one line into its cells, part by part, since one may be of any length."""
    if not text.strip():
        raise TableError(
            f"{where} is blank; expected numbers separated by commas. Remove the line."
        )
    # No number has a comma in it, quoted or not: this needs no split of a line of any length.
    width = text.count(b",") + 1
    if columns not in (None, width):
        raise TableError(
            f"{where} has {_count(width, 'column')}; expected {columns:,}. "
            "Correct the line or drop it."
        )
    begin = 0
    for part in _cut(text):
        try:
            (cells,) = csv.reader([part.decode()], strict=True)
        except UnicodeDecodeError as error:
            raise TableError(
                f"{where} is not UTF-8 text (byte {begin + error.start + 1} is "
                f"{part[error.start]:#04x}); save the file as plain CSV in UTF-8, uncompressed."
            ) from None
        except csv.Error as error:
            raise TableError(f"{where} is not CSV: {error}. Numbers need no quotes.") from None
        yield from cells or [""]
        begin += len(part) + 1


def _number(cell: str, where: str, column: int, line: int) -> float:
    """Return the finite float32 that a cell spells."""
    where = f"{where}, column {column}"
    if not _NUMBER.fullmatch(cell):
        _refuse_cell(cell, where, line)
    with np.errstate(over="ignore"):
        number = np.float32(cell)
    if not np.isfinite(number):
        raise TableError(
            f"{where} is {_quote(cell)}; expected a number that float32 holds (3.4e38). "
            "Scale the column or drop the row."
        )
    return float(number)


def _refuse_cell(cell: str, where: str, line: int) -> NoReturn:
    if not cell.strip():
        raise TableError(f"{where} is empty; expected a number. Fill the cell or drop the row.")
    if cell.strip().lstrip("+-").lower() in {"nan", "inf", "infinity"}:
        raise TableError(
            f"{where} is {_quote(cell)}; expected a finite number. Fill the cell or drop the row."
        )
    if ";" in cell or "\t" in cell:
        raise TableError(f"{where} is {_quote(cell)}; expected a number. Separate cells by commas.")
    if line == 1:
        raise TableError(
            f"{where} is {_quote(cell)}; expected a number. "
            "If the first line is a header, remove it: SageMaker's CSV has none."
        )
    raise TableError(f"{where} is {_quote(cell)}; expected a number. Correct it or drop the row.")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _quote(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:40]}...")  # noqa: PLR2004
