"""The options that commands share, and the platform that they name.

What needs boto3 or the SDK is imported where it is first used: `evaluate` and `doctor` have these
options too, and work where neither is installed.
"""

from __future__ import annotations

import functools
import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from client import names
from client.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from client.account import Account
    from client.checks import Check
    from client.endpoint import Predictor
    from client.platform import Cloud, Platform


@dataclass(frozen=True)
class Place:
    """What the shared options say: in which account, or in local mode."""

    project: str
    region: str | None = None
    profile: str | None = None
    role: str | None = None
    image: str | None = None
    bucket: str | None = None
    prefix: str | None = None
    local: bool = False
    port: int = 8080

    def account(self) -> Account:
        """Return the account that the options name."""
        from client.account import Account

        return Account.of(self.project, self.region, self.profile)

    @contextmanager
    def open(self) -> Iterator[Platform]:
        """Give the platform; local mode is cleaned up after."""
        if self.local:
            from client import local

            with local.mode(self.project, self.image, self.port) as found:
                yield found
        else:
            yield self.cloud()

    def local_endpoint(self) -> Endpoint:
        """Return the container that serves on this machine."""
        return Endpoint(f"http://127.0.0.1:{self.port}")

    def predictor(self, endpoint: str) -> Predictor:
        """Return what scores arrays at an endpoint of the account."""
        from client import sdk

        found: Predictor = sdk.predictor(sdk.connect(self.account()), endpoint)
        return found

    def checks(self) -> Iterator[Check]:
        """Check the account that the options name."""
        from client import account_checks

        image = self.image or names.IMAGE
        return account_checks.of_account(self.account, self.role, image, self.bucket)

    def cloud(self) -> Cloud:
        """Return SageMaker in the account."""
        from client.platform import Cloud

        return Cloud(self.account(), self.role, self.image, self.bucket, self.prefix)


_ACCOUNT = [
    click.option("--project", default="simplenet", help="Names and tags all that is made."),
    click.option("--region", help="The AWS region.  [default: that of your AWS configuration]"),
    click.option("--profile", help="The profile of your AWS configuration."),
]
_PLACE = [
    *_ACCOUNT,
    click.option("--role", help="The execution role that SageMaker works under: name or ARN."),
    click.option("--image", help=f"The image, in ECR or here.  [default: {names.IMAGE}]"),
    click.option("--bucket", help="The bucket.  [default: sagemaker-REGION-ACCOUNT]"),
    click.option("--prefix", help="Where in the bucket.  [default: the project's name]"),
]
_LOCAL = [
    click.option("--local", is_flag=True, help="In the SDK's local mode, without AWS."),
    click.option(
        "--port",
        default=8080,
        type=click.IntRange(1, 65535),
        help="Where a local container serves.",
    ),
]


@contextmanager
def translated() -> Iterator[None]:
    """Let what AWS refuses leave as an AwsError; without boto3, nothing is asked of AWS."""
    if find_spec("boto3") is None:
        yield
        return
    from client import aws_errors

    with aws_errors.translated():
        yield


def _with(options: list[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, gathered into its argument `place`, and AWS' errors in words."""

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        fields = Place.__dataclass_fields__
        place = Place(**{name: values.pop(name) for name in list(values) if name in fields})
        with translated():
            return function(place=place, **values)

    for option in reversed(options):
        command = option(command)
    return command


def in_account(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command have the options of whatever asks AWS."""
    return _with(_ACCOUNT, function)


def on_sagemaker(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command have the options of whatever makes something on SageMaker."""
    return _with(_PLACE, function)


def on_platform(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command work on SageMaker, and with --local on this machine."""
    return _with([*_PLACE, *_LOCAL], function)


def in_account_or_local(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command ask what serves already, in the account or on this machine."""
    return _with([*_ACCOUNT, *_LOCAL], function)


def instance_type(
    words: str, default: str, meaning: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command have the option that names a type of SageMaker's machines."""
    return click.option(
        words,
        default=default,
        help=meaning,
        callback=lambda _, __, value: _of_sagemaker(value),
    )


def _of_sagemaker(value: str) -> str:
    if not value.startswith("ml."):
        here = " For this machine leave it out, and give --local." * value.startswith("local")
        raise click.BadParameter(f"{value!r} is none; expected such as ml.m5.xlarge.{here}")
    return value


hyperparameters = click.option(
    "-p",
    "--hyperparameter",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="For each job; may be given many times. docs/training.md lists them.",
)
spot = click.option(
    "--spot", is_flag=True, help="Train cheaper; may be interrupted, and then continues."
)
dry_run = click.option(
    "--dry-run", is_flag=True, help="Only say what would be asked for; nothing is made."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


environment = click.option(
    "--env",
    "environment",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda _, __, words: _pairs(words),
    help="The container's environment; may be given many times. docs/serving.md lists it.",
)


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    for word in words:
        if "=" not in word[1:]:
            raise click.BadParameter(f"{word!r} sets nothing; expected NAME=VALUE.")
    return dict(word.split("=", 1) for word in words)


def say(sentence: str) -> None:
    """Tell how it goes, on stderr."""
    click.echo(sentence, err=True)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Give what shows how a long wait goes: one line on a terminal, else a line for each change."""
    last = ""

    def show(line: str) -> None:
        nonlocal last
        fact = line.rsplit(",", 1)[0]  # without the seconds
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{line}", err=True, nl=False)
        elif fact != last:
            click.echo(line, err=True)
        last = fact

    try:
        yield show
    finally:
        if sys.stderr.isatty() and last:
            click.echo(err=True)


def result(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a command came to, on stdout: as JSON, or a line each."""
    if as_json:
        click.echo(json.dumps(found, default=str))
        return
    width = max(len(name) for name in found) + 2
    for name, value in found.items():
        click.echo(f"{name + ':':<{width}}{value}")
