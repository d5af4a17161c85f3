"""`deploy` against an AWS that is moto: what each kind of endpoint is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.client.test_interruption import MODEL, ROLE

if TYPE_CHECKING:
    from tests.client.aws import Aws


def configuration(aws: Aws, *options: str) -> dict[str, Any]:
    """Deploy, and return the endpoint configuration that was asked for."""
    done = aws.run("deploy", *ROLE, *MODEL, *options)
    assert 0 == done.returncode, done.stderr
    (asked,) = aws.asked("CreateEndpointConfig")
    return asked


def test_an_endpoint_is_what_the_notebook_asked_for(aws: Aws) -> None:
    """One ml.t2.medium with the pushed image by its digest, and what the container is to know."""
    asked = configuration(aws, "--env", "SIMPLENET_BAD_RECORDS=mark", "--data-capture", "20")

    (variant,) = asked["ProductionVariants"]
    assert ("ml.t2.medium", 1) == (variant["InstanceType"], variant["InitialInstanceCount"])
    capture = asked["DataCaptureConfig"]
    assert capture["EnableCapture"]
    assert 20 == capture["InitialSamplingPercentage"]
    (model,) = aws.asked("CreateModel")
    container = model.get("PrimaryContainer") or model["Containers"][0]
    assert "/simplenet-sagemaker@sha256:" in container["Image"]
    assert MODEL[1] == container["ModelDataUrl"]
    assert "mark" == container["Environment"]["SIMPLENET_BAD_RECORDS"]
    (endpoint,) = aws.asked("CreateEndpoint")
    assert "simplenet" == endpoint["EndpointName"]
    assert {"Key": "simplenet:project", "Value": "simplenet"} in endpoint["Tags"]


@pytest.mark.parametrize(
    ("options", "part", "expected"),
    [
        (
            ("--serverless", "--memory", "3072", "--max-concurrency", "7"),
            "ServerlessConfig",
            {"MemorySizeInMB": 3072, "MaxConcurrency": 7},
        ),
        (("--async",), "AsyncInferenceConfig", None),
    ],
)
def test_other_kinds_of_endpoints(
    aws: Aws, options: tuple[str, ...], part: str, expected: dict[str, int] | None
) -> None:
    """Serverless has no instances; an asynchronous one leaves its replies in the bucket."""
    asked = configuration(aws, *options)

    (variant,) = asked["ProductionVariants"]
    if expected:
        assert expected == variant[part]
        assert "InstanceType" not in variant
    else:
        output = asked[part]["OutputConfig"]["S3OutputPath"]
        assert output.startswith("s3://sagemaker-eu-west-1-123456789012/simplenet/")


def test_many_models_behind_one_endpoint(aws: Aws) -> None:
    """SageMaker is told that it is many, and where they are."""
    done = aws.run("deploy", *ROLE, "--multi-model", "--model-data", "s3://bucket/models/")

    assert 0 == done.returncode, done.stderr
    (model,) = aws.asked("CreateModel")
    container = model.get("PrimaryContainer") or model["Containers"][0]
    assert "MultiModel" == container["Mode"]
    assert "s3://bucket/models/" == container["ModelDataUrl"]


def test_an_endpoint_that_is_there_gets_the_new_model(aws: Aws) -> None:
    """It is updated in place; the configuration and the model that it had are deleted."""
    assert 0 == aws.run("deploy", *ROLE, *MODEL).returncode
    done = aws.run("deploy", *ROLE, *MODEL, "--instance-count", "2")

    assert 0 == done.returncode, done.stderr
    (update,) = aws.asked("UpdateEndpoint")
    sagemaker = aws.client("sagemaker")
    configurations = sagemaker.list_endpoint_configs()["EndpointConfigs"]
    assert [update["EndpointConfigName"]] == [each["EndpointConfigName"] for each in configurations]
    (variant,) = sagemaker.describe_endpoint_config(
        EndpointConfigName=update["EndpointConfigName"]
    )["ProductionVariants"]
    assert 2 == variant["InitialInstanceCount"]
    assert [variant["ModelName"]] == [
        each["ModelName"] for each in sagemaker.list_models()["Models"]
    ]
