"""`python -m client deploy`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from client import hosting, names
from client.commands import options
from client.hosting import Deployment, Serverless
from client.local import Local

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.commands.options import Place


@click.command("deploy")
@options.on_platform
@options.dry_run
@options.as_json
@click.option("--endpoint", help="Its name.  [default: the project's]")
@click.option("--model-data", help="A model.tar.gz in S3.  [default: the newest of the project]")
@options.instance_type("--instance-type", "ml.t2.medium", "What it runs on.")
@click.option("--instance-count", default=1, type=click.IntRange(1), help="How many of these.")
@click.option("--serverless", is_flag=True, help="No instances: costs only while it scores.")
@click.option(
    "--memory",
    type=click.Choice(["1024", "2048", "3072", "4096", "5120", "6144"]),
    default="2048",
    help="With --serverless: megabytes.",
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(1, 200),
    default=5,
    help="With --serverless: requests at a time.",
)
@click.option("--async", "queued", is_flag=True, help="Requests queue; replies are left in S3.")
@click.option(
    "--multi-model",
    is_flag=True,
    help="Each request names its model.tar.gz, below --model-data.  [default: of all jobs]",
)
@click.option(
    "--data-capture",
    type=click.IntRange(0, 100),
    metavar="PERCENT",
    default=0,
    help="Keep so many requests in S3, with their replies.",
)
@click.option(
    "--max-minutes",
    type=click.FloatRange(0, min_open=True),
    default=hosting.PATIENCE_SECONDS / 60,
    help="Give up after these, and delete it.",
)
@options.environment
def command(
    place: Place,
    *,
    endpoint: str | None,
    model_data: str | None,
    instance_type: str,
    instance_count: int,
    serverless: bool,
    memory: str,
    max_concurrency: int,
    queued: bool,
    multi_model: bool,
    data_capture: int,
    max_minutes: float,
    environment: Mapping[str, str],
    dry_run: bool,
    as_json: bool,
) -> None:
    r"""Serve a trained model at an endpoint, which costs until it is deleted.

    An endpoint of this name that is there already goes on serving until the new model does. One
    that does not come up is deleted again.

    \b
    Examples:
      python -m client deploy --role SageMakerRole
      python -m client deploy --role SageMakerRole --serverless --memory 3072
      python -m client deploy --local
    """
    kinds = {"--serverless": serverless, "--async": queued, "--multi-model": multi_model}
    if sum(kinds.values()) > 1:
        raise click.UsageError(f"An endpoint is one of {', '.join(kinds)}, or none of them.")
    if serverless and data_capture:
        raise click.UsageError("SageMaker captures no data of a --serverless endpoint.")
    if place.local and (any(kinds.values()) or data_capture or instance_count > 1):
        raise click.UsageError(
            f"Local mode serves one model in one container: no {', '.join(kinds)}, --data-capture "
            "or --instance-count."
        )
    with place.open() as platform:
        if model_data:
            model_data = platform.address(model_data)
        elif multi_model:
            model_data = f"{platform.output('')}/"
        else:
            model_data = platform.latest_model()
        deployment = Deployment(
            endpoint=endpoint or platform.project,
            model=names.unique(platform.project),
            image=platform.image,
            model_data=model_data,
            role=platform.role,
            instance_type="local" if place.local else instance_type,
            instance_count=instance_count,
            serverless=Serverless(int(memory), max_concurrency) if serverless else None,
            queue=f"{platform.home}/async" if queued else None,
            multi_model=multi_model,
            captured_percent=data_capture,
            captures=f"{platform.home}/captures" if data_capture else None,
            environment=environment,
            tags=platform.tags,
            max_seconds=60 * max_minutes,
        )
        if dry_run:
            options.say("Nothing is started; this would be asked for:")
            options.result(asdict(deployment), as_json=as_json)
            return
        options.say(f"Deploying {deployment.model_data} to {deployment.endpoint}")
        with options.progress() as progress:
            found = hosting.deploy(platform.session, deployment, progress)
        options.result(found, as_json=as_json)
        if isinstance(platform, Local):
            options.say(f"It serves at http://127.0.0.1:{place.port} until Ctrl-C.")
            platform.wait()
            options.say("Stopping it.")
