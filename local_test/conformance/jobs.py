"""The image of a run and its training jobs, each made once, and only if a rule asks."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from conformance import layers
from conformance.archive import tree
from conformance.description import Description
from conformance.entry_point import EntryPoint, entry_point
from conformance.finding import BlockedError, NoProgramError
from conformance.job import Job, Request
from conformance.log import goes_on, is_number
from conformance.malformed import malformed
from conformance.shared import Shares, shared

if TYPE_CHECKING:
    from conformance.engine import Engine
    from conformance.given import Given
    from conformance.layers import File

#: What the service, or a careful owner, may take away from a container.
RESTRICTIONS = {
    "user": ("--user", "12345:12345"),
    # Docker's own /tmp would run no program, and load no library; SageMaker's does.
    "writable_root": ("--read-only", "--tmpfs", "/tmp:exec"),  # noqa: S108 - in the container
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


class Jobs(Shares):
    """What the rules of the image and of training look at."""

    def __init__(self, engine: Engine, given: Given) -> None:
        super().__init__()
        self.engine = engine
        self.given = given

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
            raise NoProgramError("the image has no program `train`")
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

    @property
    def has_only_numbers(self) -> bool:
        """Whether no given hyperparameter is a text, which the SDK sends within quotes."""
        return all(map(is_number, self.given.hyperparameters.values()))

    def _need_trained(self) -> None:
        if self.trained.exit_code != 0:
            raise BlockedError(f"an ordinary job fails already: {self.trained.end}")

    @shared
    def restricted(self) -> Job:
        """A job as root, without anything else that can be taken away from it, at its end.

        Raises:
            BlockedError: if an ordinary job fails already.
        """
        self._need_trained()
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


def _wait_for_lines(job: Job, lines: int, seconds: float) -> None:
    """Wait until a job has said so much, has ended, or has had its time."""
    give_up = time.monotonic() + seconds
    while job.running and time.monotonic() < give_up:
        if len(job.log.splitlines()) >= lines:
            break
        time.sleep(0.05)
