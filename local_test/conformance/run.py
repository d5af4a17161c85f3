"""One run over one image: what its rules look at, each made once, and only if a rule asks."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import OK
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from conformance import layers
from conformance.archive import pack, tree, unpack, unpacked_by_root
from conformance.description import Description
from conformance.engine import EngineError, mount
from conformance.entry_point import EntryPoint, entry_point
from conformance.finding import BlockedError
from conformance.job import Job, Request
from conformance.log import goes_on
from conformance.malformed import malformed
from conformance.server import NO_REPLY, Ordinary, Payload, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
            except (BlockedError, EngineError) as error:
                run.made[self._name] = error
        found = run.made[self._name]
        if isinstance(found, (BlockedError, EngineError)):
            raise found
        return found  # type: ignore[no-any-return]


#: What the service, or a careful owner, may take away from a container.
RESTRICTIONS = {
    "user": ("--user", "12345:12345"),
    "writable_root": ("--read-only", "--tmpfs", "/tmp"),  # noqa: S108 - in the container
    "network": ("--network", "none"),
    "capabilities": ("--cap-drop", "ALL"),
}

#: The hosts of a job of two.
HOSTS = ("algo-1", "algo-2")

#: What the user of the run can do about a job that ends too soon.
LONGER = (
    "name hyperparameters that make it long with --endless, such as --endless epochs=1000000, "
    "or give it a channel that takes longer"
)

_NOTICED_SECONDS = 5.0  # in which most programs notice that another host is gone

#: What the SDK and a tuning job add to a job's hyperparameters, in the form that it arrives in.
ADDED = {
    "_tuning_objective_metric": "validation:loss",
    "default_user_module_name": '"train"',
    "sagemaker_container_log_level": "20",
    "sagemaker_enable_cloudwatch_metrics": "false",
    "sagemaker_job_name": '"conformance"',
    "sagemaker_region": '"eu-west-1"',
}


@dataclass(frozen=True)
class Limits:
    """How long the run waits, in seconds, and other limits; the service's own where it has one."""

    image_bytes: int = 10_000_000_000  #: of a serverless endpoint's image (H42)
    job: float = 3600
    refusal: float = 600  #: until a job has ended that cannot do what it is asked
    word: float = 20  #: until an entry point has ended that does not know its argument
    hosts: float = 600  #: until every host of a small job has ended
    lost_host: float = 120  #: until a host has ended that lost another
    start: float = 480  #: until `/ping` answers 200 (H14)
    train_stop: float = 120  #: from SIGTERM to SIGKILL (T8)
    serve_stop: float = 30  #: the same for servers (H3)
    reply: float = 60  #: until a request has its reply (H17)
    often: float = 15  #: in which a server gets many requests
    memory_bytes: int = 640 * 2**20  #: of a multi-model endpoint's container that is to be full


@dataclass(frozen=True)
class Given:
    """What the user of the run says of the image."""

    image: str
    channel: Path | None = None
    payload: Payload | None = None
    model: bytes | None = None  #: a `model.tar.gz`, instead of that of a job
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
        return self._does("train")

    @shared
    def serves(self) -> bool:
        """Whether the image can be an endpoint's."""
        return self._does("serve")

    def _does(self, word: str) -> bool:
        if not self.image.entry_point:
            return self.image.program(word) is not None
        # An entry point that takes all words alike may well look at none.
        known = self.entry_point.knows
        return word in known or not known

    @shared
    def entry_point(self) -> EntryPoint:
        """What the image's entry point does with `train`, `serve` and another word."""
        return entry_point(self.engine, self.given.image, self.given.limits.word)

    # --- training ----------------------------------------------------------------------------

    def job(self, request: Request, *options: str) -> Job:
        """Start one host of a job."""
        return Job(self.engine, self.given.image, request, options).start()

    @shared
    def data(self) -> dict[str, bytes]:
        """The files to train on.

        Raises:
            BlockedError: if the image does not train, or there is nothing to train on.
        """
        if not self.trains:
            raise BlockedError("the image has no program `train`")
        if self.given.channel is None:
            raise BlockedError("there is no channel to train on; give one with --train")
        return tree(self.given.channel)

    @shared
    def on_train(self) -> Job:
        """A job on the given files as the channel `train`, at its end."""
        return self.job(self._request("train")).finish(self.given.limits.job)

    @shared
    def on_training(self) -> Job:
        """The same job with the channel's other name, `training`."""
        return self.job(self._request("training")).finish(self.given.limits.job)

    @shared
    def channel(self) -> str:
        """The name that the image knows its channel by: `training` if only that will do."""
        fails = self.on_train.exit_code not in {0, None}
        return "training" if fails and self.on_training.exit_code == 0 else "train"

    @shared
    def on_read_only(self) -> Job:
        """A job on that channel, whose input cannot be written to, at its end."""
        return self.on_training if self.channel == "training" else self.on_train

    @shared
    def on_writable(self) -> Job:
        """The same job with an input that it may write to."""
        request = replace(self._request(self.channel), writable=True)
        return self.job(request).finish(self.given.limits.job)

    @shared
    def writes_to_input(self) -> bool:
        """Whether the image trains only where it may write to its input."""
        fails = self.on_read_only.exit_code not in {0, None}
        return fails and self.on_writable.exit_code == 0

    @shared
    def trained(self) -> Job:
        """An ordinary job, on the given channel, at its end."""
        return self.on_writable if self.writes_to_input else self.on_read_only

    @property
    def ordinary(self) -> Request:
        """What an ordinary job is asked; others differ in one thing or two."""
        return replace(self._request(self.channel), writable=self.writes_to_input)

    def _request(self, channel: str) -> Request:
        return Request({channel: self.data}, self.given.hyperparameters)

    def job_with(self, **changes: Any) -> Job:
        """Return a job that differs from an ordinary one, at its end.

        Raises:
            BlockedError: if an ordinary job fails already: then nothing is learnt of this one.
        """
        self._need_trained()
        return self.job(replace(self.ordinary, **changes)).finish(self.given.limits.job)

    @shared
    def dressed(self) -> Job:
        """A job whose hyperparameters are both JSON-quoted and among those that tools add."""
        return self.job_with(hyperparameters={**self.quoted, **self.added})

    @property
    def added(self) -> dict[str, str]:
        """What the SDK and a tuning job add; an image of AWS's toolkit is told its own program."""
        program = self.image.environment.get("SAGEMAKER_PROGRAM", "train.py")
        return {**ADDED, "sagemaker_program": json.dumps(program)}

    @property
    def quoted(self) -> dict[str, str]:
        """The given hyperparameters as the SDK encodes text: within quotes, each of them."""
        return {name: json.dumps(value) for name, value in self.given.hyperparameters.items()}

    def _need_trained(self) -> None:
        if self.trained.exit_code != 0:
            raise BlockedError(f"an ordinary job fails already: {self.trained.end}")

    @shared
    def restricted(self) -> Job:
        """A job as root, without anything else that can be taken away from it, at its end."""
        every = [flag for what, flags in RESTRICTIONS.items() if what != "user" for flag in flags]
        return self.job(self.ordinary, *every).finish(self.given.limits.job)

    def job_without(self, what: str) -> Job:
        """Return a job that one of `RESTRICTIONS` is laid on, at its end.

        If the job with all of them but the user ends well, it is that one: a good image needs no
        more. Another user has a job of its own, who may read files that are not root's.

        Raises:
            BlockedError: if an ordinary job fails already.
        """
        if what != "user" and self.restricted.exit_code == 0:
            return self.restricted
        self._need_trained()
        return self.job(self.ordinary, *RESTRICTIONS[what]).finish(self.given.limits.job)

    @shared
    def refused(self) -> Job:
        """A job on a channel that holds nothing, at its end."""
        request = replace(self.ordinary, channels={self.channel: {}})
        return self.job(request).finish(self.given.limits.refusal)

    @shared
    def channelless(self) -> Job:
        """A job without any channel, at its end.

        Raises:
            BlockedError: if an ordinary job fails already.
        """
        self._need_trained()
        return self.job(replace(self.ordinary, channels={})).finish(self.given.limits.refusal)

    @shared
    def misled(self) -> dict[str, Job]:
        """Jobs on files that nothing can be learnt from, by what is wrong with them, at their end.

        Raises:
            BlockedError: if an ordinary job fails already.
        """
        self._need_trained()
        limit = self.given.limits.refusal
        return {
            what: self.job(replace(self.ordinary, channels={self.channel: files})).finish(limit)
            for what, files in malformed(self.data).items()
        }

    @shared
    def stopped(self) -> Job:
        """A job that got SIGTERM while it trained, at its end.

        Raises:
            BlockedError: if it ended before that.
        """
        self._need_trained()
        job = self.job(self.endless)
        # An endless job that has said more than the whole of the ordinary one is past its start,
        # however slow that was, and longer. One that says less is stopped after a while.
        lines = len(self.trained.log.splitlines()) + 1 if self.given.endless else 1
        _wait_for_lines(job, lines, 5 * self.trained.seconds)
        if not job.running:
            raise BlockedError(f"the job ended before it could be stopped; {LONGER}")
        return job.stop(self.given.limits.train_stop)

    @shared
    def resumed(self) -> Job:
        """The stopped job started anew on its checkpoints, at its end; it is stopped in its turn.

        Beside each checkpoint lies the marker that SageMaker leaves when it has uploaded it.

        Raises:
            BlockedError: if there are no checkpoints.
        """
        if not self.stopped.checkpoints:
            raise BlockedError("the job that was stopped left nothing in /opt/ml/checkpoints")
        found = dict(self.stopped.checkpoints)
        markers = {f"{name}.sagemaker-uploaded": b"" for name in found}
        job = self.job(replace(self.endless, checkpoints={**markers, **found}))
        _wait_for_lines(job, len(self.trained.log.splitlines()), 5 * self.trained.seconds)
        return job.stop(self.given.limits.train_stop) if job.running else job.finish(0)

    @property
    def endless(self) -> Request:
        """What a job is asked that is to be stopped."""
        settings = {**self.given.hyperparameters, **self.given.endless}
        return replace(self.ordinary, hyperparameters=settings)

    @shared
    def hosts(self) -> dict[str, Job]:
        """The two hosts of a job, at their end.

        Raises:
            BlockedError: if an ordinary job fails already.
        """
        self._need_trained()
        jobs = self._together(self.ordinary)
        give_up = time.monotonic() + self.given.limits.hosts
        for job in jobs.values():
            job.finish(max(0.0, give_up - time.monotonic()))
        return jobs

    @shared
    def bereft(self) -> dict[str, Job]:
        """The other host of a job in whose midst one was killed, by the one, at its end.

        The first host is not killed if that of the second goes unnoticed.

        Raises:
            BlockedError: if two hosts do not work together so long that one can be killed.
        """
        if any(job.exit_code != 0 for job in self.hosts.values()):
            raise BlockedError("a job of two hosts does not end with 0, even if neither is lost")
        if not self.given.endless:
            raise BlockedError(
                f"the job is too short for a host to be killed in its midst; {LONGER}"
            )
        first, second = HOSTS
        left = {second: self._left_by(second)}
        if left[second].exit_code is not None or left[second].goes_on:
            left[first] = self._left_by(first)
        return left

    def _left_by(self, lost: str) -> Job:
        """Return what becomes of one host of a job when the other is killed, at its end.

        Raises:
            BlockedError: if they end before that.
        """
        jobs = self._together(self.endless)
        alike = self.hosts[HOSTS[0]]
        _wait_for_lines(jobs[HOSTS[0]], len(alike.log.splitlines()), 5 * alike.seconds)
        together = all(job.running for job in jobs.values())
        killed = jobs.pop(lost)
        (job,) = jobs.values()
        killed.finish(0)
        if not together:
            raise BlockedError(f"the hosts ended before one could be killed: {job.finish(0).end}")
        job.goes_on = self._goes_on(job)
        return job.finish(0 if job.goes_on else self.given.limits.lost_host)

    def _together(self, request: Request) -> dict[str, Job]:
        """Start the hosts of one job, in a network where they know their names."""
        network = self.engine.network()
        return {
            name: self.job(
                replace(request, hosts=HOSTS, host=name),
                *("--network", network, "--network-alias", name),
            )
            for name in HOSTS
        }

    def _goes_on(self, job: Job) -> bool:
        """Say whether a job still trains when it has had the time to notice what is lost."""
        said = [job.log]
        for _ in range(2):
            if job.container.wait(min(_NOTICED_SECONDS, self.given.limits.lost_host)) is not None:
                return False
            said.append(job.log)
        return goes_on(*said)

    # --- serving -----------------------------------------------------------------------------

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
        """A server over the model, as an endpoint has it, healthy or not."""
        return self._server()

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
        return self._server("--env", "SAGEMAKER_BATCH=true")

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
            raise BlockedError("the image has no program `serve`")
        mounted = self.model if model is None else model
        server = Server(
            *(self.engine, self.given.image, (*mounted, *options), inside),
            published=published,
            reply_seconds=self.given.limits.reply,
        )
        return server.start(self.given.limits.start)


def _wait_for_lines(job: Job, lines: int, seconds: float) -> None:
    """Wait until a job has said so much, has ended, or has had its time."""
    give_up = time.monotonic() + seconds
    while job.running and time.monotonic() < give_up:
        if len(job.log.splitlines()) >= lines:
            break
        time.sleep(0.05)


def _healthy(server: Server) -> Server:
    if not server.healthy:
        raise BlockedError(f"there is no healthy server: {server.end}")
    return server
