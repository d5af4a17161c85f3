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
_REMOVES = ".wh."  # begins the name of a file that removes another
_EMPTIES = ".wh..wh..opq"  # a file that removes all that a directory had
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
    hidden: bool = False  #: whether a later layer removes it or puts something in its place


@dataclass(frozen=True)
class _Layer:
    """What one layer adds, and what it takes away of those below it."""

    files: list[File]
    covers: set[str]  #: paths that are not what they were, nor anything below them
    empties: set[str]  #: directories of which nothing is left that was there


def files(image: str) -> Iterator[File]:
    """Yield the files of all layers, in the order of the layers.

    Raises:
        EngineError: if Docker does not save the image.
        BlockedError: if a layer cannot be read.
    """
    found: dict[str, _Layer | None] = {}
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
    stack: list[_Layer] = []
    for number, name in enumerate(order):
        layer = found.get(links.get(name, name))
        if layer is None:
            raise BlockedError(
                f"layer {number} cannot be read: it is no tar archive, nor one of gzip, bzip2 or "
                "xz; build the image with layers of gzip"
            )
        stack.append(layer)
    for number, layer in enumerate(stack):
        above = stack[number + 1 :]
        covered = set().union(*(one.covers for one in above))
        emptied = set().union(*(one.empties for one in above))
        for file in layer.files:
            over = _over(file.path)
            hidden = not covered.isdisjoint([file.path, *over]) or not emptied.isdisjoint(over)
            yield replace(file, layer=number, hidden=hidden)


def _over(path: str) -> list[str]:
    """Return the directories that a path is in."""
    parts = path.split("/")[1:-1]
    return ["/".join(["", *parts[: count + 1]]) for count in range(len(parts))]


def _layer(content: IO[bytes]) -> _Layer | None:
    """Return what is in a layer, or None of what is no archive, such as a configuration."""
    layer = _Layer([], set(), set())
    try:
        with tarfile.open(fileobj=content, mode="r|*", bufsize=1 << 20) as archive:
            for member in archive:
                path = "/" + member.name.removeprefix("./")
                directory, _, name = path.rpartition("/")
                if name == _EMPTIES:
                    layer.empties.add(directory)
                elif name.startswith(_REMOVES):
                    layer.covers.add(f"{directory}/{name.removeprefix(_REMOVES)}")
                elif not member.isdir():
                    layer.covers.add(path)
                    if member.isfile():
                        layer.files.append(_file(archive, member, path))
    except (tarfile.ReadError, tarfile.CompressionError):
        return None
    return layer


def _file(layer: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> File:
    line = _first_line(layer, member)
    script = line.removeprefix(b"#!") if line.startswith(b"#!") else b""
    return File(0, path, member.size, member.mode, script, _KEY in line)


def _first_line(layer: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the beginning of a file, up to a line's end."""
    file = layer.extractfile(member) if member.size else None
    return file.read(_HEAD).partition(b"\n")[0] if file else b""
