"""Endpoints on SageMaker: made, waited for, and deleted with all that belongs to them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from client import interruption, sdk
from client.aws_errors import is_missing, reported
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_POLL_SECONDS = 5

_KINDS = {
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint configuration",
    "ModelName": "model",
}


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
    try:
        sdk.deploy(session, deployment, update=old is not None)
        wait(sagemaker, deployment.endpoint, say, old)
        found = summary(sagemaker, deployment.endpoint)
    except BaseException:
        with reported(f"The endpoint {deployment.endpoint}"):
            _take_back(sagemaker, deployment, say, new=old is None)
        raise
    if old is not None:
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


def _take_back(
    sagemaker: Any, deployment: Deployment, say: Callable[[str], None], *, new: bool
) -> None:
    """Delete what a deployment has made, but nothing that serves."""
    if new:
        # Where two make an endpoint of one name at once, it is the other's.
        if configuration(sagemaker, deployment.endpoint) in {None, deployment.model}:
            _delete_endpoint(sagemaker, deployment.endpoint, say)
    elif (status := _status(sagemaker, deployment.endpoint)) != "InService":
        say(
            f"The endpoint {deployment.endpoint} is {status}, so its configurations and models are "
            "left as they are; python -m client status shows what becomes of them."
        )
        return
    with interruption.undisturbed():
        _delete_all(sagemaker, deployment.model, [deployment.model])


def wait(
    sagemaker: Any,
    endpoint: str,
    say: Callable[[str], None],
    old: str | None = None,
    seconds: float = 2400,
) -> None:
    """Return when the endpoint serves, with another configuration than the old one.

    Raises:
        HostingError: if it fails to, or takes too long; it is still there then, and may cost.
    """
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
    try:
        found = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    return str(found["EndpointConfigName"])


def delete(sagemaker: Any, endpoint: str, say: Callable[[str], None] = lambda _: None) -> list[str]:
    """Delete an endpoint, its configuration and its models; return what was deleted.

    What is not there any more is no error.
    """
    found = configuration(sagemaker, endpoint)
    if found is None:
        return []
    behind = models(sagemaker, found)
    _delete_endpoint(sagemaker, endpoint, say)
    return [f"endpoint {endpoint}", *_delete_all(sagemaker, found, behind)]


def delete_configuration(sagemaker: Any, name: str) -> list[str]:
    """Delete an endpoint configuration and its models; return what was deleted."""
    return _delete_all(sagemaker, name, models(sagemaker, name))


def delete_model(sagemaker: Any, name: str) -> list[str]:
    """Delete a model; return what was deleted."""
    return _delete(sagemaker.delete_model, ModelName=name)


def _delete_endpoint(sagemaker: Any, endpoint: str, say: Callable[[str], None]) -> None:
    """Delete an endpoint; where SageMaker refuses that while it is being created, wait for that."""
    try:
        while True:
            try:
                _delete(sagemaker.delete_endpoint, EndpointName=endpoint)
            except ClientError:  # noqa: PERF203  # it is about to wait for seconds
                if _status(sagemaker, endpoint) != "Creating":
                    raise
                say(f"{endpoint}: is being created, and can be deleted only then; do not interrupt")
                time.sleep(_POLL_SECONDS)
            else:
                return
    except KeyboardInterrupt:
        say(f"{endpoint} is left, and will cost; python -m client delete deletes it later.")
        raise


def _status(sagemaker: Any, endpoint: str) -> str | None:
    """Return an endpoint's state; None if there is no such endpoint."""
    try:
        return str(sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"])
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def _delete_all(sagemaker: Any, configuration: str, models: list[str]) -> list[str]:
    deleted = _delete(sagemaker.delete_endpoint_config, EndpointConfigName=configuration)
    for model in models:
        deleted += _delete(sagemaker.delete_model, ModelName=model)
    return deleted


def summary(sagemaker: Any, endpoint: str) -> dict[str, Any]:
    """Return what a user wants to know of an endpoint."""
    found = sagemaker.describe_endpoint(EndpointName=endpoint)
    return {"endpoint": found["EndpointName"], "status": found["EndpointStatus"]}


def arn(sagemaker: Any, endpoint: str) -> str:
    """Return an endpoint's ARN."""
    return str(sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointArn"])


def models(sagemaker: Any, configuration: str) -> list[str]:
    """Name the models of an endpoint configuration."""
    try:
        found = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)
    except ClientError as error:
        if is_missing(error):
            return []
        raise
    return [variant["ModelName"] for variant in found["ProductionVariants"]]


def _delete(operation: Callable[..., Any], **name: str) -> list[str]:
    """Delete one thing by its name; return it, or nothing where it was not there."""
    ((kind, value),) = name.items()
    try:
        operation(**name)
    except ClientError as error:
        if is_missing(error):
            return []
        raise
    return [f"{_KINDS[kind]} {value}"]
