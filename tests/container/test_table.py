"""CSV bytes to numbers and back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from simplenet import table
from simplenet.table import TableError


def read(text: bytes, columns: int | None = None, threads: int = 1) -> np.ndarray:
    """Read all of `text` as one array."""
    blocks = list(table.read(io.BytesIO(text), "data.csv", columns, threads))
    return np.concatenate(blocks) if blocks else np.empty((0, 0), np.float32)


@pytest.mark.parametrize(
    "text",
    [
        b"1,2\n3,40\n",
        b"1,2\n3,40",
        b"1,2\r\n3,40\r\n",
        b"1,2\r3,40\r",
        b"\xef\xbb\xbf1,2\n3,40\n",
        b"1,2\n3,40\n\n\r\n \n",
        b' 1 ,"2"\n3.0,+4e1\n',
        b"1.,02\n3,.4E+2\n",
    ],
    ids=["lf", "no-end", "crlf", "cr", "bom", "blank-end", "quotes", "spellings"],
)
def test_every_usual_spelling_of_a_table_reads_the_same(text: bytes) -> None:
    """Line ends, byte-order mark, blanks at the end, quotes and exponents (X21) do not matter."""
    assert [[1.0, 2.0], [3.0, 40.0]] == read(text).tolist()


@pytest.mark.parametrize("text", [b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf"])
def test_nothing_is_no_rows(text: bytes) -> None:
    """An empty source has no rows; whether that is an error is the caller's to say."""
    assert [] == list(table.read(io.BytesIO(text), "data.csv"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            b"label,x\n0,1\n",
            "data.csv, line 1, column 1 is 'label'; expected a number. If the first",
        ),
        (b"0,1\n0,x\n", "data.csv, line 2, column 2 is 'x'; expected a number."),
        (b"0,1\n0\n", "data.csv, line 2 has 1 column; expected 2."),
        (b"0,1\n0,1,2\n", "data.csv, line 2 has 3 columns; expected 2."),
        (b"0,1\n0,\n", "data.csv, line 2, column 2 is empty; expected a number."),
        (b"0,1\n\n0,1\n", "data.csv, line 2 is blank"),
        (b"\n0,1\n", "data.csv, line 1 is blank"),
        (b"0,nan\n", "data.csv, line 1, column 2 is 'nan'; expected a finite number."),
        (b"0,1\n0,-Inf\n", "data.csv, line 2, column 2 is '-Inf'; expected a finite number."),
        (b"0,1e39\n", "data.csv, line 1, column 2 is '1e39'; expected a number that float32 holds"),
        (b"0,True\n", "data.csv, line 1, column 2 is 'True'; expected a number."),
        (b"0,1_000\n", "data.csv, line 1, column 2 is '1_000'"),
        (b"0,0x1f\n", "data.csv, line 1, column 2 is '0x1f'"),
        (b"0;1\n", "data.csv, line 1, column 1 is '0;1'; expected a number. Separate cells by"),
        (b"0,1\x00\n", r"data.csv, line 1, column 2 is '1\x00'"),
        (b"0,\xe9\n", "data.csv, line 1 is not UTF-8 text (byte 3 is 0xe9)"),
        (b'0,"1\n', "data.csv, line 1 is not CSV: unexpected end of data"),
        ("0,\u0661\n".encode(), "data.csv, line 1, column 2 is '\u0661'"),
        (b"0," + b"x" * 99, f"data.csv, line 1, column 2 is '{'x' * 40}...'"),
        (b"0," + b"x" * 40, f"data.csv, line 1, column 2 is '{'x' * 40}';"),
    ],
)
def test_what_is_not_a_table_of_numbers_is_refused_with_its_place(
    text: bytes, sentence: str
) -> None:
    """The message names the source, line, column and what was found there."""
    with pytest.raises(TableError) as refused:
        read(text)

    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        (b"x,1\n", " If the first line is a header, remove it: SageMaker's CSV has none."),
        (b"0,1\n0,x\n", "; expected a number. Correct it or drop the row."),
        (b"0,1\n0\n", "; expected 2. Correct the line or drop it."),
        (b"0,1\n0,\n", "; expected a number. Fill the cell or drop the row."),
        (b"0,1\n\n0,1\n", "; expected numbers separated by commas. Remove the line."),
        (b"0,infinity\n", "; expected a finite number. Fill the cell or drop the row."),
        (b"0,1e39\n", "float32 holds (3.4e38). Scale the column or drop the row."),
        (b"0\t1\n", "; expected a number. Separate cells by commas."),
        (b"0,\xe9\n", "; save the file as plain CSV in UTF-8, uncompressed."),
        (b'0,"1\n', ". Numbers need no quotes."),
    ],
)
def test_a_refusal_ends_with_its_cure(text: bytes, cure: str) -> None:
    """Whoever reads it knows what to do with the file."""
    with pytest.raises(TableError) as refused:
        read(text)

    assert str(refused.value).endswith(cure)


@pytest.mark.parametrize("cell", ["%d.5", "+%d.5", '"%d.5"', " %d.5"])
def test_a_line_of_many_blocks_is_one_row(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    """It is read in parts, whichever way; a fault has its column as ever."""
    monkeypatch.setattr(table, "BLOCK_BYTES", 16)
    cells = [cell % number for number in range(3_000)]
    line = ",".join(cells).encode()
    rows = read(line + b"\r\n" + line)

    np.testing.assert_array_equal(rows, np.tile(np.arange(3_000, dtype=np.float32) + 0.5, (2, 1)))
    with pytest.raises(TableError, match="line 2 has 2,999 columns; expected 3,000"):
        read(line + b"\n" + ",".join(cells[1:]).encode())
    with pytest.raises(TableError, match="line 1, column 3001 is empty"):
        read(line + b",\n")
    with pytest.raises(TableError, match="line 1, column 3001 is 'x'"):
        read(line + b",x," + line)
    with pytest.raises(TableError, match=f"not UTF-8 text .byte {len(line) + 2} is 0xff"):
        read(line + b",\xff," + line)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_blocks_of_any_size_give_the_same_rows(
    monkeypatch: pytest.MonkeyPatch, size: int, threads: int
) -> None:
    """Neither cuts nor threads make a difference to a file's rows, or to the line of a fault."""
    text = b"".join(b"%d,%d.5\r\n" % (n, n) for n in range(200)) + b"\r\n\r\n"
    monkeypatch.setattr(table, "BLOCK_BYTES", size)

    assert [[n, n + 0.5] for n in range(200)] == read(text, threads=threads).tolist()
    with pytest.raises(TableError, match=r"line 151, column 2 is 'oops'"):
        read(text.replace(b"150,150.5", b"150,oops").replace(b"160.5", b"no"), threads=threads)
    with pytest.raises(TableError, match="line 181 has 1 column; expected 2"):
        read(text.replace(b"180,180.5", b"180"), threads=threads)
    with pytest.raises(TableError, match="line 201 is blank"):
        read(text + b"1,2\n", threads=threads)


@pytest.mark.parametrize("line", [b"1.%s,2", b"+1.%s,2", b'"1.%s",2'])
def test_a_number_may_have_any_length(line: bytes) -> None:
    """However it is read."""
    assert [[1, 2]] == read(line % (b"0" * 200_000)).tolist()


def test_the_number_of_columns_may_be_known_before() -> None:
    """A table of another width is refused at its first line, however wide it is."""
    with pytest.raises(TableError, match="line 1 has 3 columns; expected 2"):
        read(b"1,2,3\n", columns=2)
    with pytest.raises(TableError, match="line 1 has 1,000,001 columns; expected 2"):
        read(b"1," * 1_000_000 + b"1", columns=2)


def test_a_body_of_several_blocks_is_one_table() -> None:
    """Of the width that the model has; its lines count on from those before it."""
    lines = table.BLOCK_BYTES // 4 + 9
    rows = table.read_bytes(b"1,2\n" * lines, "The body", 2, first_line=5)

    assert (lines, 2) == rows.shape
    assert np.dtype(np.float32) == rows.dtype
    with pytest.raises(TableError, match=f"The body, line {lines + 5} has 3 columns; expected 2"):
        table.read_bytes(b"1,2\n" * lines + b"1,2,3\n", "The body", 2, first_line=5)
    with pytest.raises(TableError, match="The body, line 5 has 2 columns; expected 3"):
        table.read_bytes(b"1,2\n" * lines, "The body", 3, first_line=5)


@pytest.mark.parametrize(
    "last",
    [
        b'1,"2"3\n',
        b'1,2"\n',
        b"1,2\v\n",
        b"1,\f2\n",
        b'1,"2\n"\n',
        b'"1,2"\n',
        b'1,""\n',
        b"\xef\xbb\xbf1,2\n",
    ],
)
def test_a_large_table_is_as_strict_as_a_small_one(last: bytes) -> None:
    """What one parser refuses, the other does: else a batch would have fewer rows than lines."""
    with pytest.raises(TableError, match="line 9,?001"):
        read(b"1,2\n" * 9000 + last)


def test_a_large_table_may_have_quotes() -> None:
    """Around whole cells, as some tools write them."""
    assert [[1, 2], [3.5, -4]] * 5000 == read(b'"1","2"\r\n3.5,"-4"\r\n' * 5000).tolist()


def test_very_many_columns_are_read() -> None:
    """A table that is wide rather than long is read as well."""
    assert (2, 20_000) == read((b"0.25," * 19_999 + b"1\n") * 2).shape


CELL = st.one_of(
    st.floats(width=32).map(repr),
    st.integers().map(str),
    st.sampled_from(
        ["", " ", "nan", "True", "1_0", "0x1", "1e400", "--1", '"1"', "1.", "+.5", "é"]
    ),
    st.text(alphabet='0123456789.eE+-," \t\r\n', max_size=6),
)
TEXT = st.lists(st.lists(CELL, min_size=1, max_size=4).map(",".join), max_size=6).map("\n".join)


@given(text=st.one_of(TEXT.map(str.encode), st.binary(max_size=40)))
@example(text=b"1,2\n3")
@example(text=b"1\n\n2")
@example(text=b"true\nFALSE")
def test_the_fast_parsers_agree_with_the_strict_one_or_decline(text: bytes) -> None:
    """Speed never changes what is a table: a faster parser gives the same numbers, or none."""
    try:
        strict = table._parse_strictly(text, "data.csv", 1, None)
    except TableError:
        strict = None
    for parse in (table._parse_plain, table._parse_with_pandas):
        fast = parse(text)
        if fast is not None and np.isfinite(fast).all():
            assert strict is not None
            np.testing.assert_array_equal(strict, fast, strict=True)


@given(
    scores=arrays.arrays(
        np.float32, st.integers(1, 50), elements=st.floats(0, 1, width=32, allow_subnormal=True)
    )
)
def test_scores_read_back_as_the_same_float32(scores: np.ndarray) -> None:
    """Nothing is lost between a model and whoever reads its scores."""
    text = table.write(scores)

    assert text.endswith(b"\n")
    np.testing.assert_array_equal(scores, read(text)[:, 0], strict=True)
