"""A container that serves, and what a test asks of it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests import engine, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The processes whose parent is gunicorn's master; `docker exec` itself has none in the container.
_WORKERS = """
import glob
for path in glob.glob("/proc/[0-9]*/stat"):
    fields = open(path).read().rpartition(")")[2].split()
    if fields[1] == "1": print(path.split("/")[2])
"""


class Server(server.Server):
    """A running container."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(port)
        self.name = name

    def inside(self, program: str) -> str:
        """Return what a Python program prints in the container."""
        return engine.docker("exec", self.name, "python", "-c", program)

    def workers(self) -> list[int]:
        """Return the workers' process ids, as the container numbers them."""
        return [*map(int, self.inside(_WORKERS).split())]

    def memory(self, field: str = "RssAnon") -> list[int]:
        """Return the bytes of each worker's memory."""
        paths = [f"/proc/{worker}/status" for worker in self.workers()]
        text = self.inside(f"for path in {paths}: print(open(path).read())")
        return [int(found) << 10 for found in re.findall(rf"{field}:\s+(\d+)", text)]

    def output(self) -> str:
        """Return all that it has written so far."""
        return engine.logs(self.name)

    def stop(self) -> str:
        """Stop it as SageMaker does, with 30 s to end in (H3); return the exit code."""
        engine.docker("stop", "--time", "30", self.name)
        return self.code()

    def code(self) -> str:
        """Wait for the end of the program; return its exit code."""
        return engine.docker("wait", self.name)


@contextmanager
def serving(image: str, opt_ml: Path, *options: str, inside: int = 8080) -> Iterator[Server]:
    """Run the image's `serve` over an `/opt/ml`, read-only, as SageMaker mounts it (H6)."""
    port = engine.free_port()
    with engine.container(
        *("--publish", f"127.0.0.1:{port}:{inside}", "--volume", f"{opt_ml}:/opt/ml:ro"),
        *(*options, image, "serve"),
    ) as name:
        engine.wait_until(lambda: engine.healthy(port) or not _runs(name), "/ping answers 200")
        assert _runs(name), engine.logs(name)
        yield Server(name, port)


def _runs(name: str) -> bool:
    return engine.docker("inspect", "--format", "{{.State.Running}}", name) == "true"
