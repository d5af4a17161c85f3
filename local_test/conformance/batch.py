"""Rules for a batch transform job: the same server, with SAGEMAKER_BATCH."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.finding import BlockedError, Finding, failed, passed, warned
from conformance.rule import rule
from conformance.server import LINE_TYPES, Ordinary, Payload

if TYPE_CHECKING:
    from conformance.run import Run
    from conformance.server import Reply

_KNOWN = {"MaxConcurrentTransforms": int, "BatchStrategy": str, "MaxPayloadInMB": int}
_MOST_MEGABYTES = 100  # of all requests at a time (B8)
_STRATEGIES = ("MULTI_RECORD", "SINGLE_RECORD")


@rule("B1", "B2", observes="batch_started", asked_for_by="batch")
def starts(run: Run) -> Finding:
    """With SAGEMAKER_BATCH=true, too, /ping answers 200 within 8 minutes of the start."""
    if run.batch_started.healthy:
        return passed(f"after {run.batch_started.seconds:.1f} s")
    return failed(run.batch_started.end, "Start in the same way as without the variable.")


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
        right = (
            right and said["MaxConcurrentTransforms"] * said["MaxPayloadInMB"] <= _MOST_MEGABYTES
        )
    except (ValueError, KeyError, TypeError):
        right = False
    if right:
        return passed(reply.body.decode().strip())
    return failed(
        str(reply),
        'Answer {"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", '
        '"MaxPayloadInMB": 6} or 404.',
    )


def _lines(run: Run, end: bytes = b"\n") -> tuple[int, Reply]:
    """Send the payload's lines three times over; return how many they are, and the reply.

    Raises:
        BlockedError: if a body of that type has no lines, or another rule says that it is not
            scored.
    """
    if run.given.only is None:
        _ = run.scored
    kind = run.payload.content_type.partition(";")[0].strip().lower()
    if kind not in LINE_TYPES:
        raise BlockedError(f"a payload of {kind} is not cut at lines; give text/csv")
    lines = [line for line in run.payload.body.splitlines() if line.strip()] * 3
    reply = run.batch.invoke(Payload(b"\n".join(lines) + end, kind), {"Accept": kind})
    return len(lines), reply


@rule("B6", "B12", observes="batch")
def one_line_for_each(run: Run) -> Finding:
    """A body of many lines is answered with as many lines."""
    count, reply = _lines(run)
    if reply.status != HTTPStatus.OK:
        return failed(str(reply), "Answer each line with a line, of the type that was asked for.")
    found = len(reply.body.splitlines())
    if found != count:
        return failed(
            f"{count} lines are answered with {found}",
            "Answer each line with one line, in order, without a header.",
        )
    return passed(f"{found} lines for {count}")


@rule("B7", observes="batch")
def last_line_without_end(run: Run) -> Finding:
    """A body whose last line has no newline gets the reply of one that has it."""
    whole, (_, cut) = Ordinary(lambda: _lines(run)[1]), _lines(run, end=b"")
    if whole.first.status != HTTPStatus.OK:
        raise BlockedError(str(whole.first))
    if whole.is_like(cut):
        return passed("the same reply" + ", but for what varies in others, too" * whole.varies)
    return failed(
        f"{cut}, but with a newline: {whole.first}",
        "Score the last line whether it has one or not.",
    )


@rule("B11", "B13", observes="batch")
def reply_ends_with_a_newline(run: Run) -> Finding:
    """A reply of lines ends with a newline, since replies are put one after the other."""
    _, reply = _lines(run)
    if reply.status != HTTPStatus.OK:
        raise BlockedError(str(reply))
    if reply.body.endswith(b"\n"):
        return passed(repr(reply.body[-20:]))
    return warned(
        f"it ends with {reply.body[-20:]!r}",
        "End each line with a newline, or every job needs AssembleWith=Line.",
    )


@rule("B14", "H26", "X40", observes="batch")
def reply_of_the_same_type(run: Run) -> Finding:
    """Lines of a type that Accept asks for are answered with that type."""
    _, reply = _lines(run)
    if reply.status != HTTPStatus.OK:
        raise BlockedError(str(reply))
    asked = run.payload.content_type.partition(";")[0].strip().lower()
    if reply.media_type == asked:
        return passed(asked)
    return failed(
        f"{asked} is asked for, and the reply's Content-Type is {reply.media_type or 'not set'}",
        "Honour Accept, and say so in Content-Type; JoinSource needs the types to be the same.",
    )
