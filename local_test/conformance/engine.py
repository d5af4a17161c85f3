"""Docker: containers, volumes and networks, all of which go with the run that made them.

Data goes into a container and out of it as a tar archive, through volumes: so nothing on this
machine's disk ever belongs to a container's root, and the engine may be rootless.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"]

#: What a run makes, how it is listed and how removed, in an order in which that can be done.
_KINDS = (
    ("container", ("ps", "--all"), ("rm", "--force", "--volumes")),
    ("network", ("network", "ls"), ("network", "rm")),
    ("volume", ("volume", "ls"), ("volume", "rm", "--force")),
)
_PAUSES = (0.0, 1.0, 2.0)  # before each attempt to remove: Docker may still be about it

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
# What Docker and its runtimes say where the program, its directory or its user is at fault.
_OF_THE_IMAGE = re.compile(
    r"exec: |exec format|executable file|no such file|permission denied|(is|not) a directory"
    r"|chdir to cwd|unable to find (user|group)|no matching entries|invalid (user|group)",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(r"(tcp|ssh|https?)://(?!localhost|127\.|\[::1\])")
_STAMP = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:.]+Z) ", re.MULTILINE)  # of a line, which ends in \n


class EngineError(Exception):
    """Docker did not do what it was asked."""


class StartError(Exception):
    """Docker made the container, but the image has no program that could be started."""


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a signal wait: what is being made is known by its label before the run is given up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Engine:
    """A Docker engine, and what this run has made in it."""

    def __init__(self, image: str) -> None:
        self._label = f"conformance.run={uuid.uuid4().hex}"
        self._labels = ("--label", self._label, "--label", f"conformance.image={image}")

    @cached_property
    def elsewhere(self) -> str:
        """The address of the engine if it is on another machine, as the ports of containers are."""
        address = os.environ.get("DOCKER_HOST", "")
        with suppress(EngineError):  # other programs that are called docker may have no contexts
            asked = ("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
            address = address or self.ask(*asked).decode().strip()
        return address if _ELSEWHERE.match(address) else ""

    def ask(self, *arguments: str, data: bytes | None = None) -> bytes:
        """Run the Docker client to its end; return what it prints.

        Raises:
            EngineError: if it fails.
        """
        command = ["docker", *arguments]
        try:
            done = subprocess.run(
                command, input=data, capture_output=True, check=False, start_new_session=True
            )
        except FileNotFoundError as error:
            raise EngineError(
                "There is no docker command; install Docker: https://docs.docker.com/get-docker/"
            ) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise EngineError(f"docker {arguments[0]} exits with {done.returncode}: {said}")
        return done.stdout

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        """Return what `docker inspect` says of an image or a container."""
        described: dict[str, Any] = json.loads(self.ask(kind, "inspect", name))[0]
        return described

    def create(self, image: str, *command: str, options: tuple[str, ...] = ()) -> Container:
        """Make a container; it does not run yet."""
        with _undisturbed():
            name = self.ask("create", *self._labels, *options, image, *command)
        return Container(self, name.decode().strip())

    def volume(self, image: str, archive: bytes) -> str:
        """Make a volume of an archive: it holds what the archive has below `volume`.

        Any image will do: the container through which the archive goes is never started.
        """
        with _undisturbed():
            name = self.ask("volume", "create", *self._labels).decode().strip()
        self._copy(image, name, "-", "/", archive)
        return name

    def put(self, image: str, volume: str, file: Path, name: str) -> None:
        """Copy a file of this machine over one of a volume's."""
        self._copy(image, volume, str(file), f"/volume/{name}")

    def _copy(
        self, image: str, volume: str, source: str, target: str, data: bytes | None = None
    ) -> None:
        way_in = self.create(image, "none", options=mount(volume, "/volume"))
        self.ask("cp", source, f"{way_in.name}:{target}", data=data)
        way_in.remove()

    def network(self, *, internal: bool = False) -> str:
        """Make a network for several containers; an internal one leads nowhere else."""
        name = f"conformance-{uuid.uuid4().hex[:12]}"
        flags = ["--internal"] * internal
        with _undisturbed():
            self.ask("network", "create", *self._labels, *flags, name)
        return name

    def remove_all(self) -> list[str]:
        """Remove all that the run made; nothing interrupts this.

        Returns:
            a sentence on each kind of thing of which something is left, with the cure.
        """
        with _undisturbed():
            return [text for kind in _KINDS if (text := self._remove(*kind))]

    def _remove(self, kind: str, listing: tuple[str, ...], removal: tuple[str, ...]) -> str:
        ours = (*listing, "--quiet", "--filter", f"label={self._label}")
        for pause in _PAUSES:
            time.sleep(pause)
            said = self._removed(ours, removal)
            if not said:
                return ""
        return (
            f"Of this run there may be {kind}s left: {said}\n"
            f"  Remove them: docker {' '.join(ours)} | xargs docker {' '.join(removal)}"
        )

    def _removed(self, ours: tuple[str, ...], removal: tuple[str, ...]) -> str:
        """Try it, and return what Docker says against it; nothing if nothing is left."""
        try:
            if names := self.ask(*ours).decode().split():
                self.ask(*removal, *names)
        except EngineError as error:
            return str(error)
        return ""


def mount(volume: str, target: str, *, read_only: bool = False) -> tuple[str, str]:
    """Return the flags that mount a volume, and hide what the image has there."""
    flag = f"type=volume,source={volume},target={target},volume-nocopy"
    return "--mount", flag + ",readonly" * read_only


@dataclass(frozen=True)
class Container:
    """A container of this run."""

    engine: Engine
    name: str

    def start(self) -> None:
        """Start the program.

        Raises:
            StartError: if the program is not there, or cannot be executed, or not as that user.
            EngineError: if Docker cannot start it for a reason of its own, such as a full disk.
        """
        try:
            self.engine.ask("start", self.name)
        except EngineError as error:
            reason = str(error).partition("\nError: failed to start")[0]
            if _OF_THE_IMAGE.search(reason):
                raise StartError(reason) from error
            raise

    def wait(self, seconds: float) -> int | None:
        """Return the program's exit code, or None if it still runs after so many seconds."""
        give_up = time.monotonic() + seconds
        while (code := self.exit_code) is None and time.monotonic() < give_up:
            time.sleep(0.05)
        return code

    @property
    def exit_code(self) -> int | None:
        """The program's exit code, or None while it runs."""
        state = self.engine.describe("container", self.name)["State"]
        return None if state["Running"] else int(state["ExitCode"])

    @property
    def ran(self) -> tuple[float, float]:
        """When the program started and when it ended, by the engine's clock."""
        state = self.engine.describe("container", self.name)["State"]
        return _seconds(state["StartedAt"]), _seconds(state["FinishedAt"])

    def signal(self, name: str) -> None:
        """Send a signal to the program, if it still runs."""
        with suppress(EngineError):
            self.engine.ask("kill", "--signal", name, self.name)

    def log(self) -> str:
        """Return what the program has written so far, stdout and stderr in one."""
        return self._logs()

    def log_times(self) -> list[float]:
        """Return when each line came, by the engine's clock, the first one first.

        A progress bar is one line, with many carriage returns.
        """
        return sorted(_seconds(time) for time in _STAMP.findall(self._logs("--timestamps")))

    def _logs(self, *flags: str) -> str:
        done = subprocess.run(
            ["docker", "logs", *flags, self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            start_new_session=True,
        )
        return done.stdout.decode(errors="replace")

    def port(self, inside: int) -> int | None:
        """Return the port of this machine that leads to one of the container's, while it runs."""
        ports = self.engine.describe("container", self.name)["NetworkSettings"]["Ports"] or {}
        bound = ports.get(f"{inside}/tcp")
        return int(bound[0]["HostPort"]) if bound else None

    def ip(self) -> str | None:
        """Return its own address, while it runs; not every machine has a way there."""
        networks = self.engine.describe("container", self.name)["NetworkSettings"]["Networks"]
        return next((found for one in networks.values() if (found := one["IPAddress"])), None)

    def written(self) -> list[str]:
        """Return the paths that the program made or changed outside of volumes and tmpfs."""
        lines = self.engine.ask("diff", self.name).decode().splitlines()
        return [line[2:] for line in lines if line[0] in "AC"]

    def memory(self) -> int:
        """Return the bytes of memory that its processes use, or 0 where the engine has no number.

        The cache of files does not count.
        """
        said = self.engine.ask("stats", "--no-stream", "--format", "{{.MemUsage}}", self.name)
        used = re.match(r"([\d.]+)(B|[KMGT]iB)", said.decode())
        return int(float(used[1]) * 1024 ** _UNITS.index(used[2])) if used else 0

    def read(self, path: str, *, follow: bool = False) -> bytes | None:
        """Return the archive of a file or directory, or None; it may follow a link to it."""
        flags = ["--follow-link"] * follow
        try:
            return self.engine.ask("cp", *flags, f"{self.name}:{path}", "-")
        except EngineError as error:
            if "Could not find the file" in str(error) or "No such" in str(error):
                return None
            raise

    def text(self, path: str) -> str | None:
        """Return the text of a file, or None if it is not there."""
        found = self.read(path)
        if found is None:
            return None
        with tarfile.open(fileobj=io.BytesIO(found)) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            return file.read().decode(errors="replace") if file else None

    def remove(self) -> None:
        """Remove the container, running or not."""
        with _undisturbed():
            self.engine.ask("rm", "--force", "--volumes", self.name)


def _seconds(timestamp: str) -> float:
    """Return a timestamp of Docker's, which counts nanoseconds, as seconds."""
    whole, _, rest = timestamp.partition(".")
    moment = datetime.fromisoformat(f"{whole.rstrip('Z')}+00:00").timestamp()
    return moment + float(f"0.{rest.rstrip('Z') or 0}")
