"""Endpoints on SageMaker: made, waited for, and deleted with all that belongs to them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from client import aws_errors, interruption, sdk
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: How long an endpoint may take to serve, and where it is not wanted any more, to be deletable.
PATIENCE_SECONDS = 2400

_POLL_SECONDS = 5

# SageMaker deletes no endpoint in these states.
_BUSY = {"Creating", "Updating", "SystemUpdating", "RollingBack"}


class HostingError(Refusal):
    """An endpoint that did not come up, or is not there; the message says why."""


@dataclass(frozen=True)
class Serverless:
    """What an endpoint without instances is asked for; it costs only while it scores."""

    memory_megabytes: int = 2048
    max_concurrency: int = 5


@dataclass(frozen=True)
class Deployment:
    """What a model, an endpoint configuration and an endpoint are asked for."""

    endpoint: str
    model: str  #: the name of the model, and of the configuration
    image: str  #: the address of the image
    model_data: str  #: model.tar.gz, s3:// or file://; what such files are below, if many
    role: str  #: the ARN that the container works under
    instance_type: str = "ml.t2.medium"
    instance_count: int = 1
    serverless: Serverless | None = None  #: instead of instances
    queue: str | None = None  #: s3://, where an asynchronous endpoint leaves its replies
    multi_model: bool = False  #: each request names the model.tar.gz that it is for
    captured_percent: int = 0  #: so many of the requests are kept with their replies
    captures: str | None = None  #: s3://, where
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)
    max_seconds: float = PATIENCE_SECONDS

    @property
    def configuration(self) -> dict[str, Any]:
        """What `CreateEndpointConfig` is asked for, but for its name and tags."""
        variant: dict[str, Any] = {"VariantName": "AllTraffic", "ModelName": self.model}
        if self.serverless:
            variant["ServerlessConfig"] = {
                "MemorySizeInMB": self.serverless.memory_megabytes,
                "MaxConcurrency": self.serverless.max_concurrency,
            }
        else:
            variant["InstanceType"] = self.instance_type
            variant["InitialInstanceCount"] = self.instance_count
            variant["InitialVariantWeight"] = 1
        asked: dict[str, Any] = {"ProductionVariants": [variant]}
        if self.queue:
            asked["AsyncInferenceConfig"] = {
                "OutputConfig": {
                    "S3OutputPath": f"{self.queue}/replies",
                    "S3FailurePath": f"{self.queue}/failures",
                }
            }
        if self.captured_percent:
            asked["DataCaptureConfig"] = {
                "EnableCapture": True,
                "InitialSamplingPercentage": self.captured_percent,
                "DestinationS3Uri": self.captures,
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                # As text; all else is kept as base64.
                "CaptureContentTypeHeader": {
                    "CsvContentTypes": ["text/csv"],
                    "JsonContentTypes": ["application/json", "application/jsonlines"],
                },
            }
        return asked


def deploy(
    session: sdk.Session, deployment: Deployment, say: Callable[[str], None]
) -> dict[str, Any]:
    """Make the endpoint, or give the one of this name the new model; return how it serves.

    Where that fails or is interrupted, what was made is deleted again; an endpoint that was there
    before keeps its model.

    Raises:
        HostingError: if the new model does not come to serve, or the endpoint is another project's.
    """
    sagemaker = session.sagemaker_client
    old = configuration(sagemaker, deployment.endpoint)
    if old is not None and not session.local_mode:
        _expect_own(sagemaker, deployment)

    def take_back() -> None:
        with interruption.undisturbed():
            if old is None:
                _take_back(sagemaker, deployment, say)
            else:
                _take_back_update(sagemaker, deployment)

    with aws_errors.undone(f"The endpoint {deployment.endpoint}", take_back):
        sdk.deploy(session, deployment, update=old is not None)
        _wait(sagemaker, deployment, say, old)
        found = summary(sagemaker, deployment.endpoint)
    if old is not None:
        with interruption.undisturbed():
            delete_configuration(sagemaker, old)
    return found


def _expect_own(sagemaker: Any, deployment: Deployment) -> None:
    """Refuse to give an endpoint of another project a new model, and to delete its old one."""
    endpoint = arn(sagemaker, deployment.endpoint)
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=endpoint)
    tags = [tag for page in pages for tag in page["Tags"]]
    for own in deployment.tags:
        if own not in tags:
            raise HostingError(
                f"The endpoint {deployment.endpoint} is not of this project: it has no tag "
                f"{own['Key']}={own['Value']}. Choose another name with --endpoint, or name its "
                "project with --project."
            )


def _take_back(sagemaker: Any, deployment: Deployment, say: Callable[[str], None]) -> None:
    """Delete what a deployment has made."""
    # Where two make an endpoint of one name at once, it is the other's.
    if configuration(sagemaker, deployment.endpoint) in {None, deployment.model}:
        delete_endpoint(sagemaker, deployment.endpoint, say, deployment.max_seconds)
    _delete_all(sagemaker, deployment.model, [deployment.model])


def _take_back_update(sagemaker: Any, deployment: Deployment) -> None:
    """Delete what an update has made, but nothing that serves, or is about to.

    Raises:
        HostingError: with what the endpoint, which was there before, goes on with.
    """
    endpoint = deployment.endpoint
    found = aws_errors.found(sagemaker.describe_endpoint, EndpointName=endpoint)
    updated = found is not None and found["EndpointConfigName"] == deployment.model
    if found is None or (found["EndpointStatus"] == "InService" and not updated):
        _delete_all(sagemaker, deployment.model, [deployment.model])
    if found is None:
        return
    if found["EndpointStatus"] == "InService":
        goes_on = f"serves on, with its {'new' if updated else 'old'} model"
    else:
        goes_on = (
            f"is {found['EndpointStatus']}, which nobody can stop; until that ends, its old and "
            "new configuration and model are left"
        )
    raise HostingError(
        f"The endpoint {endpoint} {goes_on}, and costs. python -m client status shows it, and "
        f"delete --endpoint {endpoint} deletes it."
    )


def _wait(
    sagemaker: Any, deployment: Deployment, say: Callable[[str], None], old: str | None
) -> None:
    """Return when the endpoint serves, with another configuration than the old one.

    Raises:
        HostingError: if it fails to, or takes too long; it is still there then, and may cost.
    """
    endpoint, seconds = deployment.endpoint, deployment.max_seconds
    began = time.monotonic()
    while True:
        found = sagemaker.describe_endpoint(EndpointName=endpoint)
        status, passed = found["EndpointStatus"], time.monotonic() - began
        say(f"{endpoint}: {status}, {passed:.0f} s")
        if status == "InService" and found["EndpointConfigName"] != old:
            return
        if status in {"InService", "Failed", "OutOfService", "UpdateRollbackFailed"}:
            kept = " with its old model" * (status == "InService")
            raise HostingError(
                f"The endpoint {endpoint} is {status}{kept}: "
                f"{found.get('FailureReason', 'no reason is given')} {_log(endpoint)}"
            )
        if passed > seconds:
            raise HostingError(
                f"The endpoint {endpoint} is still {status} after {passed:.0f} s. {_log(endpoint)}"
            )
        time.sleep(_POLL_SECONDS)


def _log(endpoint: str) -> str:
    return f"Its log is in CloudWatch, group /aws/sagemaker/Endpoints/{endpoint}."


def configuration(sagemaker: Any, endpoint: str) -> str | None:
    """Return the name of an endpoint's configuration; None if there is no such endpoint."""
    found = aws_errors.found(sagemaker.describe_endpoint, EndpointName=endpoint)
    return str(found["EndpointConfigName"]) if found else None


def delete(sagemaker: Any, endpoint: str, say: Callable[[str], None]) -> None:
    """Delete an endpoint, its configuration and its models; what is gone already is no error."""
    found = configuration(sagemaker, endpoint)
    if found is None:
        return
    behind = models(sagemaker, found)
    delete_endpoint(sagemaker, endpoint, say)
    _delete_all(sagemaker, found, behind)


def delete_configuration(sagemaker: Any, name: str) -> None:
    """Delete an endpoint configuration and its models."""
    _delete_all(sagemaker, name, models(sagemaker, name))


def delete_model(sagemaker: Any, name: str) -> None:
    """Delete a model."""
    delete_one(sagemaker.describe_model, sagemaker.delete_model, ModelName=name)


def delete_endpoint(
    sagemaker: Any, endpoint: str, say: Callable[[str], None], seconds: float = PATIENCE_SECONDS
) -> None:
    """Delete an endpoint; where SageMaker refuses that while it is busy with it, wait for that.

    Raises:
        HostingError: if that takes too long.
        Left: if the wait is interrupted.
    """
    began = time.monotonic()
    while status := _busy_with(sagemaker, endpoint):
        passed = time.monotonic() - began
        left = (
            f"The endpoint {endpoint} is left, and costs: after {passed:.0f} s it is still "
            f"{status}, and can be deleted only when that ends. Then this deletes it, with its "
            f"configuration and models: python -m client delete --endpoint {endpoint}"
        )
        if passed > seconds:
            raise HostingError(left)
        try:
            with interruption.heard():
                say(f"{endpoint}: {status}, and can be deleted only when that ends, {passed:.0f} s")
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            raise interruption.Left(left) from None


def _busy_with(sagemaker: Any, endpoint: str) -> str | None:
    """Delete an endpoint; return the state in which SageMaker refuses that, None if it goes."""
    try:
        delete_one(sagemaker.describe_endpoint, sagemaker.delete_endpoint, EndpointName=endpoint)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        found = aws_errors.found(sagemaker.describe_endpoint, EndpointName=endpoint)
        if found is None or found["EndpointStatus"] == "Deleting":
            return None
        if found["EndpointStatus"] not in _BUSY:
            raise
        return str(found["EndpointStatus"])
    return None


def _delete_all(sagemaker: Any, configuration: str, models: list[str]) -> None:
    delete_one(
        sagemaker.describe_endpoint_config,
        sagemaker.delete_endpoint_config,
        EndpointConfigName=configuration,
    )
    for model in models:
        delete_model(sagemaker, model)


def summary(sagemaker: Any, endpoint: str) -> dict[str, Any]:
    """Return what a user wants to know of an endpoint."""
    found = sagemaker.describe_endpoint(EndpointName=endpoint)
    return {"endpoint": found["EndpointName"], "status": found["EndpointStatus"]}


def arn(sagemaker: Any, endpoint: str) -> str:
    """Return an endpoint's ARN."""
    return str(sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointArn"])


def models(sagemaker: Any, configuration: str) -> list[str]:
    """Name the models of an endpoint configuration."""
    found = aws_errors.found(sagemaker.describe_endpoint_config, EndpointConfigName=configuration)
    return [variant["ModelName"] for variant in found["ProductionVariants"]] if found else []


def delete_one(describe: Callable[..., Any], delete: Callable[..., Any], **name: str) -> None:
    """Delete one thing by its name; what is gone already is no error.

    It is looked for first: where only what has a tag may be deleted, AWS denies it for what is not
    there.
    """
    if aws_errors.found(describe, **name):
        aws_errors.found(delete, **name)
