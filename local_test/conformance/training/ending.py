"""Rules for a training job at its end: what it leaves, and what it can do without."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.log import metrics
from conformance.rule import rule

if TYPE_CHECKING:
    from conformance.run import Run

_KEPT = re.compile(  # what SageMaker takes with it, its libraries' directories and scratch files
    r"/opt/ml/(checkpoints|code|model|output/(data|metrics|profiler|tensorboard|tensors))/"
    r"|/opt/ml/output/(failure|success)/$"
    r"|/opt/ml/((input|output)/)?$"
    r"|/(dev|run|tmp)/"
)


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
