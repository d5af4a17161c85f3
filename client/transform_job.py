"""A batch job on SageMaker: what it is asked for, how it went, and how to stop it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from client import hosting, interruption, media_types, sdk
from client.aws_errors import is_missing, reported
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
) -> dict[str, Any]:
    """Make the model, run the job to its end, delete the model; return the job's description.

    Where that is interrupted or fails, the job is stopped.

    Raises:
        JobError: if it fails, or a model or a job of the name is there already.
    """
    sagemaker = session.sagemaker_client
    if not session.local_mode:
        _expect_unused(sagemaker, job.name)
    try:
        sdk.transform(session, job)
        return _wait(sagemaker, job.name, say)
    except BaseException:
        if not session.local_mode:
            with reported(f"The job {job.name}"):
                stop(sagemaker, job.name)
        raise
    finally:
        if not keep_model:
            with interruption.undisturbed():
                hosting.delete_model(sagemaker, job.name)


def _expect_unused(sagemaker: Any, name: str) -> None:
    """Refuse a name in use: the SDK would score with that model, and it would be deleted here."""
    taken = {
        "model": _is_there(sagemaker.describe_model, ModelName=name),
        "transform job": _is_there(sagemaker.describe_transform_job, TransformJobName=name),
    }
    for kind in (kind for kind, there in taken.items() if there):
        raise JobError(
            f"There is a {kind} {name} already; expected a name that is free. Give another with "
            "--name, or none."
        )


def _is_there(describe: Callable[..., Any], **name: str) -> bool:
    try:
        describe(**name)
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    return True


def _wait(sagemaker: Any, job: str, say: Callable[[str], None]) -> dict[str, Any]:
    began = time.monotonic()
    while True:
        found: dict[str, Any] = sagemaker.describe_transform_job(TransformJobName=job)
        status = found["TransformJobStatus"]
        say(f"{job}: {status}, {time.monotonic() - began:.0f} s")
        if status == "Completed":
            return found
        if status in ENDED:
            raise JobError(
                f"The job {job} is {status}: {found.get('FailureReason', 'no reason is given')} "
                "Its log is in CloudWatch, group /aws/sagemaker/TransformJobs."
            )
        time.sleep(_POLL_SECONDS)


def stop(sagemaker: Any, job: str) -> bool:
    """Stop a job that runs. Tell whether there was anything to stop."""
    with interruption.undisturbed():
        try:
            found = sagemaker.describe_transform_job(TransformJobName=job)
            if found["TransformJobStatus"] in ENDED:
                return False
            sagemaker.stop_transform_job(TransformJobName=job)
        except ClientError as error:
            if is_missing(error):
                return False
            raise
        return True


def tidy(file: Path) -> None:
    """Drop the empty lines of a file of scores that was assembled by line.

    Each reply ends its last line itself, and "Line" has it ended once more.
    """
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(line for line in lines if line.strip()))
