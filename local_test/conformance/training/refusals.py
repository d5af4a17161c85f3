"""Rules for training jobs that cannot be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.malformed import HOPELESS
from conformance.rule import rule

if TYPE_CHECKING:
    from conformance.job import Job
    from conformance.run import Run

_SHOWN = 1024  # characters of the failure file that become FailureReason


@rule("T10", "T22", "X19", observes="refused")
def fails_without_data(run: Run) -> Finding:
    """A job whose channel is empty ends with an exit code that is not 0."""
    job = run.refused
    if job.exit_code is None:
        return failed(job.end, "End with an exit code that is not 0 when there is no data.")
    if job.exit_code == 0:
        return failed(
            f"the channel `{run.channel}` is empty, and the job ends with exit code 0",
            "Say which files were expected where, and end with exit code 1.",
        )
    return passed(f"exit code {job.exit_code}")


@rule("T12", observes="refused")
def failure_file(run: Run) -> Finding:
    """A job that fails says why in /opt/ml/output/failure, in its first 1,024 characters."""
    if run.refused.exit_code in {0, None}:
        return not_applicable("the job did not fail by itself")
    written = run.refused.failure
    sentence = (written or "")[:_SHOWN].strip()
    if not sentence:
        return failed(
            f"the job failed and left {'an empty' if written is not None else 'no'} failure file",
            "Write the sentence that says what to do to /opt/ml/output/failure before the end.",
        )
    if sentence.startswith("Traceback"):
        return warned(
            f"it begins with a traceback: {sentence[:80]!r}",
            f"Put the important sentence first: only {_SHOWN:,} characters are shown.",
        )
    return passed(repr(sentence[:200]))


@rule("T10", "T12", "T22", observes="channelless")
def fails_without_channel(run: Run) -> Finding:
    """A job without any channel ends with an exit code that is not 0, and says why."""
    cure = "Say which channel is missing, in /opt/ml/output/failure too, and end with exit code 1."
    if wrong := no_refusal(run, run.channelless):
        return failed(f"without a channel {wrong}", cure)
    return passed(repr((run.channelless.failure or "")[:200]))


@rule("T10", "T12", observes="misled")
def fails_on_malformed_data(run: Run) -> Finding:
    """A job on empty or malformed files ends with an exit code that is not 0, and says why."""
    cure = "Say what was found in which file and line, in /opt/ml/output/failure too; end with 1."
    wrong = {what: fault for what, job in run.misled.items() if (fault := no_refusal(run, job))}
    if not wrong:
        return passed(f"on {', '.join(run.misled)}")
    found = "; ".join(f"on {what} {fault}" for what, fault in wrong.items())
    # Whether one bad line among good ones is to stop a job is a matter of taste.
    bearable = all(what not in HOPELESS and run.misled[what].exit_code == 0 for what in wrong)
    return warned(found, cure) if bearable else failed(found, cure)


def no_refusal(run: Run, job: Job) -> str:
    """Say what is wrong with the end of a job that cannot be done, or nothing.

    That no job at all writes a failure file is for `failure_file` to say.
    """
    if job.exit_code == 0:
        return "the job ends with exit code 0"
    if job.exit_code is None:
        return job.end
    if (job.failure or "").strip() or not (run.refused.failure or "").strip():
        return ""
    return f"there is no failure file: {job.end}"
