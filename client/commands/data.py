"""`python -m client data`."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from client import data, pictures
from client.commands import options


@click.command("data")
@options.as_json
@click.option(
    "--name", type=click.Choice(["moons", "breast-cancer"]), default="moons", help="Which data."
)
@click.option("--points", type=click.IntRange(min=8), default=600, help="How many points to draw.")
@click.option("--noise", type=click.FloatRange(min=0), default=0.25, help="Their spread.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of the generator.")
@click.option(
    "--validation",
    type=click.FloatRange(0, 0.5),
    default=0.0,
    help="This share of the training rows goes to a channel of its own; tune needs one.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    help="The directory to write to.",
)
def command(
    name: str,
    points: int,
    noise: float,
    seed: int,
    *,
    validation: float,
    output: Path,
    as_json: bool,
) -> None:
    r"""Write a data set: train/train.csv, test/test.csv, perhaps validation, and a scatter plot.

    It replaces what it wrote before, and no file of yours.

    \b
    Examples:
      python -m client data
      python -m client data --points 2000 --noise 0.1 --validation 0.2
      python -m client data --name breast-cancer --output tumours
    """
    context = click.get_current_context()
    drawn = [option for option in ("points", "noise", "seed") if _is_given(context, option)]
    if name != "moons" and drawn:
        raise click.UsageError(f"--{drawn[0]} is of the moons; {name} is not drawn.")
    train, test = data.moons(points, noise, seed) if name == "moons" else data.breast_cancer()
    channels = {"train": train, "test": test}
    if validation:
        channels["train"], channels["validation"] = train.split(validation)
    made = data.write(channels, output)
    if name == "moons":
        made["picture"] = output / "data.png"
        pictures.draw_data(train, made["picture"])
    if as_json:
        options.result(made, as_json=True)
        return
    for path in made.values():
        click.echo(f"Path created: {path}")


def _is_given(context: click.Context, option: str) -> bool:
    return context.get_parameter_source(option) is not ParameterSource.DEFAULT
