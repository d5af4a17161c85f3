"""Tar archives: how trees go into volumes, and what came out of them."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


def pack(files: Mapping[str, bytes], directories: Iterable[str] = (".",)) -> bytes:
    """Return an archive of files, and of directories that anybody may write to, for a volume.

    All is below `volume`, since `docker cp` gives no mode to the directory that it copies to.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in directories:
            directory = tarfile.TarInfo(f"volume/{name}")
            directory.type, directory.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(directory)
        for name, content in files.items():
            file = tarfile.TarInfo(f"volume/{name}")
            file.size, file.mode = len(content), 0o644
            archive.addfile(file, io.BytesIO(content))
    return packed.getvalue()


def tree(directory: Path) -> dict[str, bytes]:
    """Return the files of a directory, each under its name below it."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def unpack(packed: bytes) -> dict[str, bytes]:
    """Return the files of an archive of `docker cp` or `pack`, by name below its directory."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {
            member.name.partition("/")[2]: file.read()
            for member in archive.getmembers()
            if member.isfile() and (file := archive.extractfile(member))
        }


def model_archive(copied: bytes) -> bytes:
    """Return the `model.tar.gz` of what `docker cp` gives of a directory: its files at the root."""
    return _moved(copied, "w:gz", lambda name: name.partition("/")[2] or ".")


def unpacked_by_root(packed: bytes) -> bytes:
    """Return, as an archive for a volume, what root finds who has unpacked a `model.tar.gz`."""
    return _moved(packed, "w", lambda name: f"volume/{name}")


def _moved(packed: bytes, mode: Literal["w", "w:gz"], move: Callable[[str], str]) -> bytes:
    """Return an archive with other names, whose links and modes are kept, and whose owner is root.

    Where a symbolic link leads is left as it is: it may be a place that is not in the archive.
    """
    moved = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(packed)) as old,
        tarfile.open(fileobj=moved, mode=mode) as new,
    ):
        for member in old:
            content = old.extractfile(member) if member.isreg() else None
            member.name, member.pax_headers = move(member.name), {}
            if member.islnk():
                member.linkname = move(member.linkname)
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            new.addfile(member, content)
    return moved.getvalue()
