"""The command line: `python -m client COMMAND`."""

from __future__ import annotations

import sys

import click

from client import interruption
from client.commands import Commands
from client.refusal import Refusal

# What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 130


@click.command(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "auto_envvar_prefix": "SIMPLENET",
    },
)
def cli() -> None:
    """SimpleNet on SageMaker, from your side.

    Every option can also stand in the environment, such as SIMPLENET_DEPLOY_ENDPOINT, or in
    simplenet.toml: in a table named like the command, or above all tables for all that have it.
    """


def main() -> None:
    """Run a command; say what went wrong in one sentence, and leave nothing running."""
    interruption.listen()
    try:
        sys.exit(cli.main(prog_name="python -m client", standalone_mode=False))
    except click.Abort as error:
        cause = error.__cause__
        ended = "Interrupted; what was started has been stopped."
        left = isinstance(cause, interruption.Left)
        click.echo(f"Interrupted. {cause}" if left else ended, err=True)
        sys.exit(_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (Refusal, OSError) as error:
        # Anything else is a fault of the program.
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
