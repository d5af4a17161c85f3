"""`python -m client delete`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from client import cleanup, hosting, inventory, names
from client.cleanup import Patience
from client.commands import options

if TYPE_CHECKING:
    from collections.abc import Collection

    from client.account import Account
    from client.cleanup import Step
    from client.commands.options import Place


@click.command("delete")
@options.on_sagemaker
@options.dry_run
@options.as_json
@click.option("--endpoint", help="Only this endpoint, with its configuration and models.")
@click.option("--jobs", is_flag=True, help="Stop the jobs that run, too.")
@click.option(
    "--data", is_flag=True, help="Delete all below the prefix in S3, too: models, all versions."
)
@click.option("--images", is_flag=True, help="Delete the repository in ECR, too.")
@click.option("--logs", is_flag=True, help="Delete the logs in CloudWatch, too.")
@click.option("--all", "everything", is_flag=True, help="All of these.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(0, min_open=True),
    default=hosting.PATIENCE_SECONDS / 60,
    help="Wait so long for what cannot be deleted yet.",
)
@click.option("--yes", is_flag=True, help="Do not ask before what cannot be had again goes.")
def command(
    place: Place,
    *,
    endpoint: str | None,
    jobs: bool,
    data: bool,
    images: bool,
    logs: bool,
    everything: bool,
    max_minutes: float,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    r"""Delete every endpoint, endpoint configuration and model of the project.

    They are found by their tag simplenet:project. What is gone already is no error; what could not
    be deleted is listed, and then the exit code is 1. An endpoint that is being created or updated
    is waited for. Jobs that have ended cost nothing, and AWS keeps them.

    \b
    Examples:
      python -m client delete
      python -m client delete --all --dry-run
      python -m client delete --endpoint simplenet-two
    """
    asked = {"jobs": jobs, "data": data, "images": images, "logs": logs}
    also = {name for name, wanted in asked.items() if wanted or everything}
    if endpoint and also:
        raise click.UsageError("--endpoint deletes only that; leave out what else is asked for.")
    account = place.account()
    patience = Patience(60 * max_minutes, options.progress)
    if endpoint:
        steps = cleanup.endpoint(account, endpoint, patience)
    else:
        steps = _steps(place, account, also, patience)
    say = options.say if as_json else click.echo
    if dry_run:
        options.say("Nothing is deleted; this would be done:")
        for step in steps:
            say(step.what)
        done, left = [step.what for step in steps], list[str]()
    else:
        _confirm([step for step in steps if step.loses and not yes])
        done, left = cleanup.run(steps, say)
    if as_json:
        options.result({"done": done, "left": left}, as_json=True)
    elif not steps and endpoint:
        click.echo(
            f"There is no endpoint {endpoint} in {account.region}; "
            "python -m client status lists what there is."
        )
    elif not steps:
        click.echo("Nothing: there is nothing of the project.")
    if left:
        raise cleanup.CleanupError("\n".join(["what is still there:", *left]))


def _steps(place: Place, account: Account, also: Collection[str], patience: Patience) -> list[Step]:
    """Return what is to be done, in order: what still writes ends first."""
    things = inventory.things(account)
    steps = cleanup.running(account, things, patience) if "jobs" in also else []
    steps += cleanup.hosted(account, things, patience)
    if "data" in also:
        steps += cleanup.data(account, place.cloud().prefix_of_project)
    if "images" in also:
        steps += cleanup.images(account, place.image or names.IMAGE)
    if "logs" in also:
        steps += cleanup.logs(account, things)
    return steps


def _confirm(steps: list[Step]) -> None:
    """Ask, where what cannot be had again would go."""
    if not steps:
        return
    for step in steps:
        options.say(step.what)
    if not sys.stdin.isatty():
        raise click.UsageError("This cannot be undone; give --yes, or --dry-run to look first.")
    if not click.confirm("This cannot be undone. Delete all of it?", err=True):
        raise cleanup.CleanupError("nothing is deleted.")
