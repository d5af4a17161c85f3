"""`python -m client evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from client import data, endpoint, evaluation

# Labelled rows: no header, the label first.
CSV = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("evaluate")
@click.option(
    "--url", default="http://127.0.0.1:8080", help="Where a container serves, without a path."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.argument("csv", type=CSV)
def command(csv: Path, url: str, *, as_json: bool) -> None:
    """Score the labelled rows of CSV (no header, the label first) and print how good that is."""
    rows = data.read_csv(csv)
    server = endpoint.Endpoint(url.rstrip("/"))
    found = evaluation.evaluate(server, rows.features, rows.labels, verbose=not as_json)
    if as_json:
        # JSON knows no nan; an undefined figure is null.
        known = {name: None if value != value else value for name, value in found.items()}  # noqa: PLR0124
        click.echo(json.dumps(known))
