"""The commands, each in a module of its own that is imported when it is asked for.

So `--help` is quick, and what runs on this machine needs no SageMaker SDK.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from client import configuration

#: Each command's help in one line, by where it works, in the order of the story.
COMMANDS = {
    "On this machine": {
        "demo": "Tell the whole story without AWS, with Docker or without.",
        "data": "Write a data set as CSV files.",
        "evaluate": "Say how good the scores of an endpoint, a container or a batch job are.",
    },
    "On SageMaker, or with --local on this machine": {
        "upload": "Copy the data to S3.",
        "train": "Train in a job.",
        "tune": "Search good hyperparameters with many jobs.",
        "deploy": "Serve a trained model at an endpoint.",
        "predict": "Score the rows of a file or of standard input.",
        "transform": "Score the rows of a file in a batch job.",
        "run": "All of it in one go; nothing is left running.",
    },
    "Looking after it": {
        "status": "List what there is, what it is, and what of it costs.",
        "delete": "Delete what the other commands made.",
        "doctor": "Check what the other commands need.",
    },
}

# What `make cloud` installs, and the demo does without.
_OF_CLOUD = {"boto3", "botocore", "sagemaker"}

_FILE = Path("simplenet.toml")


def _written(option: click.Parameter) -> str:
    """Return what a parameter is called in the file: --instance-type is instance_type."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


class Commands(click.Group):
    """The group of all commands, and their defaults from the configuration file."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the words name, and give it the defaults of the user's file."""
        name, command, rest = super().resolve_command(ctx, args)
        if name and command:
            options = {_written(option): option.name for option in command.params}
            written = configuration.read(_FILE, name, options, self.list_commands(ctx))
            ctx.default_map = {name: {options[key]: value for key, value in written.items()}}
        return name, command, rest

    def list_commands(self, _: click.Context) -> list[str]:
        """Name all commands, in the order of the story."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"client.commands.{name}").command
        # Click's mark of lines to leave alone, which a raw docstring has in two characters.
        command.help = (command.help or "").replace("\\b\n", "\b\n")
        for option in command.params:
            option.envvar = f"SIMPLENET_{name}_{_written(option)}".upper()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Import and run a command, which may import more once it knows what it is to do.

        Raises:
            ClickException: if what it needs is not installed.
        """
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] not in _OF_CLOUD:
                raise
            raise click.ClickException(
                f"This needs {error.name}, which is not installed here; run: make cloud"
            ) from None

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the sections of commands."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(list(section.items()))
