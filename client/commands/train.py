"""`python -m client train`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from client import hyperparameters, names, provenance, training_job
from client.commands import options
from client.training_job import TrainingJob

if TYPE_CHECKING:
    from client.commands.options import Place


@click.command("train")
@options.on_platform
@options.dry_run
@options.as_json
@click.option("--data", help="The directory of channels.  [default: where upload copies to]")
@options.hyperparameters
@options.instance_type("--instance-type", "ml.c4.xlarge", "What each host is.")
@click.option("--instance-count", default=1, type=click.IntRange(1), help="How many hosts.")
@click.option("--sharded", is_flag=True, help="Give each host some of the files, not all.")
@options.spot
@click.option("--max-minutes", default=60, type=click.IntRange(1), help="Stop it after these.")
@click.option("--wait/--no-wait", default=True, help="Show its log until it ends, or return.")
def command(
    place: Place,
    given: tuple[str, ...],
    *,
    data: str | None,
    instance_type: str,
    instance_count: int,
    sharded: bool,
    spot: bool,
    max_minutes: int,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    r"""Train in a job, show its log, and say where it left the model.

    Ctrl-C stops the job too; it saves its model so far.

    \b
    Examples:
      python -m client train --role SageMakerRole -p epochs=20
      python -m client train --local --instance-count 2
    """
    if place.local and (sharded or spot):
        raise click.UsageError("Local mode knows neither --sharded nor --spot; SageMaker does.")
    with place.open() as platform:
        data, name = platform.address(data or platform.data), names.unique(platform.project)
        job = TrainingJob(
            name=name,
            image=platform.image,
            role=platform.role,
            channels=training_job.channels(data, platform.directories(data)),
            output=platform.output(name),
            hyperparameters=hyperparameters.parse(given),
            instance_type="local" if place.local else instance_type,
            instance_count=instance_count,
            sharded=sharded,
            spot=spot,
            max_seconds=60 * max_minutes,
            checkpoints=f"{platform.home}/checkpoints/{name}" if spot else None,
            tags=platform.tags,
        )
        if dry_run:
            options.say("Nothing is started; this would be asked for:")
            options.result(asdict(job), as_json=as_json)
            return
        options.say(f"Starting the job {name} on {instance_count} x {job.instance_type}")
        description = training_job.run(platform.session, job, wait=wait)
        if place.local:
            provenance.note_local_job(job, description)
    options.result(training_job.summary(description), as_json=as_json)
    if wait:
        options.say(f"Next: python -m client deploy{' --local' * place.local}")
