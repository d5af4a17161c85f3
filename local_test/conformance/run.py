"""One run over one image: its jobs and its servers, each made once, and only if a rule asks."""

from __future__ import annotations

from contextlib import contextmanager
from http.client import OK
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from conformance.archive import pack, unpack, unpacked_by_root
from conformance.engine import EngineError, mount
from conformance.finding import BlockedError, NoProgramError
from conformance.jobs import RESTRICTIONS, Jobs
from conformance.server import NO_REPLY, Ordinary, Payload, Server
from conformance.shared import shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Run(Jobs):
    """All that rules look at."""

    @shared
    def artefact(self) -> Mapping[str, bytes]:
        """The files of the model: those given, those a job left, or none."""
        if self.given.model is not None:
            return unpack(unpacked_by_root(self.given.model))
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
        """A server over the model, as an endpoint has it, healthy or not.

        Raises:
            BlockedError: if it is not, and there is no model that it could need.
        """
        return self._with_what_it_needs(self._server())

    def _with_what_it_needs(self, server: Server) -> Server:
        if server.healthy or self.artefact:
            return server
        given = self.given.channel or self.given.model
        cure = "" if given else "; give --train or --model"
        raise BlockedError(f"there is no model{cure}: {server.end}")

    @shared
    def server(self) -> Server:
        """The same, if it is healthy."""
        return _healthy(self.started)

    @shared
    def over_archive(self) -> Server:
        """A server over a whole `model.tar.gz`, healthy or not.

        Other servers have the model's files alone, as SageMaker copies them from single objects.

        Raises:
            BlockedError: if there is none, or the ordinary server is not healthy.
        """
        unpacked = unpacked_by_root(self.packed_model)
        _ = self.server
        volume = self.engine.volume(self.given.image, unpacked)
        return self._server(model=mount(volume, "/opt/ml/model", read_only=True))

    @shared
    def packed_model(self) -> bytes:
        """The `model.tar.gz` of the image's own job, or the one that was given where none is run.

        Raises:
            BlockedError: if the job leaves no model.
        """
        if self.given.model is not None and not (self.given.channel and self.trains):
            return self.given.model
        self._need_trained()
        if not self.trained.model:
            raise BlockedError("the job left no model")
        return self.trained.packed_model

    @shared
    def batch_started(self) -> Server:
        """A server as a batch transform job has it, healthy or not.

        Raises:
            BlockedError: if the ordinary server is not healthy, where a rule has said so.
        """
        if self.given.only is None:
            _ = self.server
        return self._with_what_it_needs(self._server("--env", "SAGEMAKER_BATCH=true"))

    @shared
    def batch(self) -> Server:
        """The same, if it is healthy."""
        return _healthy(self.batch_started)

    @shared
    def multi_model_started(self) -> Server:
        """A server as a multi-model endpoint has it, healthy or not, with model `a` on disk."""
        return self._multi_model(self._models("a"))

    @shared
    def multi_model(self) -> Server:
        """The same, if it is healthy."""
        return _healthy(self.multi_model_started)

    @shared
    def confined(self) -> Server:
        """A server as root, without anything else that can be taken from it, healthy or not.

        Raises:
            BlockedError: if the ordinary server is not healthy.
        """
        return self._without(*(what for what in RESTRICTIONS if what != "user"))

    def server_without(self, what: str) -> Server:
        """Return a server that one of `RESTRICTIONS` is laid on, healthy or not.

        If the one with all of them but the user does well, it is that one, as with jobs.

        Raises:
            BlockedError: if the ordinary server is not healthy, or this one could not be reached.
        """
        _ = self.server
        if what == "network" and not self.server.reaches_container():
            raise BlockedError("a container without a network is out of this machine's reach")
        if what != "user" and self._does_well(self.confined):
            return self.confined
        return self._without(what)

    def _without(self, *whats: str) -> Server:
        cut_off = "network" in whats and self.server.reaches_container()
        flags = [flag for what in whats if what != "network" for flag in RESTRICTIONS[what]]
        if cut_off:  # a server has to be reached, though it reaches nothing
            flags += ["--network", self.engine.network(internal=True)]
        return self._server(*flags, published=not cut_off)

    def _does_well(self, server: Server) -> bool:
        try:
            return server.healthy and (
                self.given.payload is None or server.invoke(self.given.payload).status == OK
            )
        except NO_REPLY:
            return False

    @shared
    def crowded(self) -> Server:
        """The same in a container of little memory, all of which the model `large` would take."""
        models = self._models("a", "large")
        name, content = max(self.artefact.items(), key=lambda file: len(file[1]))
        memory = self.given.limits.memory_bytes
        with NamedTemporaryFile() as file:  # a hole, which takes no room on this machine's disk
            file.write(content)
            file.truncate(memory)
            Path(file.name).chmod(0o644)
            self.engine.put(self.given.image, models, Path(file.name), f"large/model/{name}")
        little = ("--memory", f"{memory}b", "--memory-swap", f"{memory}b")
        return _healthy(self._multi_model(models, *little))

    def _models(self, *names: str) -> str:
        """Return a volume that has the model under each of these names.

        Raises:
            BlockedError: if the image does not claim to serve many models, or there is none.
        """
        if not (self.image.claims("multi-models") or self.given.only == "multi-model"):
            raise BlockedError("the image does not claim the capability multi-models")
        if not self.artefact:
            raise BlockedError("there is no model to load; give --train or --model")
        files = {
            f"{name}/model/{file}": content
            for name in names
            for file, content in self.artefact.items()
        }
        return self.engine.volume(self.given.image, pack(files))

    def _multi_model(self, models: str, *options: str) -> Server:
        mounted = mount(models, "/opt/ml/models", read_only=True)
        return self._server("--env", "SAGEMAKER_MULTI_MODEL=true", *options, model=mounted)

    @property
    def payload(self) -> Payload:
        """The body to invoke the model with.

        Raises:
            BlockedError: if none was given.
        """
        if self.given.payload is None:
            raise BlockedError("there is no body to score; give one with --payload")
        return self.given.payload

    @shared
    def scored(self) -> Ordinary:
        """What the payload is answered with.

        Raises:
            BlockedError: if that is not 200; the rule `scores` says so.
        """
        payload, server = self.payload, self.server
        try:
            ordinary = Ordinary(lambda: server.invoke(payload))
        except NO_REPLY as error:
            raise BlockedError(f"the payload is not scored: {error!r}") from error
        if ordinary.first.status != OK:
            raise BlockedError(f"the payload is not scored: {ordinary.first}")
        return ordinary

    def _server(
        self,
        *options: str,
        inside: int = 8080,
        model: tuple[str, ...] | None = None,
        published: bool = True,
    ) -> Server:
        if not self.serves:
            raise NoProgramError("the image has no program `serve`")
        if self.engine.elsewhere:
            raise EngineError(
                f"servers are asked at 127.0.0.1, and Docker's engine is at {self.engine.elsewhere}"
            )
        mounted = self.model if model is None else model
        server = Server(
            *(self.engine, self.given.image, (*mounted, *options), inside),
            published=published,
            reply_seconds=self.given.limits.reply,
        )
        return server.start(self.given.limits.start)


def _healthy(server: Server) -> Server:
    if not server.healthy:
        raise BlockedError(f"there is no healthy server: {server.end}")
    return server
