"""`deploy` in all its kinds, and `predict`, against an AWS that is moto: what it was asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.aws import ACCOUNT, NOTHING, REGION

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
    assert NOTHING | held == aws.left()

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
    assert NOTHING | held == aws.left()


def test_an_endpoint_that_does_not_come_up_is_deleted(aws: Aws) -> None:
    """With its configuration and its model; the reason is SageMaker's, and where the log is."""
    why = "CannotStartContainerError"
    aws.settle("CreateEndpoint", endpoint_status="Failed", failure_reason=why)

    done = aws.run(*DEPLOY, *MODEL)

    assert 1 == done.returncode
    assert why in done.stderr
    assert "/aws/sagemaker/Endpoints/simplenet" in done.stderr
    assert NOTHING == aws.left()


def test_what_stays_creating_is_waited_for_with_a_limit(aws: Aws) -> None:
    """Both to come up and to be deleted; then it says what is left, and what deletes it."""
    aws.settle("CreateEndpoint", endpoint_status="Creating")
    aws.refuse("DeleteEndpoint", "ValidationException", "Cannot update in-progress endpoint")

    done = aws.run(*DEPLOY, *MODEL, "--max-minutes", "0.01")

    assert 1 == done.returncode
    lines = done.stderr.splitlines()
    assert "Error: The endpoint simplenet is still Creating after " in lines[-1]
    assert lines[-2].startswith("The endpoint simplenet is left, and costs: after ")
    assert lines[-2].endswith("python -m client delete --endpoint simplenet")
    assert "simplenet: Creating, and can be deleted only when that ends, 0 s" in lines
    assert ["simplenet"] == aws.left()["endpoints"]


def test_a_model_of_several_and_the_kind_of_reply_are_asked_for(aws: Aws, tmp_path: Path) -> None:
    """In the headers of the request, beside the rows as they are."""
    assert 0 == aws.run(*DEPLOY, "--multi-model").returncode
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"features": [0.5, 0.25]}\n', "utf-8")
    wanted = ("--target-model", "job-1/output/model.tar.gz", "--accept", "application/json")

    done = aws.run("predict", *wanted, rows)

    assert 0 == done.returncode, done.stderr
    (asked,) = (entry for entry in aws.requests() if entry["action"] == "InvokeEndpoint")
    headers = {name.lower(): value for name, value in asked["headers"].items()}
    assert "job-1/output/model.tar.gz" == headers["x-amzn-sagemaker-target-model"]
    assert "application/json" == headers["accept"]
    assert "application/jsonlines" == headers["content-type"]
    assert rows.read_text("utf-8") == asked["body"]


def test_an_interrupted_wait_for_a_queued_reply_says_where_it_will_be(
    stored: Aws, tmp_path: Path
) -> None:
    """Nothing takes the rows out of the queue."""
    rows = tmp_path / "rows.csv"
    rows.write_text("0.5,0.25\n", "utf-8")
    assert 0 == stored.run(*DEPLOY, *MODEL, "--async").returncode

    done = stored.interrupt("GetObject", "predict", "--async", rows)

    last = done.stderr.splitlines()[-1]
    assert 130 == done.returncode, done.stderr
    assert last.startswith(f"Interrupted. simplenet goes on; its reply to {HOME}/async/requests/")
    assert last.endswith(".replies.")


def test_an_asynchronous_endpoint_is_asked_through_s3(stored: Aws, tmp_path: Path) -> None:
    """The rows go up, the reply comes down; a refusal has the container's own words."""
    assert 0 == stored.run(*DEPLOY, *MODEL, "--async").returncode
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
