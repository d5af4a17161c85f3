"""`python -m client upload`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from client import storage
from client.commands import options

if TYPE_CHECKING:
    from client.commands.options import Place


@click.command("upload")
@options.on_sagemaker
@options.dry_run
@options.as_json
@click.argument(
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("data"),
)
def command(place: Place, directory: Path, *, dry_run: bool, as_json: bool) -> None:
    r"""Copy DIRECTORY to S3; each directory in it is a channel of the training job.

    \b
    Example:
      python -m client data
      python -m client upload
    """
    platform = place.cloud()
    if dry_run:
        files = storage.files(directory)
        options.say("Nothing is copied; this would be there:")
        options.result({"data": platform.data, "files": len(files)}, as_json=as_json)
        return
    platform.make_bucket()
    s3 = platform.account.client("s3")
    sizes = {}
    prefix = storage.Prefix.of(platform.data)
    for address, size in prefix.upload(s3, directory):
        options.say(f"{size:>12,} bytes  {address}")
        sizes[address] = size
    there = (f"s3://{prefix.bucket}/{found['Key']}" for found in prefix.objects(s3))
    if older := [address for address in there if address not in sizes]:
        options.say(
            f"{len(older)} more from before, such as {older[0]}: jobs read them too. "
            f"To begin anew: aws s3 rm --recursive {prefix}"
        )
    options.result({"data": platform.data, "files": len(sizes)}, as_json=as_json)
