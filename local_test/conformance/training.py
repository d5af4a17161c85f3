"""Rules for `docker run IMAGE train`."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.jobs import LONGER
from conformance.log import counts, metrics
from conformance.malformed import HOPELESS
from conformance.rule import rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.job import Job
    from conformance.run import Run

_SHOWN = 1024  # characters of the failure file that become FailureReason
_KEPT = re.compile(  # what SageMaker takes with it, its libraries' directories and scratch files
    r"/opt/ml/(checkpoints|code|model|output/(data|metrics|profiler|tensorboard|tensors))/"
    r"|/opt/ml/output/(failure|success)/$"
    r"|/opt/ml/((input|output)/)?$"
    r"|/(dev|run|tmp)/"
)
_REFUSES = re.compile(  # a sentence that says of several hosts that they are too many
    r"(?!.*(\btim(e|ed)[ -]?out\b|\bunreachable\b|connection refused|clients joined))"
    r"(?=.*\b(distributed|host|instance|machine|node)(s|_?count)?\b)"
    r"(?=.*((?<![\w-])(1|2|one|two|single|several|multiple|multi|many)\b|(not |un)supported))",
    re.IGNORECASE | re.DOTALL,
)
_TELLING = 2.0  # seconds that a job takes at least for the times in its log to say something
_TOO_SHORT = "the job ends so soon that it may not have heard the signal"
_AT_THE_END = 0.2  # seconds before the end in which a program empties its buffers


@rule("T10", observes="trained", asked_for_by="train")
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


@rule("T47", "T48", observes="trained")
def prints_metrics(run: Run) -> Finding:
    """The log has `name=number` whose number changes, or whose name is that of a metric."""
    if run.trained.exit_code != 0:
        return not_applicable(run.trained.end)
    if found := metrics(run.trained.log):
        return passed(", ".join(found[:3]))
    lines = run.trained.log.splitlines()
    return warned(
        f"none of the {len(lines)} lines of the log has the name and the plain number of a metric",
        "Print metrics as `name=value;`, such as `validation_loss=0.25;`, without colour codes.",
    )


@rule("T35", "T41", observes="trained")
def loses_no_files(run: Run) -> Finding:
    """A job writes no files where they are lost at its end, /tmp excepted."""
    if run.trained.exit_code != 0:
        return not_applicable(run.trained.end)
    output = [f"/opt/ml/output/{name}" for name in run.trained.output]
    lost = _lost([*run.trained.container.written(), *output])
    if not lost:
        return passed("it wrote no files elsewhere")
    return warned(
        f"{len(lost)} files are lost at the end, such as {', '.join(lost[:3])}",
        "Write results to /opt/ml/model or /opt/ml/output/data, and scratch files to /tmp.",
    )


def _lost(written: list[str]) -> list[str]:
    """Return the files among what was written; bytecode is made again whenever it is missing."""
    directories = {path.rpartition("/")[0] for path in written}
    return [
        path
        for path in written
        if path not in directories
        and not _KEPT.match(f"{path}/")
        and not path.endswith((".pyc", "/__pycache__"))
    ]


@rule("T27", "T31", observes="trained")
def needs_no_writable_input(run: Run) -> Finding:
    """A job ends with 0 where its input cannot be written to, as in FastFile mode."""
    if run.writes_to_input:
        return warned(
            "it ends with 0 only where it may write to its input, so the run goes on with that; "
            f"else, {run.on_read_only.failure or run.on_read_only.end}",
            "Write nothing into a channel: copy to /tmp what has to change.",
        )
    if run.trained.exit_code != 0:
        return not_applicable(run.trained.end)
    return passed("it does")


@rule("T31", observes="on_training")
def takes_either_channel(run: Run) -> Finding:
    """A job ends with 0 whether its channel is called `train` or `training`."""
    if run.channel == "training":
        return warned(
            f"it reads `training` alone, so the run goes on with that; "
            f"on `train`, {run.on_train.failure or run.on_train.end}",
            "Read the channel `train`, too: it is what built-in algorithms and their users expect.",
        )
    if run.trained.exit_code != 0:
        return not_applicable(run.trained.end)
    job = run.on_training
    if run.writes_to_input:
        job = run.job_with(channels={"training": run.data})
    if job.exit_code == 0:
        return passed("both do")
    return warned(
        f"on `training`, {job.failure or job.end}",
        'Read the channel `training`, too: it is what `fit("s3://...")` sends.',
    )


@rule("T15", "T17", observes="dressed")
def quoted_hyperparameters(run: Run) -> Finding:
    """A job ends with 0 on hyperparameters within JSON's quotes, as the SDK sends them."""
    if not run.quoted:
        return not_applicable("the job has no hyperparameters; name some with --hyperparameter")
    return _dressed(
        run,
        run.quoted,
        "Try JSON on each value, and where that fails or gives text, convert the text.",
    )


@rule("T18", observes="dressed")
def added_hyperparameters(run: Run) -> Finding:
    """A job ends with 0 if its hyperparameters are among those that the SDK and tuning add."""
    return _dressed(
        run,
        {**run.given.hyperparameters, **run.added},
        "Pass over names that begin with `sagemaker_`, `_tuning_objective_metric` and "
        "`default_user_module_name`.",
    )


def _dressed(run: Run, hyperparameters: dict[str, str], cure: str) -> Finding:
    """Look at the job that has it all if that ends well, else at one that has these alone."""
    job = run.dressed
    if job.exit_code != 0:
        job = run.job_with(hyperparameters=hyperparameters)
    if job.exit_code == 0:
        return passed(job.end)
    # The SDK quotes text; a number is quoted only where its caller has made a text of it.
    judge = warned if hyperparameters == run.quoted and run.has_only_numbers else failed
    return judge(job.failure or job.end, cure)


@rule("T19", "T22")
def absent_configuration(run: Run) -> Finding:
    """A job ends with 0 where files of /opt/ml/input/config are missing that say nothing new."""
    names = ["hyperparameters", "inputdataconfig", "resourceconfig"]
    job = run.job_with(absent=tuple(names))
    if job.exit_code == 0:
        return passed("with none of them")
    # A job that was given hyperparameters may need them.
    if run.given.hyperparameters:
        names.remove("hyperparameters")
    without = {f"{name}.json": run.job_with(absent=(name,)) for name in names}
    needed = {name: job for name, job in without.items() if job.exit_code != 0}
    if not needed:
        return passed(f"without any of {', '.join(without)}")
    return warned(
        "; ".join(f"without {name}: {job.failure or job.end}" for name, job in needed.items()),
        "Take a missing file for an empty one: no hyperparameters, the channels that are there, "
        "and one host.",
    )


@rule("T36", "T50", "T51", observes="hosts")
def two_hosts(run: Run) -> Finding:
    """A job of two hosts ends, and leaves one model, unless they say that they are too many."""
    jobs = run.hosts
    ends = "; ".join(f"{name}: {job.failure or job.end}" for name, job in jobs.items())
    if any(job.exit_code is None for job in jobs.values()):
        return failed(ends, "Give up with a sentence when another host is not there in time.")
    if all(job.exit_code != 0 and _REFUSES.match(job.failure or "") for job in jobs.values()):
        return not_applicable(f"it refuses a job of two hosts, so it has to be given one: {ends}")
    if any(job.exit_code != 0 for job in jobs.values()):
        return failed(
            ends, "Let all hosts end with 0, or all say in their failure files that one will do."
        )
    models = {name: job.model for name, job in jobs.items() if job.model}
    if not models:
        found = failed("no host left a model", "Let the first of `hosts` save the model.")
        return found if run.trained.model else not_applicable("a job of one host leaves none, too")
    if clash := _clash(models):
        return warned(
            clash,
            "Let the first of `hosts` in resourceconfig.json save the model, and no other, or "
            "refuse to train on several.",
        )
    return passed(f"a model on {' and '.join(models)}")


def _clash(models: Mapping[str, Mapping[str, bytes]]) -> str:
    """Say in what the models that hosts left are more than one, or nothing if they are the same.

    All their files end up in one archive.
    """
    for (one, its), (other, theirs) in combinations(models.items(), 2):
        for name in sorted(its.keys() & theirs.keys()):
            if its[name] != theirs[name]:
                return f"the hosts leave different files named {name}, and one overwrites the other"
        if rest := sorted(its.keys() ^ theirs.keys()):
            whose = one if rest[0] in its else other
            return f"{one} and {other} leave files of different names: {rest[0]} is {whose}'s alone"
    return ""


@rule("T57", observes="bereft")
def notices_a_lost_host(run: Run) -> Finding:
    """Each host fails in time, and says why, when the other host of its job is killed."""
    cure = "Give all that waits for another host a time limit, and fail with a sentence at its end."
    limit = run.given.limits.lost_host
    noticed = []
    for lost, job in run.bereft.items():
        if job.goes_on:
            continue
        if job.exit_code is None:
            return failed(f"{lost} is killed, and {job.host} still runs {limit:g} s later", cure)
        if job.exit_code == 0:
            return failed(f"{lost} is killed, and {job.host} ends with exit code 0", cure)
        if wrong := _no_refusal(run, job):
            return failed(f"when {lost} is killed, {wrong}", cure)
        noticed.append(f"without {lost}: {(job.failure or job.end).strip()}")
    if not noticed:
        return not_applicable("each host trains on without the other: neither needs it")
    return passed("; ".join(noticed))


def _without(run: Run, what: str, cure: str) -> Finding:
    job = run.job_without(what)
    return passed(job.end) if job.exit_code == 0 else warned(job.failure or job.end, cure)


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
    if wrong := _no_refusal(run, run.channelless):
        return failed(f"without a channel {wrong}", cure)
    return passed(repr((run.channelless.failure or "")[:200]))


@rule("T10", "T12", observes="misled")
def fails_on_malformed_data(run: Run) -> Finding:
    """A job on empty or malformed files ends with an exit code that is not 0, and says why."""
    cure = "Say what was found in which file and line, in /opt/ml/output/failure too; end with 1."
    wrong = {what: fault for what, job in run.misled.items() if (fault := _no_refusal(run, job))}
    if not wrong:
        return passed(f"on {', '.join(run.misled)}")
    found = "; ".join(f"on {what} {fault}" for what, fault in wrong.items())
    # Whether one bad line among good ones is to stop a job is a matter of taste.
    bearable = all(what not in HOPELESS and run.misled[what].exit_code == 0 for what in wrong)
    return warned(found, cure) if bearable else failed(found, cure)


def _no_refusal(run: Run, job: Job) -> str:
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
