"""Rules for a batch transform job: the same server, with SAGEMAKER_BATCH."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed
from conformance.rule import rule
from conformance.server import Payload

if TYPE_CHECKING:
    from conformance.run import Run

_LINE_TYPES = ("text/csv", "application/jsonlines")
_KNOWN = {"MaxConcurrentTransforms": int, "BatchStrategy": str, "MaxPayloadInMB": int}
_STRATEGIES = ("MULTI_RECORD", "SINGLE_RECORD")


@rule("B3", observes="batch")
def execution_parameters(run: Run) -> Finding:
    """/execution-parameters is not there, or says how the job is best cut."""
    reply = run.batch.ask("GET", "/execution-parameters")
    if reply.status == HTTPStatus.NOT_FOUND:
        return passed("HTTP 404: it is optional")
    try:
        said = json.loads(reply.body)
        right = reply.status == HTTPStatus.OK and all(
            type(said[name]) is kind for name, kind in _KNOWN.items()
        )
        right = right and said["BatchStrategy"] in _STRATEGIES
    except (ValueError, KeyError, TypeError):
        right = False
    if right:
        return passed(reply.body.decode().strip())
    return failed(
        str(reply),
        'Answer {"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", '
        '"MaxPayloadInMB": 6} or 404.',
    )


@rule("B6", "B12", observes="batch")
def one_line_for_each(run: Run) -> Finding:
    """A body of many lines is answered with as many lines."""
    kind = run.payload.content_type.partition(";")[0].strip().lower()
    if kind not in _LINE_TYPES:
        return not_applicable(f"a payload of {kind} is not cut at lines; give text/csv")
    lines = [line for line in run.payload.body.splitlines() if line.strip()] * 3
    headers = {"Accept": kind}
    reply = run.batch.invoke(Payload(b"\n".join(lines) + b"\n", kind), headers)
    if reply.status != HTTPStatus.OK:
        return failed(str(reply), "Answer each line with a line, of the type that was asked for.")
    found = len(reply.body.splitlines())
    if found != len(lines):
        return failed(
            f"{len(lines)} lines are answered with {found}",
            "Answer each line with one line, in order, without a header.",
        )
    return passed(f"{found} lines for {len(lines)}")
