"""`python -m client delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client import hosting
from client.commands import options

if TYPE_CHECKING:
    from client.commands.options import Place


@click.command("delete")
@options.in_account
@click.option("--endpoint", help="Its name.  [default: the project's]")
def command(place: Place, *, endpoint: str | None) -> None:
    """Delete the endpoint, its configuration and its models; what is gone already is no error."""
    account = place.account()
    sagemaker = account.client("sagemaker")
    deleted = hosting.delete(sagemaker, endpoint or account.project)
    for what in deleted or ["nothing: there is no such endpoint"]:
        click.echo(f"Deleted {what}")
