"""What SageMaker does to the lines of a batch job before and after the container, for local mode.

https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

from client import media_types
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable


class DataProcessingError(Refusal):
    """Lines that cannot be filtered or joined; the message says why."""


def filtered(lines: Iterable[str], path: str, media_type: str) -> list[str]:
    """Return what an input filter leaves of each line: some columns of CSV, a field of JSON.

    >>> filtered(["1,0.5,0.25"], "$[1:]", "text/csv")
    ['0.5,0.25']

    Raises:
        DataProcessingError: if local mode knows no such filter.
    """
    columns = re.fullmatch(r"\$\[(-?\d*)(:?)(-?\d*)\]", path)
    if media_type == media_types.CSV and columns and (columns[1] or columns[2]):
        start = int(columns[1]) if columns[1] else None
        if columns[2]:
            chosen = slice(start, int(columns[3]) if columns[3] else None)
        else:
            chosen = slice(start, (start or 0) + 1 or None)
        return [_csv(row[chosen]) for row in csv.reader(lines)]
    field = re.fullmatch(r"\$\.(\w+)", path)
    if media_type == media_types.LINES and field:
        return [json.dumps(_field(line, field[1])) for line in lines]
    raise DataProcessingError(
        f"Local mode cannot filter {media_type} by {path!r}; expected columns of CSV, such as "
        "$[1:], or a field of JSON Lines, such as $.features."
    )


def joined(lines: list[str], replies: list[str], media_type: str) -> list[str]:
    """Return each line with its reply: further columns of CSV, or the field SageMakerOutput.

    >>> joined(["0.5,0.25"], ["0.97"], "text/csv")
    ['0.5,0.25,0.97']

    Raises:
        DataProcessingError: if there are not as many replies as lines, or they are not lines.
    """
    if media_type not in media_types.BY_LINE:
        raise DataProcessingError(f"{media_type} cannot be joined; expected CSV or JSON Lines.")
    if len(lines) != len(replies):
        raise DataProcessingError(
            f"{len(lines)} rows have {len(replies)} replies; expected one each."
        )
    if media_type == media_types.CSV:
        return [f"{line},{reply}" for line, reply in zip(lines, replies, strict=True)]
    records = [json.loads(line) for line in lines]
    rows = [row if isinstance(row, dict) else {"SageMakerInput": row} for row in records]
    return [
        json.dumps(row | {"SageMakerOutput": json.loads(reply)})
        for row, reply in zip(rows, replies, strict=True)
    ]


def _csv(row: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue()


def _field(line: str, name: str) -> object:
    record = json.loads(line)
    if not isinstance(record, dict) or name not in record:
        raise DataProcessingError(f"{line[:80]!r} has no field {name!r}.")
    return record[name]
