"""A batch job on SageMaker: what it is asked for, how it went, and how to stop it."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from client import aws_errors, hosting, interruption, media_types, sdk
from client.files import replacing
from client.training_job import ENDED, JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_POLL_SECONDS = 5


@dataclass(frozen=True)
class TransformJob:
    """What `CreateModel` and `CreateTransformJob` are asked for."""

    name: str  #: of the job, and of its model
    image: str  #: the address of the image
    model_data: str  #: model.tar.gz: s3:// or file://
    role: str  #: the ARN that the job works under
    input: str  #: where its files are: s3:// or file://
    output: str  #: where each file's scores go, as FILE.out: s3:// or file://
    content_type: str = media_types.CSV
    accept: str = media_types.CSV
    join: bool = False  #: write each row before its scores
    input_filter: str | None = None  #: which columns or fields the model sees, such as $[1:]
    instance_type: str = "ml.c4.xlarge"
    instance_count: int = 1
    max_megabytes: int = 6  #: of a request; the container takes more, but needs not
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)

    @property
    def by_line(self) -> bool:
        """Whether each line is a row, so that a file can be scored in pieces."""
        return self.content_type in media_types.BY_LINE


def run(
    session: sdk.Session,
    job: TransformJob,
    say: Callable[[str], None],
    *,
    keep_model: bool = False,
) -> None:
    """Make the model, run the job to its end, delete the model.

    Where that is interrupted or fails, the job is stopped.

    Raises:
        JobError: if it fails.
    """
    sagemaker = session.sagemaker_client
    stopped = aws_errors.undone(f"The job {job.name}", lambda: stop(sagemaker, job.name))
    try:
        with nullcontext() if session.local_mode else stopped:
            sdk.transform(session, job)
            _wait(sagemaker, job.name, say)
    finally:
        if not keep_model:
            with interruption.undisturbed():
                hosting.delete_model(sagemaker, job.name)


def expect_unused(sagemaker: Any, name: str) -> None:
    """Refuse a name in use: the SDK would score with that model, and it would be deleted here.

    Raises:
        JobError: if a model or a job of the name is there already.
    """
    taken = {
        "model": aws_errors.found(sagemaker.describe_model, ModelName=name),
        "transform job": aws_errors.found(sagemaker.describe_transform_job, TransformJobName=name),
    }
    for kind in (kind for kind, there in taken.items() if there):
        raise JobError(
            f"There is a {kind} {name} already; expected a name that is free. Give another with "
            "--name, or none."
        )


def _wait(sagemaker: Any, job: str, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    while True:
        found = sagemaker.describe_transform_job(TransformJobName=job)
        status = found["TransformJobStatus"]
        say(f"{job}: {status}, {time.monotonic() - began:.0f} s")
        if status == "Completed":
            return
        if status in ENDED:
            raise JobError(
                f"The job {job} is {status}: {found.get('FailureReason', 'no reason is given')} "
                "Its log is in CloudWatch, group /aws/sagemaker/TransformJobs."
            )
        time.sleep(_POLL_SECONDS)


def stop(sagemaker: Any, job: str) -> None:
    """Stop a job that runs."""
    with interruption.undisturbed():
        found = aws_errors.found(sagemaker.describe_transform_job, TransformJobName=job)
        if found and found["TransformJobStatus"] not in ENDED:
            sagemaker.stop_transform_job(TransformJobName=job)


def tidy(file: Path) -> None:
    """Drop the empty lines of a file of scores that was assembled by line.

    Each reply ends its last line itself, and "Line" has it ended once more.
    """
    lines = file.read_bytes().splitlines(keepends=True)
    with replacing(file) as temporary:
        temporary.write_bytes(b"".join(line for line in lines if line.strip()))
