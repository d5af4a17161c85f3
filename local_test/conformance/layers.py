"""The layers of an image, read from `docker save` as it comes, without room on the disk."""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from conformance.engine import EngineError
from conformance.finding import BlockedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = 258  # bytes of a file that are read, for the first line of a script
_KEY = b"PRIVATE KEY-----"  # in the first line of a key as PEM


@dataclass(frozen=True)
class File:
    """A file of a layer; it is in the image's history even if a later layer removes it."""

    layer: int  #: from 0, the base
    path: str  #: from /
    size: int
    mode: int
    first_line: bytes  #: of a script, what follows #!
    private_key: bool  #: whether it begins as one


def files(image: str) -> Iterator[File]:
    """Yield the files of all layers, in the order of the layers.

    Raises:
        EngineError: if Docker does not save the image.
        BlockedError: if a layer cannot be read.
    """
    found: dict[str, list[File] | None] = {}
    links: dict[str, str] = {}
    order: list[str] = []
    command = ["docker", "save", image]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as saving:
        assert saving.stdout is not None  # noqa: S101 - it is a pipe
        try:
            with tarfile.open(fileobj=saving.stdout, mode="r|", bufsize=1 << 20) as saved:
                for member in saved:
                    content = saved.extractfile(member) if member.isfile() else None
                    if member.name == "manifest.json" and content:
                        order = json.load(content)[0]["Layers"]
                    elif content:
                        found[member.name] = _layer(content)
                    elif member.issym():
                        # Two equal layers are one, and a link to it, which may come first.
                        links[member.name] = member.linkname.removeprefix("../")
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise EngineError(f"docker save {image} gives no archive of layers: {error}") from error
        finally:
            saving.kill()
    for number, name in enumerate(order):
        layer = found.get(links.get(name, name))
        if layer is None:
            raise BlockedError(
                f"layer {number} cannot be read: it is no tar archive, nor one of gzip, bzip2 or "
                "xz; build the image with layers of gzip"
            )
        for file in layer:
            yield replace(file, layer=number)


def _layer(content: IO[bytes]) -> list[File] | None:
    """Return the files of a layer, or None of what is no archive, such as a configuration."""
    try:
        with tarfile.open(fileobj=content, mode="r|*", bufsize=1 << 20) as layer:
            return [_file(layer, member) for member in layer if member.isfile()]
    except (tarfile.ReadError, tarfile.CompressionError):
        return None


def _file(layer: tarfile.TarFile, member: tarfile.TarInfo) -> File:
    path = "/" + member.name.removeprefix("./")
    line = _first_line(layer, member)
    script = line.removeprefix(b"#!") if line.startswith(b"#!") else b""
    return File(0, path, member.size, member.mode, script, _KEY in line)


def _first_line(layer: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the beginning of a file, up to a line's end."""
    file = layer.extractfile(member) if member.size else None
    return file.read(_HEAD).partition(b"\n")[0] if file else b""
