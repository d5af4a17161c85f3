"""`python -m client predict`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from client import hosting
from client.commands import options

if TYPE_CHECKING:
    from client.commands.options import Place


@click.command("predict")
@options.on_platform
@click.option("--endpoint", help="Its name.  [default: the project's]")
@click.option("--content-type", default="text/csv", help="What the rows are.")
@click.option("--accept", help="What the scores shall be.  [default: as the rows]")
@click.argument("file", type=click.File("rb"), default="-")
def command(
    place: Place, file: BinaryIO, *, endpoint: str | None, content_type: str, accept: str | None
) -> None:
    r"""Score the rows of FILE, or of standard input, and print the reply as it is.

    \b
    Examples:
      python -m client predict local_test/payload.csv
      echo '[[0.5, 0.25]]' | python -m client predict --content-type application/json
    """
    body = file.read()
    if place.local:
        reply = place.local_endpoint().invoke(body, content_type, accept)
    else:
        account = place.account()
        runtime = account.client("sagemaker-runtime")
        reply = hosting.invoke(runtime, endpoint or account.project, body, content_type, accept)
    sys.stdout.buffer.write(reply)
