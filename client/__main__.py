"""The command line: `python -m client COMMAND`."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import click
from click.core import ParameterSource

from client import artefact, data, demo, endpoint, evaluation, pictures, runtime

#: What becomes one sentence on stderr and exit code 1; anything else is a fault of the program.
_ERRORS = (
    artefact.ArtefactError,
    data.DataError,
    endpoint.EndpointError,
    evaluation.EvaluationError,
    runtime.ProgramError,
    OSError,
)

# What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 130


# Labelled rows: no header, the label first.
_CSV = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def cli() -> None:
    """SimpleNet on SageMaker, from your side."""


@cli.command("demo")
@click.option("--image", default="simplenet-sagemaker", help="The name of the image.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo_output"),
    help="Where the data, the model and the pictures go.",
)
@click.option("--train", type=_CSV, help="Your own rows to train on, instead of the moon data.")
@click.option("--test", type=_CSV, help="Your own rows to test with.")
def demo_command(image: str, output: Path, train: Path | None, test: Path | None) -> None:
    """Tell the whole story on this machine: data, training, serving, evaluation, clean-up.

    Without a Docker engine the same programs run from this virtual environment.
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


@cli.command("data")
@click.option(
    "--name", type=click.Choice(["moons", "breast-cancer"]), default="moons", help="Which data."
)
@click.option("--points", type=click.IntRange(min=8), default=600, help="How many points to draw.")
@click.option("--noise", type=click.FloatRange(min=0), default=0.25, help="Their spread.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of the generator.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    help="The directory to write to.",
)
def data_command(name: str, points: int, noise: float, seed: int, output: Path) -> None:
    """Write a data set: train/train.csv and test/test.csv, and of the moons a scatter plot."""
    context = click.get_current_context()
    drawn = [option for option in ("points", "noise", "seed") if _is_given(context, option)]
    if name != "moons" and drawn:
        raise click.UsageError(f"--{drawn[0]} is of the moons; {name} is not drawn.")
    train, test = data.moons(points, noise, seed) if name == "moons" else data.breast_cancer()
    for channel, rows in (("train", train), ("test", test)):
        path = data.make_csv(rows.features, rows.labels, f"{channel}.csv", output / channel)
        click.echo(f"Path created: {path}")
    if name == "moons":
        pictures.draw_data(train, output / "data.png")
        click.echo(f"Path created: {output / 'data.png'}")


def _is_given(context: click.Context, option: str) -> bool:
    return context.get_parameter_source(option) is not ParameterSource.DEFAULT


@cli.command("evaluate")
@click.option(
    "--url", default="http://127.0.0.1:8080", help="Where a container serves, without a path."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.argument("csv", type=_CSV)
def evaluate_command(csv: Path, url: str, *, as_json: bool) -> None:
    """Score the labelled rows of CSV (no header, the label first) and print how good that is."""
    rows = data.read_csv(csv)
    server = endpoint.Endpoint(url.rstrip("/"))
    found = evaluation.evaluate(server, rows.features, rows.labels, verbose=not as_json)
    if as_json:
        # JSON knows no nan; an undefined figure is null.
        known = {name: None if value != value else value for name, value in found.items()}  # noqa: PLR0124
        click.echo(json.dumps(known))


def main() -> None:
    """Run a command; say what went wrong in one sentence, and leave nothing running."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # A closed terminal and a polite kill are to be cleaned up after like Ctrl-C.
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    try:
        sys.exit(cli.main(prog_name="python -m client", standalone_mode=False))
    except click.Abort:
        click.echo("Interrupted; what was started has been stopped.", err=True)
        sys.exit(_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except _ERRORS as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
