"""Rules for a training job that is stopped, and one that goes on after that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.jobs import LONGER
from conformance.log import counts
from conformance.rule import rule

if TYPE_CHECKING:
    from conformance.run import Run

_TELLING = 2.0  # seconds that a job takes at least for the times in its log to say something
_TOO_SHORT = "the job ends so soon that it may not have heard the signal"
_AT_THE_END = 0.2  # seconds before the end in which a program empties its buffers


@rule("T4", "T8", "X24", observes="stopped")
def hears_sigterm(run: Run) -> Finding:
    """A job that is stopped ends by itself before SIGKILL comes, 120 s after SIGTERM."""
    if run.stopped.exit_code is None:
        return failed(
            run.stopped.end,
            "Handle SIGTERM: PID 1 ignores it otherwise. A shell script must exec the program.",
        )
    if not _was_stopped(run):
        return not_applicable(f"{_TOO_SHORT}; {LONGER}")
    return passed(run.stopped.end)


def _was_stopped(run: Run) -> bool:
    """Say whether the job that was asked to stop did: it may have been at its end anyhow."""
    job = run.stopped
    if run.given.endless or job.exit_code != run.trained.exit_code:
        return True
    asked = job.stopped or 0.0
    left = run.trained.seconds - asked  # as an ordinary job needs it
    return left >= _TELLING and job.seconds - asked < left / 2


@rule("T8", observes="stopped")
def stops_with_a_model(run: Run) -> Finding:
    """A job that is stopped keeps what it has learnt."""
    if run.stopped.exit_code is None:
        return not_applicable("it was killed")
    if not _was_stopped(run):
        return not_applicable(_TOO_SHORT)
    if run.stopped.model:
        return passed(f"it left {', '.join(run.stopped.model)}")
    return warned(
        "it left no model",
        "Save what has been learnt so far when SIGTERM comes, or after each epoch.",
    )


@rule("T46", observes="stopped")
def logs_at_once(run: Run) -> Finding:
    """Lines of the log arrive when they are written, not at the end of the job."""
    cure = "Set PYTHONUNBUFFERED=1, or flush each line; log something while the job runs."
    began, ended = run.trained.container.ran
    times = run.trained.container.log_times()
    if run.trained.exit_code == 0 and ended - began >= _TELLING and times:
        lead = ended - times[0]
        if lead >= _AT_THE_END:
            return passed(f"the first line came {lead:.1f} s before the end")
        return warned(
            f"the job took {ended - began:.1f} s, and all {len(times)} lines came at its end", cure
        )
    if run.stopped.said:
        return passed(f"{len(run.stopped.said.splitlines())} lines before the job was stopped")
    if lines := run.stopped.log.splitlines():
        return warned(
            f"the job was silent until it was stopped; then came {len(lines)} lines", cure
        )
    return not_applicable("the job logs nothing")


@rule("T37", "T38", "T39", "X42", observes="resumed")
def resumes(run: Run) -> Finding:
    """A job that was stopped and is started anew on its checkpoints goes on, and ends as before."""
    codes = {0} if run.resumed.stopped is None else {0, run.stopped.exit_code}
    if run.resumed.exit_code not in codes:
        return failed(
            run.resumed.failure or run.resumed.end,
            "Go on from the last whole checkpoint; pass over files that end in "
            "`.sagemaker-uploaded` or `.sagemaker-uploading`, and give a checkpoint its name when "
            "it is whole.",
        )
    first, then = counts(run.stopped.log), counts(run.resumed.log)
    told = [name for name, seen in first.items() if seen[0] < seen[-1] and name in then]
    if not told:
        return not_applicable(
            "its log counts no epochs or steps, so that it may have gone on or begun again; "
            f"{run.resumed.end}"
        )
    name = next((name for name in told if then[name][0] > first[name][0]), told[0])
    seen = f"{name} {then[name][0]}; the job before it had {first[name][0]} to {first[name][-1]}"
    if then[name][0] > first[name][0]:
        return passed(f"its log goes on at {seen}")
    return warned(
        f"its log begins again at {seen}",
        "Read the last checkpoint before training begins, and go on from what it says.",
    )
