"""`python -m client demo`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from client import data, demo, runtime

# Labelled rows: no header, the label first.
CSV = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("demo")
@click.option("--image", default="simplenet-sagemaker", help="The name of the image.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo_output"),
    help="Where the data, the model and the pictures go.",
)
@click.option("--train", type=CSV, help="Your own rows to train on, instead of the moon data.")
@click.option("--test", type=CSV, help="Your own rows to test with.")
def command(image: str, output: Path, train: Path | None, test: Path | None) -> None:
    r"""Tell the whole story on this machine: data, training, serving, evaluation, clean-up.

    Without a Docker engine the same programs run from this virtual environment.

    \b
    Examples:
      python -m client demo
      python -m client demo --train local_test/test.csv --test local_test/test.csv
    """
    if (train is None) != (test is None):
        raise click.UsageError("--train and --test go together; give both or neither.")
    rows = (data.read_csv(train), data.read_csv(test)) if train and test else data.moons()
    began = time.monotonic()
    chosen: runtime.Runtime = runtime.Docker(image)
    if not runtime.Docker.is_available():
        click.echo("No Docker engine answers: train and serve run from .venv instead.")
        chosen = runtime.VirtualEnvironment()
    demo.tell(chosen, *rows, output, lambda step: click.secho(f"==> {step}", bold=True))
    click.echo(f"\nDone in {time.monotonic() - began:.0f} s; nothing is left running.")
    click.echo(demo.next_steps(chosen, output))
