"""`python -m client transform`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from client import media_types, names, storage, transform_job
from client.aws_errors import undone
from client.commands import options
from client.transform_job import TransformJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.commands.options import Place


@click.command("transform")
@options.on_platform
@options.dry_run
@options.as_json
@click.option("--name", help="The job's.  [default: the project's and the time]")
@click.option("--model-data", help="A model.tar.gz in S3.  [default: the newest of the project]")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("transform_output"),
    help="The directory for the scores; each file's are in FILE.out.",
)
@click.option("--content-type", help="What the rows are.  [default: as the file's name says]")
@click.option("--accept", help="What the scores shall be.  [default: as the rows]")
@click.option("--join", is_flag=True, help="Write each row before its scores.")
@click.option("--input-filter", help="What the model sees of each row, such as $[1:].")
@options.instance_type("--instance-type", "ml.c4.xlarge", "What each host is.")
@click.option("--instance-count", default=1, type=click.IntRange(1), help="How many hosts.")
@click.option("--keep-model", is_flag=True, help="Leave the model of the job in SageMaker.")
@options.environment
@click.argument("rows", metavar="FILE")
def command(
    place: Place,
    rows: str,
    *,
    name: str | None,
    model_data: str | None,
    output: Path,
    content_type: str | None,
    accept: str | None,
    join: bool,
    input_filter: str | None,
    instance_type: str,
    instance_count: int,
    keep_model: bool,
    environment: Mapping[str, str],
    dry_run: bool,
    as_json: bool,
) -> None:
    r"""Score the rows of FILE in a batch job: a file, a directory of files, or s3://BUCKET/PREFIX.

    Ctrl-C stops the job. The rows and their scores stay in S3, below batch of the prefix.

    \b
    Examples:
      python -m client transform local_test/payload.csv --join
      python -m client transform data/test --input-filter '$[1:]' --join
    """
    if not rows.startswith("s3://") and not Path(rows).exists():
        raise click.BadParameter(f"There is no {rows}; expected a file, a directory or s3://...")
    with place.open() as platform:
        name = name or names.unique(platform.project)
        batch, remote = platform.batch(name), rows.startswith("s3://")
        content_type = content_type or media_types.of(
            rows if remote else storage.files(Path(rows))[0].name
        )
        if join and (content_type not in media_types.BY_LINE or accept not in {None, content_type}):
            raise click.UsageError("--join needs CSV or JSON Lines, and scores of the same kind.")
        job = TransformJob(
            name=name,
            image=platform.image,
            model_data=platform.address(model_data) if model_data else platform.latest_model(),
            role=platform.role,
            input=platform.address(rows) if remote or place.local else f"{batch}/input",
            output=f"{batch}/output",
            content_type=content_type,
            accept=accept or content_type,
            join=join,
            input_filter=input_filter,
            instance_type="local" if place.local else instance_type,
            instance_count=instance_count,
            environment=environment,
            tags=platform.tags,
        )
        if dry_run:
            options.say("Nothing is started; this would be asked for:")
            options.result(asdict(job), as_json=as_json)
            return
        if not place.local:
            transform_job.expect_unused(platform.sagemaker, name)
        own = f"batch/{name}/input"
        removed = undone(f"The rows {job.input}", lambda: platform.remove(own))
        with nullcontext() if remote else removed:
            if not remote:
                platform.put(Path(rows), own)
            options.say(f"Starting the job {name} on {instance_count} x {job.instance_type}")
            with options.progress() as progress:
                transform_job.run(platform.session, job, progress, keep_model=keep_model)
        files = platform.download(job.output, output)
    for file in files:
        if job.by_line:
            transform_job.tidy(file)
    options.result(
        {"job": name, "model": job.model_data, "scores": [str(file) for file in files]},
        as_json=as_json,
    )
