"""`model.tar.gz`."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from client import artefact
from client.artefact import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_packed_is_unpacked_at_the_root(tmp_path: Path) -> None:
    """The files of a model are at the archive's root, nested ones below it (T34, H7)."""
    model = tmp_path / "model"
    (model / "more").mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "more" / "card.md").write_bytes(b"card")
    artefact.pack(model, tmp_path / "model.tar.gz")
    artefact.unpack(tmp_path / "model.tar.gz", tmp_path / "serving")

    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        assert ["model.safetensors", "more", "more/card.md"] == tar.getnames()
    assert b"weights" == (tmp_path / "serving" / "model.safetensors").read_bytes()
    assert b"card" == (tmp_path / "serving" / "more" / "card.md").read_bytes()


def test_an_empty_model_is_not_packed(tmp_path: Path) -> None:
    """SageMaker calls such a job Completed, and leaves it without an artefact (T34, X31)."""
    (tmp_path / "model").mkdir()
    with pytest.raises(ArtefactError, match="is empty; expected the model"):
        artefact.pack(tmp_path / "model", tmp_path / "model.tar.gz")

    assert not (tmp_path / "model.tar.gz").exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside"])  # noqa: S108
def test_an_archive_cannot_write_outside(tmp_path: Path, name: str) -> None:
    """A name that climbs out of the directory is refused, or kept inside."""
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    (tmp_path / "in" / "model").mkdir(parents=True)
    with suppress(ArtefactError):
        artefact.unpack(tmp_path / "model.tar.gz", tmp_path / "in" / "model")

    assert {"in", "model.tar.gz"} == {path.name for path in tmp_path.iterdir()}
    assert {"model"} == {path.name for path in (tmp_path / "in").iterdir()}


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08\x00"])
def test_what_is_no_archive_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    """The message names the file."""
    (tmp_path / "model.tar.gz").write_bytes(content)
    with pytest.raises(ArtefactError, match="model.tar.gz cannot be unpacked"):
        artefact.unpack(tmp_path / "model.tar.gz", tmp_path / "model")
