"""A training job: its `/opt/ml` as SageMaker lays it out, and what the program left there."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from conformance.archive import model_archive, pack, unpack
from conformance.engine import StartError, mount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.engine import Engine

#: The shell's exit code for a program that is not there.
_NOT_FOUND = 127


@dataclass(frozen=True)
class Request:
    """What CreateTrainingJob was asked, as one host of the job gets to see it."""

    channels: Mapping[str, Mapping[str, bytes]]  #: the files of each
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ("algo-1",)
    host: str = "algo-1"
    absent: tuple[str, ...] = ()  #: the files of its configuration that are not there
    checkpoints: Mapping[str, bytes] = field(default_factory=dict)  #: of the job it goes on from
    writable: bool = False  #: whether the program may write to its input

    def input(self) -> bytes:
        """Return the archive of `/opt/ml/input`."""
        channel = {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
        resources = {
            "current_host": self.host,
            "current_instance_type": "ml.c4.xlarge",
            "current_group_name": "homogeneousCluster",
            "hosts": sorted(self.hosts),
            "instance_groups": [
                {
                    "instance_group_name": "homogeneousCluster",
                    "instance_type": "ml.c4.xlarge",
                    "hosts": sorted(self.hosts),
                }
            ],
            "network_interface_name": "eth0",
        }
        config = {
            "hyperparameters": dict(self.hyperparameters),
            "inputdataconfig": dict.fromkeys(self.channels, channel),
            "resourceconfig": resources,
        }
        files = {
            f"config/{name}.json": json.dumps(text).encode()
            for name, text in config.items()
            if name not in self.absent
        }
        for name, content in self.channels.items():
            files |= {f"data/{name}/{file}": data for file, data in content.items()}
        data = [f"data/{name}" for name in self.channels]
        return pack(files, (".", "config", "data", *data))


class Job:
    """One container that trains."""

    def __init__(
        self, engine: Engine, image: str, request: Request, options: tuple[str, ...] = ()
    ) -> None:
        given = engine.volume(image, request.input())
        mounts = [*mount(given, "/opt/ml/input", read_only=not request.writable)]
        for name, content in (
            ("model", pack({})),
            ("output", pack({}, (".", "data"))),
            ("checkpoints", pack(request.checkpoints)),
        ):
            mounts += mount(engine.volume(image, content), f"/opt/ml/{name}")
        arn = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/conformance"
        named = ("--env", "TRAINING_JOB_NAME=conformance", "--env", f"TRAINING_JOB_ARN={arn}")
        self.container = engine.create(
            image, "train", options=(*mounts, *named, "--hostname", request.host, *options)
        )
        self.host = request.host
        self._started = 0.0
        self._refusal = ""
        self.seconds = 0.0
        self.exit_code: int | None = None
        self.stopped: float | None = None  #: seconds after which it was asked to end, if it was
        self.said = ""  #: its log at that time
        self.goes_on = False  #: whether it trained on when the other host was gone

    def start(self) -> Job:
        """Start the program; that there is none is an exit code, too."""
        self._started = time.monotonic()
        try:
            self.container.start()
        except StartError as error:
            self._refusal = str(error)
        return self

    def finish(self, seconds: float) -> Job:
        """Wait for the program to end, and kill it after so many seconds."""
        self.exit_code = _NOT_FOUND if self._refusal else self.container.wait(seconds)
        self.seconds = time.monotonic() - self._started
        if self.exit_code is None:
            self.container.signal("KILL")
            self.container.wait(10)
        return self

    def stop(self, seconds: float) -> Job:
        """Ask the program to end, as StopTrainingJob does, and kill it after so many seconds."""
        self.said, self.stopped = self.log, time.monotonic() - self._started
        self.container.signal("TERM")
        return self.finish(seconds)

    @property
    def running(self) -> bool:
        """Whether the program still runs."""
        return not self._refusal and self.container.exit_code is None

    @property
    def log(self) -> str:
        """What the program wrote so far."""
        return self._refusal or self.container.log()

    @property
    def end(self) -> str:
        """How it ended, in words, with the last line of its log."""
        last = (self.log.strip().splitlines() or ["nothing"])[-1]
        how = "was killed" if self.exit_code is None else f"exits with {self.exit_code}"
        return f"the job {how} after {self.seconds:.1f} s; the end of its log: {last}"

    @cached_property
    def failure(self) -> str | None:
        """Why the job failed, as far as it says so."""
        return self.container.text("/opt/ml/output/failure")

    @cached_property
    def output(self) -> dict[str, bytes]:
        """The files that it left in `/opt/ml/output`."""
        return unpack(self.container.read("/opt/ml/output") or pack({}))

    @cached_property
    def checkpoints(self) -> dict[str, bytes]:
        """The files that a job which goes on from this one finds."""
        return unpack(self.container.read("/opt/ml/checkpoints") or pack({}))

    @cached_property
    def packed_model(self) -> bytes:
        """The `model.tar.gz` of what it left in `/opt/ml/model`."""
        return model_archive(self.container.read("/opt/ml/model") or pack({}))

    @cached_property
    def model(self) -> dict[str, bytes]:
        """The files that would be packed into `model.tar.gz`."""
        return unpack(self.container.read("/opt/ml/model") or pack({}))
