"""Scores to reply bodies: a function for each spelling."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import orjson

from simplenet import table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scores = NDArray[np.float32]  # (rows,)


# As many at a time as keep the interpreter, and so `/ping`, for some 20 ms.
_PIECE_ROWS = 64 << 10


def csv(scores: Scores) -> bytes:
    """Return a score a line, with a final newline (batch transform joins replies end to end)."""
    return table.write(scores)


def _objects(scores: Scores, separator: bytes) -> bytes:
    """Return `{"score": ..., "predicted_label": ...}` for each, as Linear Learner does.

    https://docs.aws.amazon.com/sagemaker/latest/dg/LL-in-formats.html
    """
    return separator.join(
        _piece(scores[first : first + _PIECE_ROWS], separator)
        for first in range(0, len(scores), _PIECE_ROWS)
    )


def _piece(scores: Scores, separator: bytes) -> bytes:
    pairs = np.column_stack([scores, np.round(scores)])
    text = orjson.dumps(pairs, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2]
    # "0.97,1.0],[0.3,0.0": a comma within brackets is always before a label.
    text = text.replace(b",1.0", b', "predicted_label": 1').replace(
        b",0.0", b', "predicted_label": 0'
    )
    return b'{"score": ' + text.replace(b"],[", b"}" + separator + b'{"score": ') + b"}"


def json(scores: Scores) -> bytes:
    """Return one document with an object for each row."""
    return b'{"predictions": [' + _objects(scores, b", ") + b"]}\n"


def json_lines(scores: Scores) -> bytes:
    """Return an object a line."""
    return _objects(scores, b"\n") + b"\n"


def npy(scores: Scores) -> bytes:
    """Return float32 of shape (rows, 1), so that `np.squeeze(np.round(...))` gives the labels."""
    file = io.BytesIO()
    np.save(file, scores.reshape(-1, 1), allow_pickle=False)
    return file.getvalue()
