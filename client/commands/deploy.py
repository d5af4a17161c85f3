"""`python -m client deploy`."""

from __future__ import annotations

import signal
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from client import hosting, names
from client.commands import options
from client.hosting import Deployment

if TYPE_CHECKING:
    from client.commands.options import Place


@click.command("deploy")
@options.on_platform
@options.dry_run
@options.as_json
@click.option("--endpoint", help="Its name.  [default: the project's]")
@click.option("--model-data", help="A model.tar.gz in S3.  [default: the newest of the project]")
@click.option("--instance-type", default="ml.t2.medium", help="What it runs on.")
@click.option("--instance-count", default=1, type=click.IntRange(1), help="How many of these.")
def command(
    place: Place,
    *,
    endpoint: str | None,
    model_data: str | None,
    instance_type: str,
    instance_count: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    r"""Serve a trained model at an endpoint, which costs until it is deleted.

    An endpoint of this name that is there already goes on serving until the new model does. One
    that does not come up is deleted again.

    \b
    Examples:
      python -m client deploy --role SageMakerRole
      python -m client deploy --local
    """
    with place.open() as platform:
        deployment = Deployment(
            endpoint=endpoint or platform.project,
            model=names.unique(platform.project),
            image=platform.image,
            model_data=model_data or platform.latest_model(),
            role=platform.role,
            instance_type="local" if place.local else instance_type,
            instance_count=instance_count,
            tags=platform.tags,
        )
        if dry_run:
            options.say("Nothing is started; this would be asked for:")
            options.result(asdict(deployment), as_json=as_json)
            return
        options.say(f"Deploying {deployment.model_data} to {deployment.endpoint}")
        with options.progress() as progress:
            hosting.deploy(platform.session, deployment, progress)
        options.result(hosting.summary(platform.sagemaker, deployment.endpoint), as_json=as_json)
        if place.local:
            options.say(f"It serves at http://127.0.0.1:{place.port} until Ctrl-C.")
            signal.pause()
