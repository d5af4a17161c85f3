"""A training job on SageMaker: what it is asked for, how it went, and how to stop it."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from client import aws_errors, interruption, sdk
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


#: The channels that the program reads; only train must be there.
CHANNELS = ("train", "validation", "test", "model")

#: The states of a job, of training, tuning or transforming, that does not run any more.
ENDED = {"Completed", "Failed", "Stopped"}


class JobError(Refusal):
    """A job that failed; the message says why, in the program's own words."""


@dataclass(frozen=True)
class TrainingJob:
    """What `CreateTrainingJob` is asked for."""

    name: str
    image: str  #: the address of the image
    role: str  #: the ARN that the job works under
    channels: Mapping[str, str]  #: train, and perhaps validation, test, model: s3:// or file://
    output: str  #: where model.tar.gz and output.tar.gz go: s3:// or file://
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    instance_type: str = "ml.c4.xlarge"
    instance_count: int = 1
    sharded: bool = False  #: each host gets some of the files, instead of all
    volume_gigabytes: int = 30
    max_seconds: int = 3600
    spot: bool = False  #: cheaper, may be interrupted; continues on its checkpoints
    checkpoints: str | None = None  #: where they are kept: s3://
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)

    @property
    def max_wait_seconds(self) -> int | None:
        """How long a spot job may wait and run together."""
        return 2 * self.max_seconds if self.spot else None


def channels(data: str, directories: Collection[str]) -> dict[str, str]:
    """Return the address of each channel below the directory `data`.

    Raises:
        JobError: if there is none to train on.
    """
    if "train" not in directories:
        raise JobError(
            f"{data} has the directories {sorted(directories)}; expected train, with CSV files in "
            "it. python -m client data makes them, and python -m client upload copies them to S3."
        )
    return {name: f"{data}/{name}" for name in CHANNELS if name in directories}


def run(session: sdk.Session, job: TrainingJob, *, wait: bool = True) -> dict[str, Any]:
    """Start a job and follow its log, on stderr, to its end; return its description.

    Where that is interrupted or fails, the job is stopped: it may have been made all the same.

    Raises:
        JobError: if it fails.
    """
    sagemaker = session.sagemaker_client
    stopped = aws_errors.undone(f"The job {job.name}", lambda: stop(sagemaker, job.name))
    with nullcontext() if session.local_mode else stopped:
        sdk.train(session, job)
        if wait and not session.local_mode:
            with suppress(sdk.UnexpectedStatusException):  # the description has the reason
                sdk.follow(session, job.name)
        found = describe(sagemaker, job.name)
    if wait:
        artefact(found)
    return found


def describe(sagemaker: Any, job: str) -> dict[str, Any]:
    """Return a job's state as SageMaker tells it."""
    found: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=job)
    return found


def summary(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a user wants to know of a job."""
    found = {"job": description["TrainingJobName"], "status": description["TrainingJobStatus"]}
    if model := (description.get("ModelArtifacts") or {}).get("S3ModelArtifacts"):
        found["model"] = model
    for metric in description.get("FinalMetricDataList", []):
        found[metric["MetricName"]] = round(metric["Value"], 6)
    for name, key in (
        ("seconds", "TrainingTimeInSeconds"),
        ("billable seconds", "BillableTimeInSeconds"),
    ):
        if key in description:
            found[name] = description[key]
    return found


def artefact(description: Mapping[str, Any]) -> str:
    """Return where a job left its model.tar.gz.

    Raises:
        JobError: if it left none.
    """
    uri = (description.get("ModelArtifacts") or {}).get("S3ModelArtifacts")
    status = description["TrainingJobStatus"]
    # The address may be there all the same: it says where the model would have gone.
    if status == "Failed" or not uri:
        raise JobError(
            f"The job {description['TrainingJobName']} is {status} and left no model: "
            f"{description.get('FailureReason', 'no reason is given')}"
        )
    return str(uri)


def stop(sagemaker: Any, job: str) -> None:
    """Stop a job that runs; it saves its model so far."""
    with interruption.undisturbed():
        found = aws_errors.found(sagemaker.describe_training_job, TrainingJobName=job)
        if found and found["TrainingJobStatus"] not in ENDED:
            sagemaker.stop_training_job(TrainingJobName=job)


def latest(sagemaker: Any, project: str) -> dict[str, Any]:
    """Return the newest job of the project that left a model; those of a tuning job do not count.

    Raises:
        JobError: if there is none.
    """
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=f"{project}-", SortBy="CreationTime", SortOrder="Descending"
    )
    for page in pages:
        for job in page["TrainingJobSummaries"]:
            ended = job["TrainingJobStatus"] in {"Completed", "Stopped"}
            if job["TrainingJobName"].startswith(f"{project}-") and ended:
                found = describe(sagemaker, job["TrainingJobName"])
                if found.get("ModelArtifacts") and not found.get("TuningJobArn"):
                    return found
    raise JobError(
        f"No job of the project {project!r} has left a model; run: python -m client train"
    )
