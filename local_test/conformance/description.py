"""What an image says of itself and holds, found without running it."""

from __future__ import annotations

import io
import tarfile
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.engine import Container, Engine

_CAPABILITY = "com.amazonaws.sagemaker.capabilities."
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Description:
    """An image, by its configuration and its files."""

    def __init__(self, engine: Engine, image: str) -> None:
        self._engine = engine
        self._image = image
        self.facts: dict[str, Any] = engine.describe("image", image)

    @property
    def platform(self) -> str:
        """Operating system and architecture, as in `docker build --platform`."""
        return f"{self.facts['Os']}/{self.facts['Architecture']}"

    @property
    def entry_point(self) -> list[str]:
        """The program that gets `train` or `serve` as its argument, if there is one."""
        return self.facts["Config"].get("Entrypoint") or []

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the image sets."""
        return dict(line.split("=", 1) for line in self.facts["Config"].get("Env") or [])

    def claims(self, capability: str) -> bool:
        """Say whether the image is labelled to have one of SageMaker's capabilities."""
        labels = self.facts["Config"].get("Labels") or {}
        return str(labels.get(_CAPABILITY + capability)).lower() == "true"

    @cached_property
    def container(self) -> Container:
        """A container without mounts that is never started: the image's files."""
        return self._engine.create(self._image, "none")

    def program(self, name: str) -> tarfile.TarInfo | None:
        """Return the first file of that name on PATH, with its mode."""
        for directory in self.environment.get("PATH", _DEFAULT_PATH).split(":"):
            found = self.container.read(f"{directory.rstrip('/')}/{name}")
            if found is not None:
                with tarfile.open(fileobj=io.BytesIO(found)) as archive:
                    return archive.getmembers()[0]
        return None
