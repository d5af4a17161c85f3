"""A line for each line of a body: its score, or in its place that it is bad."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from simplenet.decoding import BodyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from simplenet.decoding import Features
    from simplenet.encoding import Scores
    from simplenet.formats import Format

#: More bad lines are no data with bad records in it, and each costs time and a sentence.
MOST_BAD = 10_000

# Lines that are tried together: where one of them is bad, each is tried alone.
_PIECE_LINES = 64

_LINE = re.compile(rb"[^\r\n]+(?:\r\n?|\n)?|\r\n?|\n")


def answer_each(
    request: Format,
    reply: Format,
    body: bytes,
    columns: int,
    score: Callable[[Features, int], Scores],
) -> tuple[bytes, int] | None:
    """Return a line for each line of the body, and how many they are.

    None where either format has no lines, or the body is empty.

    Raises:
        BodyError: if more than `MOST_BAD` lines are bad.
    """
    if request.bad_record is None or reply.bad_record is None:
        return None

    def answer(text: bytes, before: int) -> tuple[bytes, int]:
        """Score the lines that follow `before` others."""
        if not text.strip():
            raise BodyError(f"Line {before + 1} is blank; expected a row of numbers.")
        features = request.decode(text, columns, before)
        return reply.encode(score(features, before)), len(features)

    answers: list[bytes] = []
    before = bad = 0
    lines = _LINE.finditer(body.rstrip())
    while piece := [line[0] for line in islice(lines, _PIECE_LINES)]:
        with suppress(BodyError):
            scores, rows = answer(b"".join(piece), before)
            if rows == len(piece):  # a blank line at its end is no row
                answers.append(scores)
                before += rows
                continue
        for line in piece:
            try:
                answers.append(answer(line, before)[0])
            except BodyError as error:
                bad += 1
                if bad > MOST_BAD:
                    raise BodyError(
                        f"More than {MOST_BAD:,} lines are bad, of which the last is: {error}"
                    ) from None
                answers.append(reply.bad_record(str(error)))
            before += 1
    return (b"".join(answers), before) if answers else None
