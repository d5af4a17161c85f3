"""`python -m client doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from client import checks, names
from client.checks import Check
from client.commands import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.commands.options import Place

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command("doctor")
@options.on_sagemaker
@options.as_json
@click.pass_context
def command(context: click.Context, place: Place, *, as_json: bool) -> None:
    r"""Check what the other commands need, and say how to mend what is missing.

    It reads, and changes nothing. The exit code is 1 if something failed.

    \b
    Examples:
      python -m client doctor
      python -m client doctor --role SageMakerRole --region eu-west-1 --json
    """
    found = []
    for check in _examine(place):
        found.append(check)
        if not as_json:
            click.echo(
                f"{click.style(f'{check.status:<8}', fg=_COLOURS[check.status])}"
                f"{check.name + ':':<14}{check.found}"
            )
            if check.cure:
                click.echo(f"{'':<22}-> {check.cure}")
    well = all(check.status != "failed" for check in found)
    if as_json:
        click.echo(json.dumps({"ok": well, "checks": [asdict(check) for check in found]}))
    context.exit(0 if well else 1)


def _examine(place: Place) -> Iterator[Check]:
    """Check this machine first, and then the account, where it can be asked at all."""
    # The name that an image has here, without the registry's.
    yield from checks.of_machine((place.image or names.IMAGE).rpartition("/")[2])
    try:
        yield from place.checks()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {"boto3", "botocore"}:
            raise
        yield Check.warning("account", "not asked, since boto3 is not installed here", "make cloud")
