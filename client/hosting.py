"""Endpoints on SageMaker: made, waited for, and deleted with all that belongs to them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from client import interruption, sdk
from client.aws_errors import is_missing
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_POLL_SECONDS = 5


class HostingError(Refusal):
    """An endpoint that did not come up, or is not there; the message says why."""


@dataclass(frozen=True)
class Deployment:
    """What a model, an endpoint configuration and an endpoint are asked for."""

    endpoint: str
    model: str
    image: str  #: the address of the image
    model_data: str  #: model.tar.gz: s3:// or file://
    role: str  #: the ARN that the container works under
    instance_type: str = "ml.t2.medium"
    instance_count: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)


def deploy(session: sdk.Session, deployment: Deployment, say: Callable[[str], None]) -> None:
    """Make the endpoint, or give the one of this name the new model; return when it serves.

    Where that fails or is interrupted, what was made is deleted again; an endpoint that was there
    before keeps its model.

    Raises:
        HostingError: if the new model does not come to serve.
    """
    sagemaker = session.sagemaker_client
    old = configuration(sagemaker, deployment.endpoint)
    try:
        if old is None:
            sdk.deploy(session, deployment)
        else:
            sdk.update(session, deployment)
        wait(sagemaker, deployment.endpoint, say, old)
    except BaseException:
        with interruption.undisturbed():
            if old is None:
                delete(sagemaker, deployment.endpoint)
                _delete_all(sagemaker, deployment.endpoint, [deployment.model])
        raise
    if old is not None:
        delete_configuration(sagemaker, old)


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


def invoke(
    runtime: Any, endpoint: str, body: bytes, content_type: str, accept: str | None = None
) -> bytes:
    """Send a body of rows to an endpoint as it is, and return the reply's.

    Raises:
        HostingError: if the container refuses; the message has its own sentence.
    """
    wanted = {"Accept": accept} if accept else {}
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType=content_type, **wanted
        )
    except runtime.exceptions.ModelError as error:
        said = error.response.get("OriginalMessage") or error.response["Error"]["Message"]
        code = error.response.get("OriginalStatusCode", "an error")
        raise HostingError(f"{endpoint} answers HTTP {code}: {said}") from None
    reply: bytes = answer["Body"].read()
    return reply


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


def delete(sagemaker: Any, endpoint: str) -> list[str]:
    """Delete an endpoint, its configuration and its models; return what was deleted.

    What is not there any more is no error.
    """
    found = configuration(sagemaker, endpoint)
    if found is None:
        return []
    behind = models(sagemaker, found)
    sagemaker.delete_endpoint(EndpointName=endpoint)
    return [f"endpoint {endpoint}", *_delete_all(sagemaker, found, behind)]


def delete_configuration(sagemaker: Any, name: str) -> list[str]:
    """Delete an endpoint configuration and its models; return what was deleted."""
    return _delete_all(sagemaker, name, models(sagemaker, name))


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
    return [f"{'model' if kind == 'ModelName' else 'endpoint configuration'} {value}"]
