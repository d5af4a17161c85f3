"""Request bodies to features, scores to replies."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from simplenet import decoding, encoding
from simplenet.decoding import BodyError
from simplenet.formats import FORMATS, media_type, negotiate


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    """Return what `numpy.save` writes."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


SAME_ROWS = [
    ("text/csv", b"1,2\n3,4.5"),
    ("text/csv", b"1,2\n3,4.5\n"),
    ("application/json", b'{"instances": [{"features": [1, 2]}, {"features": [3, 4.5]}]}'),
    ("application/json", b'{"instances": [[1, 2], [3, 4.5]]}'),
    (
        "application/json",
        b'{"instances": [{"data": {"features": {"values": [1, 2]}}}, {"features": [3, 4.5]}]}',
    ),
    ("application/json", b"[[1, 2], [3, 4.5]]"),
    ("application/jsonlines", b'{"features": [1, 2]}\n[3, 4.5]\n'),
    ("application/x-ndjson", b'{"data": {"features": {"values": [1, 2]}}}\r\n[3, 4.5]'),
    ("application/x-npy", npy(np.array([[1, 2], [3, 4.5]]))),
    ("application/x-npy", npy(np.array([[1, 2], [3, 4.5]], dtype=">f4", order="F"))),
    ("application/x-npy", npy(np.array([[1, 2], [3, 4.5]], dtype=np.float16))),
]


@pytest.mark.parametrize(("name", "body"), SAME_ROWS)
def test_the_same_rows_are_the_same_features_in_every_format(name: str, body: bytes) -> None:
    """A caller may send whichever is at hand (F3, F4, F5, F8)."""
    features = FORMATS[name].decode(body, 2)

    np.testing.assert_array_equal(np.array([[1, 2], [3, 4.5]], np.float32), features, strict=True)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("application/json", b"[1, 2]"),
        ("application/x-npy", npy(np.array([1, 2], dtype=np.int8))),
        ("text/csv", b"1,2"),
    ],
)
def test_one_row_needs_no_second_bracket(name: str, body: bytes) -> None:
    """A bare list of numbers, or an array of one dimension, is one row."""
    assert [[1, 2]] == FORMATS[name].decode(body, 2).tolist()


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("text/csv", b"", "The body is empty; expected one row"),
        ("text/csv", b"x0,x1\n1,2", "The body, line 1, column 1 is 'x0'; expected a number. If"),
        ("text/csv", b"1,2,3", "The body, line 1 has 3 columns; expected 2."),
        ("text/csv", b"1,2\n3", "The body, line 2 has 1 column; expected 2."),
        ("text/csv", b"1,2\n\n3,4", "The body, line 2 is blank"),
        ("application/json", b"", "The body is not JSON"),
        ("application/json", b"{", "The body is not JSON"),
        ("application/json", b"\xff", "The body is not JSON"),
        ("application/json", b"[" * 100_000, "The body is not JSON"),
        ("application/json", b"[[NaN, 1]]", "The body is not JSON"),
        ("application/json", b"{}", "The body holds no rows"),
        ("application/json", b"[]", "The body holds no rows"),
        ("application/json", b"7", "The body holds no rows"),
        ("application/json", b'{"instances": {}}', "The body holds no rows"),
        ("application/json", b"[[1, 2, 3]]", "Instance 1 has 3 columns; expected 2, the features"),
        ("application/json", b"[[1, 2], [3]]", "Instance 2 has 1 column; expected 2"),
        ("application/json", b"[[1, 2], 3]", "Instance 2 holds no list of numbers"),
        ("application/json", b'["1", "2"]', 'Instance 1, column 1 is "1"; expected a number'),
        ("application/json", b"[[1, true]]", "Instance 1, column 2 is true; expected a number"),
        ("application/json", b"[[1, null]]", "Instance 1, column 2 is null; expected a number"),
        ("application/json", b"[[1, [2]]]", "Instance 1, column 2 is [2]; expected a number"),
        ("application/json", b"[[1, 1e39]]", "Instance 1, column 2 is 1e+39; expected a finite"),
        ("application/json", b"[[1, 1e400]]", "The body is not JSON"),
        ("application/json", b"[[1, 1" + b"0" * 400 + b"]]", "The body is not JSON"),
        ("application/json", b'[{"features": 1}]', "Instance 1 holds no list of numbers"),
        ("application/json", b'[{"x": [1, 2]}]', "Instance 1 holds no list of numbers"),
        ("application/jsonlines", b"", "The body is empty"),
        ("application/jsonlines", b"[1, 2]\n{", "Line 2 is not JSON"),
        ("application/jsonlines", b"[1, 2]\n\n[3, 4]", "Line 2 is not JSON"),
        ("application/jsonlines", b"[1,2],[3,4]\n[5\n6]", "Line 1 is not JSON"),
        ("application/jsonlines", b"[1,2],null,[3,4]\n[5\n6]", "Line 1 is not JSON"),
        ("application/jsonlines", b"[1\n2]", "Line 1 is not JSON"),
        ("application/jsonlines", b"[1, 2]\n[3]", "Line 2 has 1 column; expected 2"),
        ("application/x-npy", b"", "The body is not in NumPy's .npy format; expected what"),
        ("application/x-npy", b"PK\x03\x04junk", "The body is not in NumPy's .npy format"),
        (
            "application/x-npy",
            npy(np.ones((2, 2)))[:-1],
            "The array's header promises 32 bytes of numbers, and 31",
        ),
        (
            "application/x-npy",
            npy([{}], allow_pickle=True),  # pickled here, to be refused unread
            "The array holds object; expected floats",
        ),
        ("application/x-npy", npy(np.array(["a"])), "The array holds <U1; expected floats or int"),
        ("application/x-npy", npy(np.array([[True, False]])), "The array holds bool; expected fl"),
        ("application/x-npy", npy(np.ones((2, 3))), "Row 1 has 3 columns; expected 2"),
        ("application/x-npy", npy(np.ones((2, 2, 2))), "The array has shape (2, 2, 2); expected"),
        (
            "application/x-npy",
            npy(np.ones((0, 2))),
            "The array has shape (0, 2); expected (rows, 2)",
        ),
        ("application/x-npy", npy(np.float64(1)), "The array has shape (); expected (rows, 2)"),
        (
            "application/x-npy",
            npy(np.array([[1, np.nan]])),
            "Row 1, column 2 is nan; expected a fin",
        ),
        (
            "application/x-npy",
            npy(np.array([[1, 2], [1e39, 3]])),
            "Row 2, column 1 is 1e+39; expec",
        ),
    ],
)
def test_a_body_that_cannot_be_read_gets_a_sentence(name: str, body: bytes, sentence: str) -> None:
    """The message says what was found, what was expected, and where (F9, F12)."""
    with pytest.raises(BodyError) as refused:
        FORMATS[name].decode(body, 2)

    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "body", "cure"),
    [
        ("text/csv", b"", "; expected one row of numbers a line."),
        (
            "application/json",
            b"{}",
            '{"instances": [{"features": [...]}, ...]} or a list of lists of numbers.',
        ),
        ("application/json", b"[[1, 2], 3]", '; expected {"features": [...]} or [...].'),
        (
            "application/json",
            b"[[1, 2, 3]]",
            "; expected 2, the features that the model was trained on.",
        ),
        ("application/json", b"[[1, true]]", "; expected a number that float32 holds."),
        ("application/json", b"[[1, 1e39]]", "; expected a finite number that float32 holds."),
        ("application/jsonlines", b" \n", '; expected one {"features": [...]} a line.'),
        (
            "application/x-npy",
            b"",
            "; expected what numpy.save(file, array, allow_pickle=False) writes.",
        ),
        ("application/x-npy", npy(np.array(["a"])), "; expected floats or integers."),
        ("application/x-npy", npy(np.ones(())), "; expected (rows, 2) with at least one row."),
        (
            "application/x-npy",
            npy(np.ones(2))[:-1],
            "; the body is cut short or has more behind it.",
        ),
    ],
)
def test_a_refusal_says_what_was_expected(name: str, body: bytes, cure: str) -> None:
    """Whoever sent the body knows what to send instead (F9)."""
    with pytest.raises(BodyError) as refused:
        FORMATS[name].decode(body, 2)

    assert str(refused.value).endswith(cure)


SCORES = np.array([0.97, 0.5, 1e-30, 1], dtype=np.float32)


def test_replies_are_spelt_as_linear_learners() -> None:
    """CSV a score a line; JSON an object a row; npy a column (F6, B12, B13)."""
    lines = FORMATS["application/jsonlines"].encode(SCORES).decode()

    assert b"0.97\n0.5\n1e-30\n1.0\n" == FORMATS["text/csv"].encode(SCORES)
    assert {
        "predictions": [
            {"score": 0.97, "predicted_label": 1},
            {"score": 0.5, "predicted_label": 0},
            {"score": 1e-30, "predicted_label": 0},
            {"score": 1.0, "predicted_label": 1},
        ]
    } == json.loads(FORMATS["application/json"].encode(SCORES))
    assert lines.endswith("\n")
    assert {"score": 0.97, "predicted_label": 1} == json.loads(lines.splitlines()[0])
    array = np.load(io.BytesIO(FORMATS["application/x-npy"].encode(SCORES)), allow_pickle=False)
    np.testing.assert_array_equal(SCORES[:, np.newaxis], array, strict=True)


@given(
    scores=arrays.arrays(np.float32, st.integers(1, 30), elements=st.floats(0, 1, width=32)),
    size=st.integers(1, 40),
)
def test_every_reply_has_the_same_scores(scores: np.ndarray, size: int) -> None:
    """Rows out equal rows in, in order, to the last bit of float32, in every format, in however
    many pieces it is made.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_PIECE_ROWS", size)
        csv = FORMATS["text/csv"].encode(scores).decode().splitlines()
        objects = json.loads(FORMATS["application/json"].encode(scores))["predictions"]
        lines = [*map(json.loads, FORMATS["application/jsonlines"].encode(scores).splitlines())]

    for texts in (csv, [row["score"] for row in objects], [row["score"] for row in lines]):
        np.testing.assert_array_equal(scores, np.array([*texts], dtype=np.float32), strict=True)


@given(body=st.binary(max_size=200), name=st.sampled_from([*FORMATS]))
def test_any_bytes_are_features_or_get_a_sentence(body: bytes, name: str) -> None:
    """No body of any kind raises anything but the error that becomes a 400."""
    try:
        features = FORMATS[name].decode(body, 2)
    except BodyError:
        return

    assert np.float32 == features.dtype
    assert 2 == features.shape[1]
    assert np.isfinite(features).all()


ROW: st.SearchStrategy[list[Any]] = st.lists(
    st.integers(-9, 9) | st.floats(width=32) | st.sampled_from([None, "],[", []]), max_size=2
)
GOOD = st.just([1, 2.5]) | st.just([3, 4])


@given(
    rows=st.lists(GOOD, min_size=1, max_size=9).flatmap(
        lambda good: (
            st.just(good)
            | st.tuples(ROW, st.integers(0, len(good))).map(
                lambda bad: [*good[: bad[1]], bad[0], *good[bad[1] :]]
            )
        )
    ),
    wrap=st.sampled_from(
        [
            lambda row: row,
            lambda row: {"features": row},
            lambda row: {"features": row, "id": [[1], [2]]},
            lambda row: {"data": {"features": {"values": row}}},
        ]
    ),
    spelling=st.sampled_from(
        ["%s", '{"instances": %s}', ' { "instances" :%s } ', '{"instances": %s, "x": 1}', "[%s]"]
    ),
    size=st.integers(1, 40),
    damage=st.none() | st.tuples(st.integers(0, 200), st.sampled_from("[]{},x")),
)
def test_a_document_read_in_pieces_is_the_document(
    rows: list[Any], wrap: Any, spelling: str, size: int, damage: tuple[int, str] | None
) -> None:
    """Wherever it is cut: the same rows, or where one of them is bad a sentence about that one."""
    body = spelling % json.dumps([*map(wrap, rows)])
    lines = "".join(f"{json.dumps(wrap(row))}\n" for row in rows)
    if damage:
        place, character = damage
        body = body[:place] + character + body[place:]
        lines = lines[:place] + character + lines[place + 1 :]

    def read(name: str, text: str, size: int) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoding, "PIECE_BYTES", size)
            try:
                return FORMATS[name].decode(text.encode(), 2).tolist()
            except BodyError as error:
                place = str(error).partition(" is ")[0].partition(" has ")[0]
                return "refused" if damage else place

    for name, text in (("application/json", body), ("application/jsonlines", lines)):
        assert read(name, text, 1 << 20) == read(name, text, size)


# Sizes that leave no end too short for a cut: then the whole is read at once.
@pytest.mark.parametrize("size", [96, 120, 482])
@pytest.mark.parametrize(
    ("spelling", "row"),
    [
        ("[%s]", "[%d, 0.5]"),
        (' {"instances" : [%s] } ', '{"features": [%d, 0.5]}'),
        ('{"instances":[%s]}', '{"data": {"features": {"values": [%d, 0.5]}}}'),
    ],
)
def test_a_large_document_is_cut_between_its_rows(
    monkeypatch: pytest.MonkeyPatch, spelling: str, row: str, size: int
) -> None:
    """`/ping` comes in between (H13); a bad row is named by its number in the whole document."""
    monkeypatch.setattr(decoding, "PIECE_BYTES", size)
    rows = [row % number for number in range(200)]
    body = (spelling % ", ".join(rows)).encode()
    bad = (spelling % ", ".join([*rows[:150], row.replace("%d", "null"), *rows[151:]])).encode()
    cut = decoding._json_in_pieces(body, 2)

    assert cut is not None
    assert [[number, 0.5] for number in range(200)] == cut.tolist()
    with pytest.raises(BodyError, match="^Instance 151, column 1 is null; expected a number"):
        decoding.json(bad, 2)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, "text/csv"),
        ("", "text/csv"),
        ("text/csv", "text/csv"),
        ("Text/CSV; charset=utf-8", "text/csv"),
        ("text/csv; label_size=0", "text/csv"),
        ("application/JSONLINES", "application/jsonlines"),
        ("application/x-ndjson", "application/x-ndjson"),
        (" application/json ;charset=UTF-8", "application/json"),
        ("application/octet-stream", None),
        ("text", None),
        (";", "text/csv"),
    ],
)
def test_a_content_type_is_parsed_and_not_compared(header: str | None, name: str | None) -> None:
    """Case and parameters do not count: AWS's own documents and SDKs send them (H24, F10, X23)."""
    assert name == media_type(header)


@pytest.mark.parametrize(
    "header",
    [
        "'descr': '<f8', 'shape': (-1, -2)",
        "'descr': '<f8', 'shape': (True, 2)",
        "'descr': '<f8', 'shape': (9223372036854775807, 0)",
        "'descr': '<f8', 'shape': (" + "1, " * 65 + ")",
        "'descr': (), 'shape': (1, 2)",
        "'descr': ('<f8',), 'shape': (1, 2)",
        "'descr': [('a', ())], 'shape': (1, 2)",
    ],
)
def test_an_array_s_header_may_say_anything(header: str) -> None:
    """It is refused, whatever NumPy would make of it (F9)."""
    text = f"{{'fortran_order': False, {header}, }}\n".encode()
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    for size in (16, 8, 0):
        with pytest.raises(BodyError):
            FORMATS["application/x-npy"].decode(head + bytes(size), 2)


@pytest.mark.parametrize(
    ("header", "own", "name"),
    [
        (None, "application/x-npy", "application/x-npy"),
        ("", "text/csv", "text/csv"),
        ("*/*", "application/json", "application/json"),
        ("text/csv, application/json", "application/json", "application/json"),
        ("application/json;q=0.5, text/csv", "application/x-npy", "text/csv"),
        ("application/json; q=0, */*", "application/json", "text/csv"),
        ("text/*", "application/json", "text/csv"),
        ("APPLICATION/JSON", "text/csv", "application/json"),
        ("application/jsonlines;verbose=true", "text/csv", "application/jsonlines"),
        ("text/csv; charset=utf-8; q=0.5, application/json;q=0.1", "image/png", "text/csv"),
        ("image/png", "text/csv", None),
        ("nonsense", "text/csv", None),
    ],
)
def test_a_reply_is_of_the_type_that_accept_likes_best(
    header: str | None, own: str, name: str | None
) -> None:
    """Lists, wildcards and q-values count; without a preference it is the request's type (H25)."""
    assert name == negotiate(header, own)
