"""`python -m client status`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from client import inventory
from client.commands import options

if TYPE_CHECKING:
    from client.commands.options import Place
    from client.inventory import Thing


@click.command("status")
@options.in_account
@options.as_json
@click.option("--running", is_flag=True, help="Only what runs, and so costs.")
def command(place: Place, *, running: bool, as_json: bool) -> None:
    r"""List every job, model, endpoint configuration and endpoint of the project.

    What runs, and so costs, is marked with *. They are found by their tag simplenet:project,
    whatever they are called.

    \b
    Examples:
      python -m client status
      python -m client status --running --json
    """
    account = place.account()
    found = [thing for thing in inventory.things(account) if thing.runs or not running]
    if as_json:
        click.echo(json.dumps({"things": [_facts(thing) for thing in found]}))
        return
    rows = [
        (
            "*" * thing.runs,
            thing.kind.title,
            thing.name,
            thing.status,
            thing.instances,
            thing.age,
        )
        for thing in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
    costs = sum(thing.runs for thing in found)
    options.say(
        f"{account.project} in {account.region}: {len(found)} found; "
        + (f"{costs} run, and so cost (*)." if costs else "nothing runs.")
    )


def _facts(thing: Thing) -> dict[str, object]:
    return {
        "kind": thing.kind.title,
        "name": thing.name,
        "status": thing.status or None,
        "instances": thing.instances or None,
        "created": thing.created.isoformat(),
        "runs": thing.runs,
    }
