"""One run over one image: what its rules look at, each made once, and only if a rule asks."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from conformance import layers
from conformance.archive import pack
from conformance.description import Description
from conformance.engine import mount
from conformance.finding import BlockedError
from conformance.job import Job, Request
from conformance.server import Payload, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from conformance.engine import Engine
    from conformance.layers import File

T = TypeVar("T")


class shared(Generic[T]):  # noqa: N801 - a decorator, like functools.cached_property
    """A property that is computed once, and once only where it cannot be: its error is kept."""

    def __init__(self, compute: Callable[[Run], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, run: None, owner: type[Run]) -> shared[T]: ...
    @overload
    def __get__(self, run: Run, owner: type[Run]) -> T: ...
    def __get__(self, run: Run | None, owner: type[Run]) -> T | shared[T]:
        """Return the value, or raise the error, of the first time."""
        if run is None:
            return self
        if self._name not in run.made:
            try:
                run.made[self._name] = self._compute(run)
            except BlockedError as error:
                run.made[self._name] = error
        found = run.made[self._name]
        if isinstance(found, BlockedError):
            raise found
        return found  # type: ignore[no-any-return]


#: What the service, or a careful owner, may take away from a container.
RESTRICTIONS = {
    "user": ("--user", "12345:12345"),
    "writable_root": ("--read-only", "--tmpfs", "/tmp"),  # noqa: S108 - in the container
    "network": ("--network", "none"),
    "capabilities": ("--cap-drop", "ALL"),
}


@dataclass(frozen=True)
class Limits:
    """How long the run waits, in seconds, and other limits; the service's own where it has one."""

    image_bytes: int = 10_000_000_000  #: of a serverless endpoint's image (H42)
    job: float = 3600
    start: float = 480  #: until `/ping` answers 200 (H14)
    train_stop: float = 120  #: from SIGTERM to SIGKILL (T8)
    serve_stop: float = 30  #: the same for servers (H3)


@dataclass(frozen=True)
class Given:
    """What the user of the run says of the image."""

    image: str
    channel: Path | None = None
    payload: Payload | None = None
    model: Mapping[str, bytes] | None = None  #: instead of that of a job
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    endless: Mapping[str, str] = field(default_factory=dict)  #: those that make a job long
    only: str | None = None
    limits: Limits = field(default_factory=Limits)


class Run:
    """The things that rules look at."""

    def __init__(self, engine: Engine, given: Given) -> None:
        self.engine = engine
        self.given = given
        self.made: dict[str, Any] = {}

    # --- the image ---------------------------------------------------------------------------

    @shared
    def image(self) -> Description:
        """The image at rest."""
        return Description(self.engine, self.given.image)

    @shared
    def files(self) -> list[File]:
        """Every file of every layer, those that a later layer hides as well, the lowest first."""
        return list(layers.files(self.given.image))

    @shared
    def trains(self) -> bool:
        """Whether the image can be a training job's: it has a program for it."""
        return bool(self.image.entry_point or self.image.program("train"))

    @shared
    def serves(self) -> bool:
        """Whether the image can be an endpoint's."""
        return bool(self.image.entry_point or self.image.program("serve"))

    # --- training ----------------------------------------------------------------------------

    def job(
        self,
        *options: str,
        channel: Path | None = None,
        hyperparameters: Mapping[str, str] | None = None,
    ) -> Job:
        """Start a job of one host, on an empty channel unless one is given.

        Raises:
            BlockedError: if the image does not train, or there is nothing to train on.
        """
        if not self.trains:
            raise BlockedError("the image has no program `train`")
        if self.given.channel is None:
            raise BlockedError("there is no channel to train on; give one with --train")
        settings = {**self.given.hyperparameters, **(hyperparameters or {})}
        request = Request({"train": channel}, settings)
        return Job(self.engine, self.given.image, request, options).start()

    @shared
    def trained(self) -> Job:
        """A job on the given channel, at its end."""
        return self.job(channel=self.given.channel).finish(self.given.limits.job)

    @shared
    def restricted(self) -> Job:
        """A job as root, without anything else that can be taken away from it, at its end."""
        every = [flag for what, flags in RESTRICTIONS.items() if what != "user" for flag in flags]
        return self.job(*every, channel=self.given.channel).finish(self.given.limits.job)

    def job_without(self, what: str) -> Job:
        """Return a job that one of `RESTRICTIONS` is laid on, at its end.

        If the job with all of them but the user ends well, it is that one: a good image needs no
        more. Another user has a job of its own, who may read files that are not root's.

        Raises:
            BlockedError: if an ordinary job fails already.
        """
        if what != "user" and self.restricted.exit_code == 0:
            return self.restricted
        if self.trained.exit_code != 0:
            raise BlockedError(f"an ordinary job fails already: {self.trained.end}")
        job = self.job(*RESTRICTIONS[what], channel=self.given.channel)
        return job.finish(self.given.limits.job)

    @shared
    def refused(self) -> Job:
        """A job on a channel that holds nothing, at its end."""
        return self.job().finish(self.given.limits.job)

    @shared
    def stopped(self) -> Job:
        """A job that got SIGTERM while it trained, at its end.

        Raises:
            BlockedError: if it ended before that.
        """
        if self.trained.exit_code != 0:
            raise BlockedError(f"an ordinary job fails already: {self.trained.end}")
        job = self.job(channel=self.given.channel, hyperparameters=self.given.endless)
        # An endless job that has said as much as the whole of the ordinary one is past its start,
        # however slow that was. One that says less, or is not endless, is stopped all the same.
        lines = len(self.trained.log.splitlines()) if self.given.endless else 1
        give_up = time.monotonic() + 5 * self.trained.seconds
        while job.running and time.monotonic() < give_up:
            if len(job.log.splitlines()) >= lines:
                break
            time.sleep(0.05)
        if not job.running:
            raise BlockedError(
                "the job ended before it could be stopped; name hyperparameters that make it long "
                "with --endless, such as --endless epochs=1000000"
            )
        job.container.signal("TERM")
        return job.finish(self.given.limits.train_stop)

    # --- serving -----------------------------------------------------------------------------

    @shared
    def artefact(self) -> Mapping[str, bytes]:
        """The files of the model: those given, those a job left, or none."""
        if self.given.model is not None:
            return self.given.model
        if not self.trains or self.given.channel is None:
            return {}
        if self.trained.exit_code != 0:
            raise BlockedError(f"there is no model to serve: {self.trained.end}")
        return self.trained.model

    @shared
    def model(self) -> tuple[str, ...]:
        """The flags that mount the model, unpacked and read-only."""
        volume = self.engine.volume(self.given.image, pack(dict(self.artefact)))
        return mount(volume, "/opt/ml/model", read_only=True)

    @contextmanager
    def serving(self, *options: str, inside: int = 8080) -> Iterator[Server]:
        """Give a server of the rule's own, started, healthy or not; remove it in the end.

        Raises:
            BlockedError: if the ordinary server is not healthy: then nothing is learnt of this one.
        """
        _ = self.server
        server = self._server(*options, inside=inside)
        try:
            yield server
        finally:
            server.remove()

    @shared
    def started(self) -> Server:
        """A server over the model, as an endpoint has it, healthy or not."""
        return self._server()

    @shared
    def server(self) -> Server:
        """The same, if it is healthy."""
        return _healthy(self.started)

    @shared
    def batch(self) -> Server:
        """A healthy server, as a batch transform job has it."""
        _ = self.server
        return _healthy(self._server("--env", "SAGEMAKER_BATCH=true"))

    @shared
    def multi_model(self) -> Server:
        """A healthy server, as a multi-model endpoint has it, with models `a` and `b` on disk."""
        if not (self.image.claims("multi-models") or self.given.only == "multi-model"):
            raise BlockedError("the image does not claim the capability multi-models")
        files = {
            f"{name}/model/{file}": content
            for name in ("a", "b")
            for file, content in self.artefact.items()
        }
        volume = self.engine.volume(self.given.image, pack(files))
        models = mount(volume, "/opt/ml/models", read_only=True)
        server = Server(
            self.engine, self.given.image, (*models, "--env", "SAGEMAKER_MULTI_MODEL=true")
        )
        return _healthy(server.start(self.given.limits.start))

    @property
    def payload(self) -> Payload:
        """The body to invoke the model with.

        Raises:
            BlockedError: if none was given.
        """
        if self.given.payload is None:
            raise BlockedError("there is no body to score; give one with --payload")
        return self.given.payload

    def _server(self, *options: str, inside: int = 8080) -> Server:
        if not self.serves:
            raise BlockedError("the image has no program `serve`")
        server = Server(self.engine, self.given.image, (*self.model, *options), inside)
        return server.start(self.given.limits.start)


def _healthy(server: Server) -> Server:
    if not server.healthy:
        raise BlockedError(f"there is no healthy server: {server.end}")
    return server
