"""Rules for `docker run IMAGE train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.rule import rule

if TYPE_CHECKING:
    from conformance.run import Run

_SHOWN = 1024  # characters of the failure file that become FailureReason


@rule("T10", observes="trained")
def ends_with_0(run: Run) -> Finding:
    """A job on good data ends with exit code 0."""
    if run.trained.exit_code == 0:
        return passed(f"exit code 0 after {run.trained.seconds:.1f} s")
    return failed(
        run.trained.failure or run.trained.end, "Look into the job's log; any code but 0 is Failed."
    )


@rule("T34", "X31", observes="trained")
def leaves_a_model(run: Run) -> Finding:
    """A job that ends well leaves files in /opt/ml/model."""
    if run.trained.exit_code != 0:
        return not_applicable(run.trained.end)
    files = run.trained.model
    if files:
        return passed(f"{len(files)} files, such as {next(iter(files))}")
    return failed(
        "/opt/ml/model is empty, so the job is Completed without a model",
        "Save the model in /opt/ml/model, and fail if it is not there at the end.",
    )


@rule("T34", "H7", "X30", observes="trained")
def model_at_the_root(run: Run) -> Finding:
    """The model's files are at the root of what is packed, not in a directory `model`."""
    if run.trained.exit_code != 0 or not run.trained.model:
        return not_applicable("the job left no model")
    if all(name.startswith("model/") for name in run.trained.model):
        return failed(
            f"all files are below /opt/ml/model/model, such as {next(iter(run.trained.model))}",
            "Save the files in /opt/ml/model itself: an endpoint unpacks them there.",
        )
    return passed("the files are at the root")


def _without(run: Run, what: str, cure: str) -> Finding:
    job = run.job_without(what)
    return passed(job.end) if job.exit_code == 0 else failed(job.failure or job.end, cure)


@rule("H50", observes="restricted")
def needs_no_root(run: Run) -> Finding:
    """A job ends well as any user."""
    return _without(run, "user", "chmod -R a+rX the program, and write to /opt/ml or /tmp alone.")


@rule("T41", observes="restricted")
def needs_no_writable_root(run: Run) -> Finding:
    """A job ends well where only /opt/ml and /tmp can be written to."""
    return _without(run, "writable_root", "Write scratch files to /tmp, and the rest to /opt/ml.")


@rule("T33", observes="restricted")
def needs_no_network(run: Run) -> Finding:
    """A job ends well without a network, as with EnableNetworkIsolation."""
    return _without(run, "network", "Install and download when the image is built, not in the job.")


@rule("T33", observes="restricted")
def needs_no_capabilities(run: Run) -> Finding:
    """A job ends well without any of root's capabilities."""
    return _without(run, "capabilities", "Give the program files that it may read as their owner.")


@rule("T10", "T22", "X19", observes="refused")
def fails_without_data(run: Run) -> Finding:
    """A job whose channel is empty ends with an exit code that is not 0."""
    job = run.refused
    if job.exit_code is None:
        return failed(job.end, "End with an exit code that is not 0 when there is no data.")
    if job.exit_code == 0:
        return failed(
            "the channel `train` is empty, and the job ends with exit code 0",
            "Say which files were expected where, and end with exit code 1.",
        )
    return passed(f"exit code {job.exit_code}")


@rule("T12", observes="refused")
def failure_file(run: Run) -> Finding:
    """A job that fails says why in /opt/ml/output/failure, in its first 1,024 characters."""
    if run.refused.exit_code == 0:
        return not_applicable("the job did not fail")
    sentence = run.refused.failure
    if sentence is None or not sentence.strip():
        return failed(
            f"the job failed and left {'an empty' if sentence is not None else 'no'} failure file",
            "Write the sentence that says what to do to /opt/ml/output/failure before the end.",
        )
    if sentence.startswith("Traceback"):
        return warned(
            f"it begins with a traceback: {sentence[:80]!r}",
            f"Put the important sentence first: only {_SHOWN:,} characters are shown.",
        )
    return passed(repr(sentence[:200]))


@rule("T4", "T8", "X24", observes="stopped")
def hears_sigterm(run: Run) -> Finding:
    """A job that is stopped ends by itself before SIGKILL comes, 120 s after SIGTERM."""
    if run.stopped.exit_code is None:
        return failed(
            run.stopped.end,
            "Handle SIGTERM: PID 1 ignores it otherwise. A shell script must exec the program.",
        )
    return passed(run.stopped.end)


@rule("T8", observes="stopped")
def stops_with_a_model(run: Run) -> Finding:
    """A job that is stopped keeps what it has learnt."""
    if run.stopped.exit_code is None:
        return not_applicable("it was killed")
    if run.stopped.model:
        return passed(f"it left {', '.join(run.stopped.model)}")
    return warned(
        "it left no model",
        "Save what has been learnt so far when SIGTERM comes, or after each epoch.",
    )
