"""`deploy` in all its kinds, and `predict`, against an AWS that is moto: what it was asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.aws import ACCOUNT, REGION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws

HOME = f"s3://sagemaker-{REGION}-{ACCOUNT}/simplenet"
DEPLOY = ("deploy", "--role", "SageMakerRole", "--json")
MODEL = ("--model-data", f"{HOME}/jobs/job-1/output/model.tar.gz")
TAGS = [{"Key": "simplenet:project", "Value": "simplenet"}]

#: The words of a kind of endpoint, and what its variant, configuration and container must have.
KINDS: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "serverless": (
        (*MODEL, "--serverless", "--memory", "3072", "--max-concurrency", "9"),
        {"ServerlessConfig": {"MemorySizeInMB": 3072, "MaxConcurrency": 9}},
        {},
        {"ModelDataUrl": MODEL[1]},
    ),
    "asynchronous": (
        (*MODEL, "--async", "--instance-count", "2"),
        {"InstanceType": "ml.t2.medium", "InitialInstanceCount": 2},
        {
            "AsyncInferenceConfig": {
                "OutputConfig": {
                    "S3OutputPath": f"{HOME}/async/replies",
                    "S3FailurePath": f"{HOME}/async/failures",
                }
            }
        },
        {},
    ),
    "multi-model": (
        ("--multi-model",),
        {"InstanceType": "ml.t2.medium"},
        {},
        {"Mode": "MultiModel", "ModelDataUrl": f"{HOME}/jobs/"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_endpoint_is_asked_for_as_such(aws: Aws, kind: str) -> None:
    """One model, one configuration and one endpoint, all tagged."""
    words, variant, configuration, container = KINDS[kind]

    done = aws.run(*DEPLOY, *words)

    assert 0 == done.returncode, done.stderr
    assert {"endpoint": "simplenet", "status": "InService"} == json.loads(done.stdout)
    (model,) = aws.asked("CreateModel")
    (asked,) = aws.asked("CreateEndpointConfig")
    (endpoint,) = aws.asked("CreateEndpoint")
    assert container.items() <= model["PrimaryContainer"].items()
    assert variant.items() <= asked["ProductionVariants"][0].items()
    assert configuration.items() <= asked.items()
    assert model["ModelName"] == asked["ProductionVariants"][0]["ModelName"]
    assert asked["EndpointConfigName"] == endpoint["EndpointConfigName"]
    assert [TAGS] * 3 == [request["Tags"] for request in (model, asked, endpoint)]
    if kind == "serverless":
        assert "InstanceType" not in asked["ProductionVariants"][0]


def test_an_endpoint_is_updated_in_place_and_keeps_its_model_if_that_fails(aws: Aws) -> None:
    """It is never deleted; what no longer serves, or never came to, is."""
    capturing = ("--data-capture", "20", "--env", "SIMPLENET_BAD_RECORDS=mark")
    first = aws.run(*DEPLOY, *MODEL, *capturing)
    assert 0 == first.returncode, first.stderr
    (captured,) = aws.asked("CreateEndpointConfig")
    assert 20 == captured["DataCaptureConfig"]["InitialSamplingPercentage"]
    assert f"{HOME}/captures" == captured["DataCaptureConfig"]["DestinationS3Uri"]
    (model,) = aws.asked("CreateModel")
    assert {"SIMPLENET_BAD_RECORDS": "mark"} == model["PrimaryContainer"]["Environment"]

    second = aws.run(*DEPLOY, *MODEL, "--instance-type", "ml.c5.large")

    assert 0 == second.returncode, second.stderr
    (update,) = aws.asked("UpdateEndpoint")
    served = update["EndpointConfigName"]
    held = {"endpoints": ["simplenet"], "configurations": [served], "models": [served]}
    assert held | {"running jobs": []} == aws.left()

    why = "The primary container did not pass the ping health check."
    aws.settle(
        "UpdateEndpoint",
        endpoint_config_name=served,
        endpoint_status="InService",
        failure_reason=why,
    )
    third = aws.run(*DEPLOY, *MODEL)

    assert 1 == third.returncode
    assert "is InService with its old model" in third.stderr
    assert why in third.stderr
    assert held | {"running jobs": []} == aws.left()


def test_an_endpoint_that_does_not_come_up_is_deleted(aws: Aws) -> None:
    """With its configuration and its model; the reason is SageMaker's, and where the log is."""
    why = "CannotStartContainerError"
    aws.settle("CreateEndpoint", endpoint_status="Failed", failure_reason=why)

    done = aws.run(*DEPLOY, *MODEL)

    assert 1 == done.returncode
    assert why in done.stderr
    assert "/aws/sagemaker/Endpoints/simplenet" in done.stderr
    assert {"endpoints": [], "configurations": [], "models": [], "running jobs": []} == aws.left()


def test_an_asynchronous_endpoint_is_asked_through_s3(stored: Aws, tmp_path: Path) -> None:
    """The rows go up, the reply comes down; a refusal has the container's own words."""
    rows = tmp_path / "rows.csv"
    rows.write_text("0.5,0.25\n", "utf-8")
    scored = stored.run("predict", "--async", rows)
    assert "0.75\n" == scored.stdout, scored.stderr

    rows.write_text("nonsense\n", "utf-8")
    refused = stored.run("predict", "--async", rows)

    assert 1 == refused.returncode
    assert "expected a number" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--serverless", "--async"), "one of --serverless, --async, --multi-model"),
        (("--local", "--async"), "Local mode serves one model"),
    ],
)
def test_what_cannot_be_had_together_is_refused_before_anything_is_made(
    aws: Aws, words: tuple[str, ...], said: str
) -> None:
    """As a mistake of the command line: exit code 2."""
    done = aws.run(*DEPLOY, *MODEL, *words)

    assert 2 == done.returncode
    assert said in " ".join(done.stderr.split())
    assert [] == aws.asked("CreateModel")
