"""`python -m client tune`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from client import hyperparameters, names, training_job, tuning_job
from client.commands import options
from client.training_job import TrainingJob
from client.tuning_job import TuningJob

if TYPE_CHECKING:
    from client.commands.options import Place


@click.command("tune")
@options.on_sagemaker
@options.dry_run
@options.as_json
@click.option("--data", help="The directory of channels.  [default: where upload copies to]")
@click.option(
    "--objective",
    type=click.Choice([*tuning_job.OBJECTIVES]),
    default="validation_loss",
    help="What the best job is best in.",
)
@click.option(
    "--search",
    "searched",
    multiple=True,
    metavar="NAME=LOW:HIGH",
    help="Where to look; may be given many times.  [default: "
    f"{' '.join(map(str, hyperparameters.SEARCH.values()))}]",
)
@options.hyperparameters
@click.option("--max-jobs", default=20, type=click.IntRange(1, 750), help="How many jobs.")
@click.option("--parallel", default=2, type=click.IntRange(1, 100), help="How many at a time.")
@options.instance_type("--instance-type", "ml.c4.xlarge", "What each job runs on.")
@options.spot
@click.option("--max-minutes", default=60, type=click.IntRange(1), help="Stop each job after.")
def command(
    place: Place,
    searched: tuple[str, ...],
    given: tuple[str, ...],
    *,
    data: str | None,
    objective: str,
    max_jobs: int,
    parallel: int,
    instance_type: str,
    spot: bool,
    max_minutes: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    r"""Search good hyperparameters with many jobs, and show the best of them.

    A hyperparameter that is given with -p is not searched. Ctrl-C stops all the jobs.

    \b
    Examples:
      python -m client data --validation 0.2 && python -m client upload
      python -m client tune --role SageMakerRole --max-jobs 10
      python -m client tune --search lr=0.05:0.5 -p epochs=40 --spot
    """
    platform = place.cloud()
    fixed = hyperparameters.parse(given)
    ranges = hyperparameters.ranges(searched, fixed)
    data, name = data or platform.data, names.short(platform.project)
    channels = training_job.channels(data, platform.directories(data))
    tuning_job.expect_validation(channels)
    job = TrainingJob(
        name=name,
        image=platform.image,
        role=platform.role,
        channels=channels,
        output=platform.output(name),
        hyperparameters=fixed,
        instance_type=instance_type,
        spot=spot,
        max_seconds=60 * max_minutes,
        checkpoints=f"{platform.home}/checkpoints/{name}" if spot else None,
        tags=platform.tags,
    )
    tuning = TuningJob(name, job, ranges, objective, max_jobs, min(parallel, max_jobs))
    if dry_run:
        options.say("Nothing is started; this would be asked for:")
        options.result(asdict(tuning), as_json=as_json)
        return
    options.say(f"Starting {max_jobs} jobs on {instance_type}, {tuning.parallel} at a time: {name}")
    with options.progress() as progress:
        found = tuning_job.run(platform.session, tuning, progress)
    summary = tuning_job.summary(platform.sagemaker, found)
    options.result(summary, as_json=as_json)
    options.say(
        f"Next: python -m client train {summary['hyperparameters']}, or this very model:\n"
        f"python -m client deploy --model-data {summary['model']}"
    )
    tuning_job.expect_success(found)
