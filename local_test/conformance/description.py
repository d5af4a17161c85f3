"""What an image says of itself and holds, found without running it."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.engine import Container, Engine

_CAPABILITY = "com.amazonaws.sagemaker.capabilities."
_LINE = 256  # bytes of a program that are read
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Program:
    """A file that the image has on PATH."""

    mode: int
    first_line: bytes


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

    @cached_property
    def history(self) -> list[str]:
        """The instructions that made its layers, the last one first, with their build arguments."""
        lines = self._engine.ask(
            *("history", "--no-trunc", "--format", "{{json .CreatedBy}}", self._image)
        )
        return [json.loads(line) for line in lines.decode().splitlines()]

    @property
    def media_type(self) -> str | None:
        """The manifest's media type, where the engine keeps it: not before Docker 25's containerd.

        An engine that stores images as Docker always did makes a manifest when it pushes them.
        """
        return (self.facts.get("Descriptor") or {}).get("mediaType")

    def claims(self, capability: str) -> bool:
        """Say whether the image is labelled to have one of SageMaker's capabilities."""
        labels = self.facts["Config"].get("Labels") or {}
        return str(labels.get(_CAPABILITY + capability)).lower() == "true"

    @cached_property
    def container(self) -> Container:
        """A container without mounts that is never started: the image's files."""
        return self._engine.create(self._image, "none")

    def program(self, name: str) -> Program | None:
        """Return the first file of that name on PATH, or the one that a link there leads to."""
        for directory in self.environment.get("PATH", _DEFAULT_PATH).split(":"):
            path = f"{directory.rstrip('/')}/{name}"
            if found := self.container.read(path, follow=True):
                with tarfile.open(fileobj=io.BytesIO(found)) as archive:
                    member = archive.getmembers()[0]
                    if file := archive.extractfile(member):
                        return Program(member.mode, file.readline(_LINE))
        return None
