"""All that a project has on SageMaker, found by its tag; and what of it runs, and so costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from client import aws_errors
from client.account import TAG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.account import Account


@dataclass(frozen=True)
class Kind:
    """A kind of thing, and how boto3's client is asked for it."""

    title: str
    name: str  #: the argument that names one, which its description has as well
    describe: str
    lists: str  #: the operation that lists all
    summaries: str  #: what holds its answer
    arn: str
    status: str = ""  #: what has its state; models and configurations have none
    stop: str = ""  #: of jobs
    delete: str = ""  #: of all but jobs, which AWS keeps


#: By the type in the ARN, in the order in which they are deleted.
KINDS = {
    "endpoint": Kind(
        "endpoint",
        "EndpointName",
        "describe_endpoint",
        "list_endpoints",
        "Endpoints",
        "EndpointArn",
        "EndpointStatus",
        delete="delete_endpoint",
    ),
    "endpoint-config": Kind(
        "endpoint configuration",
        "EndpointConfigName",
        "describe_endpoint_config",
        "list_endpoint_configs",
        "EndpointConfigs",
        "EndpointConfigArn",
        delete="delete_endpoint_config",
    ),
    "model": Kind(
        "model",
        "ModelName",
        "describe_model",
        "list_models",
        "Models",
        "ModelArn",
        delete="delete_model",
    ),
    "hyper-parameter-tuning-job": Kind(
        "tuning job",
        "HyperParameterTuningJobName",
        "describe_hyper_parameter_tuning_job",
        "list_hyper_parameter_tuning_jobs",
        "HyperParameterTuningJobSummaries",
        "HyperParameterTuningJobArn",
        "HyperParameterTuningJobStatus",
        stop="stop_hyper_parameter_tuning_job",
    ),
    "training-job": Kind(
        "training job",
        "TrainingJobName",
        "describe_training_job",
        "list_training_jobs",
        "TrainingJobSummaries",
        "TrainingJobArn",
        "TrainingJobStatus",
        stop="stop_training_job",
    ),
    "transform-job": Kind(
        "transform job",
        "TransformJobName",
        "describe_transform_job",
        "list_transform_jobs",
        "TransformJobSummaries",
        "TransformJobArn",
        "TransformJobStatus",
        stop="stop_transform_job",
    ),
}

# An endpoint costs from the start, and also while it is updated; a job until it has ended.
_SERVERLESS = "serverless"
_FREE = {"Completed", "Failed", "Stopped", "Deleting", ""}


@dataclass(frozen=True)
class Thing:
    """A job, a model, an endpoint configuration or an endpoint."""

    kind: Kind
    name: str
    status: str
    instances: str  #: such as 2 x ml.c4.xlarge; empty where it has none
    created: datetime

    @property
    def runs(self) -> bool:
        """Tell whether it runs, and so costs; what is serverless costs while it scores alone."""
        return self.status not in _FREE and self.instances != _SERVERLESS

    @property
    def age(self) -> str:
        """How long it has been there."""
        minutes = int((datetime.now(timezone.utc) - self.created).total_seconds() // 60)
        hours, days = minutes // 60, minutes // (24 * 60)
        if days:
            return f"{days} d {hours % 24} h"
        return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def things(account: Account) -> list[Thing]:
    """Return all that the project has, by kind and then the newest first."""
    sagemaker = account.client("sagemaker")
    found = [
        one
        for kind, name in _names(account, sagemaker)
        if (one := thing(sagemaker, kind, name)) is not None
    ]
    order = [kind.title for kind in KINDS.values()]
    found.sort(key=lambda one: one.created, reverse=True)
    return sorted(found, key=lambda one: order.index(one.kind.title))


def _names(account: Account, sagemaker: Any) -> set[tuple[Kind, str]]:
    """Return the kind and name of all that has the project's tag.

    What was just made, the tags' own index does not know for minutes, and it costs already. So what
    the project's name is in is asked itself for its tags.
    """
    arns = set(_tagged(account))
    for kind in KINDS.values():
        pages = sagemaker.get_paginator(kind.lists).paginate(NameContains=account.project)
        listed = {summary[kind.arn] for page in pages for summary in page[kind.summaries]}
        arns |= {arn for arn in listed - arns if is_of_project(account, arn)}
    # arn:aws:sagemaker:REGION:ACCOUNT:TYPE/NAME
    parts = [arn.split(":", 5)[5].split("/", 1) for arn in arns]
    return {(KINDS[kind], name) for kind, name in parts if kind in KINDS}


def _tagged(account: Account) -> Iterator[str]:
    pages = (
        account.client("resourcegroupstaggingapi")
        .get_paginator("get_resources")
        .paginate(
            TagFilters=[{"Key": TAG, "Values": [account.project]}],
            ResourceTypeFilters=[f"sagemaker:{kind}" for kind in KINDS],
        )
    )
    for page in pages:
        for found in page["ResourceTagMappingList"]:
            yield found["ResourceARN"]


def is_of_project(account: Account, arn: str) -> bool:
    """Tell whether something has the project's tag."""
    pages = account.client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
    try:
        tags = [tag for page in pages for tag in page["Tags"]]
    except ClientError as error:
        if aws_errors.is_missing(error):
            return False
        raise
    return {"Key": TAG, "Value": account.project} in tags


def thing(sagemaker: Any, kind: Kind, name: str) -> Thing | None:
    """Ask what a thing is; None if it is there no more, which the tags' index does not know."""
    found = aws_errors.found(getattr(sagemaker, kind.describe), **{kind.name: name})
    if found is None:
        return None
    return Thing(
        kind=kind,
        name=found[kind.name],
        status=found[kind.status] if kind.status else "",
        instances=_instances(sagemaker, found),
        created=found["CreationTime"],
    )


def _instances(sagemaker: Any, found: dict[str, Any]) -> str:
    """Return what a thing runs on."""
    if "EndpointStatus" in found:
        configuration = aws_errors.found(
            sagemaker.describe_endpoint_config, EndpointConfigName=found["EndpointConfigName"]
        )
        if configuration is None:
            return "unknown: its configuration is deleted"
        return _instances(sagemaker, configuration)
    if variants := found.get("ProductionVariants"):
        return ", ".join(
            _SERVERLESS
            if "ServerlessConfig" in variant
            else f"{variant['InitialInstanceCount']} x {variant['InstanceType']}"
            for variant in variants
        )
    definition = found.get("TrainingJobDefinition") or found
    resources = definition.get("ResourceConfig") or definition.get("TransformResources")
    return f"{resources['InstanceCount']} x {resources['InstanceType']}" if resources else ""
