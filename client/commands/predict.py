"""`python -m client predict`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from client import invocation, media_types
from client.commands import options
from client.invocation import Queue, Request

if TYPE_CHECKING:
    from client.commands.options import Place


@click.command("predict")
@options.on_platform
@click.option("--endpoint", help="Its name.  [default: the project's]")
@click.option(
    "--content-type", help="What the rows are.  [default: as the file's name says, or text/csv]"
)
@click.option("--accept", help="What the scores shall be.  [default: as the rows]")
@click.option(
    "--target-model", help="Which of a --multi-model endpoint's: JOB/output/model.tar.gz."
)
@click.option("--async", "queued", is_flag=True, help="Queue the rows, and wait for the reply.")
@click.argument("file", type=click.File("rb"), default="-")
def command(
    place: Place,
    file: BinaryIO,
    *,
    endpoint: str | None,
    content_type: str | None,
    accept: str | None,
    target_model: str | None,
    queued: bool,
) -> None:
    r"""Score the rows of FILE, or of standard input, and print the reply as it is.

    A script that wants JSON says --accept application/json.

    \b
    Examples:
      python -m client predict local_test/payload.csv
      echo '[[0.5, 0.25]]' | python -m client predict --content-type application/json
    """
    if (place.local or queued) and target_model:
        raise click.UsageError(
            "Only an endpoint in SageMaker that is --multi-model has a model to target."
        )
    body = file.read()
    content_type = content_type or media_types.of(file.name)
    if place.local:
        reply = place.local_endpoint().invoke(body, content_type, accept)
    else:
        account = place.account()
        runtime = account.client("sagemaker-runtime")
        endpoint = endpoint or account.project
        request = Request(body, content_type, accept, target_model)
        if queued:
            address = place.cloud().prefix_of_project / "async"
            queue = Queue(endpoint, address, runtime, account.client("s3"))
            with options.progress() as progress:
                reply = queue.invoke(request, progress)
        else:
            reply = invocation.invoke(runtime, endpoint, request)
    sys.stdout.buffer.write(reply)
