"""The layers of an image, as `docker save` gives them; here a stub of it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from conformance import layers
from conformance.finding import BlockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ZSTD = b"\x28\xb5\x2f\xfd" + bytes(1020)


def archive(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """Return a tar archive of these links and files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            made.addfile(link)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes `docker save` give an image of such layers."""
    stub, saved = tmp_path / "docker", tmp_path / "saved.tar"
    stub.write_text(f"#!/bin/sh\nexec /bin/cat '{saved}'\n", "utf-8")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def save(*contents: bytes | str) -> None:
        blobs = {f"{number}/layer.tar": content for number, content in enumerate(contents)}
        manifest = json.dumps([{"Config": "config", "Layers": list(blobs)}]).encode()
        files = {name: content for name, content in blobs.items() if isinstance(content, bytes)}
        links = {name: target for name, target in blobs.items() if isinstance(target, str)}
        saved.write_bytes(archive({**files, "config": b"{}", "manifest.json": manifest}, links))

    return save


def test_a_layer_may_be_compressed_or_empty(saves: Callable[..., None]) -> None:
    """Its files are found, with the number of their layer."""
    saves(archive({"a": b"x"}), archive({}), gzip.compress(archive({"b": b"x"})))
    found = [(file.layer, file.path) for file in layers.files("image")]

    assert [(0, "/a"), (2, "/b")] == found


def test_a_layer_may_be_a_link_to_one_that_comes_later(saves: Callable[..., None]) -> None:
    """Docker saves equal layers once, under the name of any of them."""
    saves("../1/layer.tar", archive({"a": b"x"}))
    found = [(file.layer, file.path) for file in layers.files("image")]

    assert [(0, "/a"), (1, "/a")] == found


@pytest.mark.parametrize(
    ("above", "hidden"),
    [
        ("opt/a", {"/opt/a"}),
        ("opt/.wh.a", {"/opt/a"}),
        ("opt/sub/.wh..wh..opq", {"/opt/sub/b"}),
        (".wh.opt", {"/opt/a", "/opt/sub/b"}),
        ("opt/sub", {"/opt/sub/b"}),
        ("opt/aa", set()),
    ],
)
def test_a_later_layer_replaces_and_removes_files(
    saves: Callable[..., None], above: str, hidden: set[str]
) -> None:
    """By the names that OCI's layers have for it; what is hidden is still in the image."""
    saves(archive({"opt/a": b"x", "opt/sub/b": b"x"}), archive({above: b""}))
    below = [file for file in layers.files("image") if file.layer == 0]

    assert ["/opt/a", "/opt/sub/b"] == [file.path for file in below]
    assert hidden == {file.path for file in below if file.hidden}


@pytest.mark.parametrize(
    "content", [ZSTD, gzip.compress(archive({"b": b"x"}))[:40], b""], ids=["zstd", "cut", "none"]
)
def test_a_layer_that_cannot_be_read_is_not_an_empty_one(
    saves: Callable[..., None], content: bytes
) -> None:
    """Of what nobody has looked at, nothing is said."""
    saves(archive({"a": b"x"}), content)

    with pytest.raises(BlockedError, match="layer 1 cannot be read"):
        list(layers.files("image"))
