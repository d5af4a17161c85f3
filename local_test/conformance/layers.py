"""The layers of an image, read from `docker save` as it comes, without room on the disk."""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from conformance.engine import EngineError

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
    """
    found: dict[str, list[File]] = {}
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
                        found[member.name] = list(_layer(content))
                    elif member.issym():
                        # Two equal layers are one, and a link to it.
                        target = member.linkname.removeprefix("../")
                        found[member.name] = found.get(target, [])
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise EngineError(f"docker save {image} gives no archive of layers: {error}") from error
        finally:
            saving.kill()
    for number, name in enumerate(order):
        for file in found[name]:
            yield replace(file, layer=number)


def _layer(content: IO[bytes]) -> Iterator[File]:
    """Yield the files of a layer; of what is no archive, a configuration, nothing."""
    try:
        layer = tarfile.open(fileobj=content, mode="r|*", bufsize=1 << 20)  # noqa: SIM115 - below
    except tarfile.ReadError:
        return
    with layer:
        for member in layer:
            if member.isfile():
                path = "/" + member.name.removeprefix("./")
                line = _first_line(layer, member)
                script = line.removeprefix(b"#!") if line.startswith(b"#!") else b""
                yield File(0, path, member.size, member.mode, script, _KEY in line)


def _first_line(layer: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the beginning of a file, up to a line's end."""
    file = layer.extractfile(member) if member.size else None
    return file.read(_HEAD).partition(b"\n")[0] if file else b""
