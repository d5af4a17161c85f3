"""`model.tar.gz`, packed after training and unpacked before serving, as SageMaker does both."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from client.files import replacing
from client.refusal import Refusal

if TYPE_CHECKING:
    from pathlib import Path


class ArtefactError(Refusal):
    """A model that cannot be packed or unpacked; the message says why."""


def pack(model: Path, archive: Path) -> None:
    """Pack the files of the directory `model` at the archive's root, where serving looks for them.

    Raises:
        ArtefactError: if training left nothing there; SageMaker would then have no artefact.
    """
    files = sorted(model.iterdir())
    if not files:
        raise ArtefactError(f"{model} is empty; expected the model that training leaves there.")
    with replacing(archive) as temporary, tarfile.open(temporary, "w:gz") as tar:
        for file in files:
            tar.add(file, arcname=file.name)


def unpack(archive: Path, model: Path) -> None:
    """Unpack the archive into the directory `model`; nothing in it may leave that directory.

    Raises:
        ArtefactError: if it is no archive, or one that would.
    """
    model.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # The data filter refuses names, links and devices that lead out of the directory.
            tar.extractall(model, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ArtefactError(f"{archive} cannot be unpacked: {error}.") from None
