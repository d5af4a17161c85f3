"""The final clean-up: all of a project, step by step, and an honest account of what is left."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from client import hosting, interruption, inventory, names
from client.account import TAG
from client.aws_errors import is_denied, is_missing, translated
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from client.account import Account
    from client.inventory import Thing
    from client.storage import Prefix

_POLL_SECONDS = 5

_JOB_LOGS = {
    "training job": "/aws/sagemaker/TrainingJobs",
    "transform job": "/aws/sagemaker/TransformJobs",
}


class CleanupError(Refusal):
    """Something that is still there after a clean-up; the message says what, and why."""


@dataclass(frozen=True)
class Step:
    """One thing to be deleted or stopped."""

    what: str
    do: Callable[[], object]
    loses: bool = False  #: whether what cannot be had again goes with it
    ends_endpoint: bool = False
    #: Whether an endpoint may need it, and then may not lose it:
    #: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DeleteEndpointConfig.html
    is_behind_endpoint: bool = False


@dataclass(frozen=True)
class Patience:
    """How long a step may wait for what SageMaker cannot end or delete yet, and how it shows it."""

    seconds: float
    progress: Callable[[], AbstractContextManager[Callable[[str], None]]]


def run(steps: Sequence[Step], say: Callable[[str], None]) -> tuple[list[str], list[str]]:
    """Take each step, also where one before it fails; return what was done, and what was not.

    Raises:
        Left: after an interrupt, with the steps that were not taken.
    """
    done, left = [], []
    endpoint_left = False
    for number, step in enumerate(steps):
        if step.is_behind_endpoint and endpoint_left:
            left.append(f"{step.what}: an endpoint that is left may need it.")
            continue
        try:
            with translated():
                step.do()
        except KeyboardInterrupt:
            rest = "; ".join(step.what for step in steps[number:])
            raise interruption.Left(f"Not done, so type it again: {rest}.") from None
        except Refusal as error:
            missing = isinstance(error.__cause__, ClientError) and is_missing(error.__cause__)
            if not missing:
                left.append(f"{step.what}: {error}")
                endpoint_left |= step.ends_endpoint
                continue
        say(step.what)
        done.append(step.what)
    return done, left


def endpoint(account: Account, name: str, patience: Patience) -> list[Step]:
    """Return the steps that delete one endpoint with its configuration and models.

    Raises:
        CleanupError: if it is another project's.
    """
    sagemaker = account.client("sagemaker")
    configuration = hosting.configuration(sagemaker, name)
    if configuration is None:
        return []
    if not inventory.is_of_project(account, hosting.arn(sagemaker, name)):
        raise CleanupError(
            f"The endpoint {name} is not of the project {account.project}: it has no tag "
            f"{TAG}={account.project}. Give --project, or delete it in the AWS console."
        )
    named = [
        ("endpoint", name),
        ("endpoint-config", configuration),
        *(("model", model) for model in hosting.models(sagemaker, configuration)),
    ]
    return [_deletion(sagemaker, inventory.KINDS[kind], name, patience) for kind, name in named]


def hosted(account: Account, things: Iterable[Thing], patience: Patience) -> list[Step]:
    """Return the steps that delete all endpoints, configurations and models."""
    sagemaker = account.client("sagemaker")
    return [
        _deletion(sagemaker, found.kind, found.name, patience)
        for found in things
        if found.kind.delete
    ]


def _deletion(sagemaker: Any, kind: inventory.Kind, name: str, patience: Patience) -> Step:
    what = f"delete {kind.title} {name}"
    if kind is inventory.KINDS["endpoint"]:
        delete = partial(_delete_endpoint, sagemaker, name, patience)
        return Step(what, delete, ends_endpoint=True)
    describe, operation = (getattr(sagemaker, one) for one in (kind.describe, kind.delete))
    delete = partial(hosting.delete_one, describe, operation, **{kind.name: name})
    return Step(what, delete, is_behind_endpoint=True)


def _delete_endpoint(sagemaker: Any, name: str, patience: Patience) -> None:
    with patience.progress() as say:
        hosting.delete_endpoint(sagemaker, name, say, patience.seconds)


def running(account: Account, things: Iterable[Thing], patience: Patience) -> list[Step]:
    """Return the steps that stop each job that runs, and wait until all have ended."""
    sagemaker = account.client("sagemaker")
    jobs = [found for found in things if found.kind.stop and found.runs]
    stops = [
        Step(f"stop {job.kind.title} {job.name}", partial(_stop, sagemaker, job)) for job in jobs
    ]
    # What stops still writes to S3, which is to be emptied.
    ends = [
        Step(
            f"wait for {job.kind.title} {job.name} to end", partial(_wait, sagemaker, job, patience)
        )
        for job in jobs
    ]
    return stops + ends


def _stop(sagemaker: Any, job: Thing) -> None:
    if job.status != "Stopping":
        getattr(sagemaker, job.kind.stop)(**{job.kind.name: job.name})


def _wait(sagemaker: Any, job: Thing, patience: Patience) -> None:
    began = time.monotonic()
    with patience.progress() as say:
        while (found := inventory.thing(sagemaker, job.kind, job.name)) and found.runs:
            passed = time.monotonic() - began
            if passed > patience.seconds:
                raise CleanupError(
                    f"it is still {found.status} after {passed:.0f} s; try again later."
                )
            say(f"{job.name}: {found.status}, {passed:.0f} s")
            time.sleep(_POLL_SECONDS)


def data(account: Account, prefix: Prefix) -> list[Step]:
    """Return the step that deletes all objects below a prefix of S3, if there are any.

    In a bucket that keeps versions, all of them go: they would cost as long as the bucket is there.
    """
    s3 = account.client("s3")
    try:
        found, unknown = _objects(s3, prefix)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            return []
        raise
    if not found:
        return []
    older = sum(not one.get("IsLatest", True) or "Size" not in one for one in found)
    counts = f"{len(found) - older:,} objects" + f" and {older:,} older versions" * bool(older)
    size = sum(one.get("Size", 0) for one in found)
    what = f"delete {counts}, {size:,} bytes, below {prefix}{unknown}"
    # Listed once more by then: what is stopped before still writes.
    return [Step(what, lambda: prefix.delete(s3, _objects(s3, prefix)[0]), loses=True)]


def _objects(s3: Any, prefix: Prefix) -> tuple[list[dict[str, Any]], str]:
    """Return all versions of all objects below a prefix; and what is not known, if they are secret.

    Without the right to list versions, these are the objects that can be seen.
    """
    try:
        return prefix.versions(s3), ""
    except ClientError as error:
        if not is_denied(error):
            raise
    unknown = (
        "; older versions stay, and cost, if the bucket keeps them: AWS denies their list "
        "(s3:ListBucketVersions)"
    )
    return list(prefix.objects(s3)), unknown


def images(account: Account, image: str) -> list[Step]:
    """Return the step that deletes an image's repository of ECR with all in it, if it is there."""
    registry, repository, _ = names.parts(image)
    if registry not in {"", account.registry}:
        return []  # another account's, or another region's
    ecr = account.client("ecr")
    try:
        ecr.describe_repositories(repositoryNames=[repository])
    except ClientError as error:
        if error.response["Error"]["Code"] == "RepositoryNotFoundException":
            return []
        raise
    delete = partial(ecr.delete_repository, repositoryName=repository, force=True)
    return [Step(f"delete all images of {account.registry}/{repository}", delete, loses=True)]


def logs(account: Account, things: Iterable[Thing]) -> list[Step]:
    """Return the steps that delete the logs of the endpoints and jobs.

    That of an endpoint that is gone is found if it had the project's name, or a name of `run`'s.
    """
    client = account.client("logs")
    home = "/aws/sagemaker/Endpoints/"
    there = {found.name for found in things if found.kind.title == "endpoint"}
    gone = re.compile(re.escape(account.project) + r"(-\d{4}(-\d\d){5}-\d{3})?")
    pages = client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=home)
    groups = [found["logGroupName"] for page in pages for found in page["logGroups"]]
    own = [
        group
        for group in groups
        if (name := group.removeprefix(home)) in there or gone.fullmatch(name)
    ]
    steps = [
        Step(
            f"delete log {group}", partial(client.delete_log_group, logGroupName=group), loses=True
        )
        for group in own
    ]
    for job in things:
        if group := _JOB_LOGS.get(job.kind.title):
            steps += _streams(client, group, job.name)
    return steps


def _streams(client: Any, group: str, job: str) -> Iterator[Step]:
    """Yield a step for each host's log of a job; all jobs of the account share the group."""
    pages = client.get_paginator("describe_log_streams").paginate(
        logGroupName=group, logStreamNamePrefix=f"{job}/"
    )
    try:
        streams = [found["logStreamName"] for page in pages for found in page["logStreams"]]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return
        raise
    for stream in streams:
        delete = partial(client.delete_log_stream, logGroupName=group, logStreamName=stream)
        yield Step(f"delete log {group} {stream}", delete, loses=True)
