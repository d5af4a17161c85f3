"""`python -m client run`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from client import data, hyperparameters, names, story
from client.commands import options
from client.story import Story

if TYPE_CHECKING:
    from client.commands.options import Place

# Labelled rows: no header, the label first.
CSV = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("run")
@options.on_platform
@options.dry_run
@options.as_json
@click.option("--train", type=CSV, help="Your own rows to train on, instead of the moon data.")
@click.option("--test", type=CSV, help="Your own rows to test with.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("run_output"),
    help="Where the data, the pictures and the model card go.",
)
@options.hyperparameters
@options.instance_type("--training-instance", "ml.c4.xlarge", "What the job runs on.")
@click.option(
    "--instance-count", default=1, type=click.IntRange(1), help="How many hosts the job runs on."
)
@options.instance_type("--serving-instance", "ml.t2.medium", "What the endpoint runs on.")
@options.spot
@click.option("--keep", is_flag=True, help="Leave the endpoint, which costs until it is deleted.")
def command(
    place: Place,
    *,
    train: Path | None,
    test: Path | None,
    output: Path,
    given: tuple[str, ...],
    training_instance: str,
    instance_count: int,
    serving_instance: str,
    spot: bool,
    keep: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    r"""Make data, upload it, train, deploy, evaluate, and delete the endpoint.

    The endpoint has a name of its own, and is deleted whatever happens: after an error and after
    Ctrl-C, too. The data and the model stay in S3, below runs and jobs of the prefix.

    \b
    Examples:
      python -m client run --local --instance-count 2
      python -m client run --role SageMakerRole -p epochs=40
    """
    if (train is None) != (test is None):
        raise click.UsageError("--train and --test go together; give both or neither.")
    if keep and place.local:
        raise click.UsageError("--keep is for SageMaker; python -m client deploy --local serves on")
    rows = (data.read_csv(train), data.read_csv(test)) if train and test else data.moons()
    with place.open() as platform:
        told = Story(
            names.unique(platform.project),
            *rows,
            output=output,
            training_instance="local" if place.local else training_instance,
            serving_instance="local" if place.local else serving_instance,
            instance_count=instance_count,
            hyperparameters=hyperparameters.parse(given),
            spot=spot and not place.local,
            keep=keep,
        )
        if dry_run:
            job = told.job(platform, f"{platform.home}/runs/{told.name}")
            deployment = told.deployment(platform, f"{job.output}/{told.name}/output/model.tar.gz")
            options.say("Nothing is started; this would be asked for:")
            options.result({"train": asdict(job), "deploy": asdict(deployment)}, as_json=as_json)
            return
        with options.progress() as progress:
            summary, figures = story.tell(
                platform, told, options.say, progress, verbose=not as_json
            )
    # JSON knows no nan; an undefined figure is null.
    known = {name: None if value != value else value for name, value in figures.items()}  # noqa: PLR0124
    options.result(summary | (known if as_json else {}), as_json=as_json)
    if keep:
        options.say(f"The endpoint costs until: python -m client delete --endpoint {told.name}")
    else:
        options.say(f"Nothing is left running; the pictures and model_card.md are in {output}.")
