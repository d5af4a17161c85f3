"""What AWS refuses: one sentence with the cure, exit code 1, and nothing is left running."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.client.aws import NOTHING
from tests.client.test_interruption import MODEL, ROLE
from tests.conftest import PROJECT

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.client.aws import Aws

TRAIN = ("train", *ROLE)
DEPLOY = ("deploy", *ROLE, *MODEL)
TRANSFORM = ("transform", *ROLE, *MODEL, "local_test/payload.csv")


def assert_refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    """Hold the last line to be the sentence."""
    assert code == done.returncode, done.stderr
    assert "" == done.stdout
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert [] == [word for word in words if word not in last], last


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ["aws configure", "AWS_PROFILE"]),
        ({"AWS_SECRET_ACCESS_KEY": ""}, ["artial credentials", "set both key and secret"]),
        ({"AWS_DEFAULT_REGION": ""}, ["No AWS region is set; give --region"]),
        ({"AWS_PROFILE": "nobody"}, ["(nobody) could not be found", "aws configure list-profiles"]),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, ["check the network, the proxy and --region"]),
    ],
    ids=["no credentials", "half of them", "no region", "no such profile", "no network"],
)
def test_what_never_reaches_aws(aws: Aws, environment: dict[str, str], words: list[str]) -> None:
    """Credentials, region, profile and network, before anything is made."""
    done = aws.run("status", directory=PROJECT, **environment, AWS_MAX_ATTEMPTS="1")

    assert_refused(done, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SchemaVersion: '1.0'\nSageMaker: {Trainingjob: {}}\n", ["'Trainingjob' was unexpected"]),
        ("SageMaker: {", ["expected"]),
        (None, ["Unable to load the config file from the location"]),
    ],
    ids=["a name that it does not know", "no YAML", "no file"],
)
def test_a_wrong_configuration_of_the_sdk_is_named(
    stored: Aws, tmp_path: Path, text: str | None, words: list[str]
) -> None:
    """By the SDK's own check, which is made once, before anything else."""
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text, "utf-8")
    done = stored.run(*TRAIN, SAGEMAKER_USER_CONFIG_OVERRIDE=str(path))

    assert_refused(done, "configuration is wrong: ", "SAGEMAKER_USER_CONFIG_OVERRIDE", *words)
    assert 2 == len(done.stderr.splitlines()), "pages of the SDK's own"
    assert NOTHING == stored.left()


def test_a_configuration_is_checked_only_once() -> None:
    """The SDK does it whenever it looks for a value, unless what `client.sdk` replaces is gone."""
    wrong = {"SageMaker": {"no such key": 1}}

    importlib.import_module("client.sdk")
    utils = importlib.import_module("sagemaker.utils")

    assert utils.get_sagemaker_config_value(None, "SageMaker.TrainingJob", wrong) is None


@pytest.mark.parametrize(
    ("command", "action", "code", "message", "words"),
    [
        (
            TRAIN,
            "GetCallerIdentity",
            "ExpiredToken",
            "The security token included in the request is expired",
            ["is expired; sign in again: aws sso login"],
        ),
        (
            TRAIN,
            "CreateTrainingJob",
            "ResourceLimitExceeded",
            "The account-level service limit 'ml.c4.xlarge for training job usage' is 0 Instances",
            ["is 0 Instances; ask for more at Service Quotas", "another instance type"],
        ),
        (
            DEPLOY,
            "CreateEndpoint",
            "ResourceLimitExceeded",
            "The account-level service limit 'ml.t2.medium for endpoint usage' is 0 Instances",
            ["is 0 Instances; ask for more at Service Quotas", "another instance type"],
        ),
        (
            ("tune", *ROLE),
            "CreateHyperParameterTuningJob",
            "ResourceLimitExceeded",
            "The account-level service limit 'ml.c4.xlarge for training job usage' is 1 Instances",
            ["is 1 Instances; ask for more at Service Quotas", "another instance type"],
        ),
        (
            TRANSFORM,
            "CreateTransformJob",
            "ResourceLimitExceeded",
            "The account-level service limit 'ml.c4.xlarge for transform job usage' is 0 Instances",
            ["is 0 Instances; ask for more at Service Quotas", "another instance type"],
        ),
        (
            TRAIN,
            "CreateTrainingJob",
            "ThrottlingException",
            "Rate exceeded",
            ["Rate exceeded; AWS is busy with this account; try again in a minute"],
        ),
        (
            TRAIN,
            "CreateTrainingJob",
            "AccessDeniedException",
            "User: me is not authorized to perform: sagemaker:CreateTrainingJob on resource: x",
            ["AWS denies sagemaker:CreateTrainingJob", "client/iam/user.json"],
        ),
        (
            DEPLOY,
            "CreateEndpoint",
            "ValidationException",
            "Cannot create already existing endpoint",
            ["the name is in use: choose another"],
        ),
        (
            DEPLOY,
            "CreateModel",
            "ValidationException",
            "Could not assume role arn:aws:iam::1:role/r",
            ["its trust policy must name sagemaker.amazonaws.com (client/iam/trust.json)"],
        ),
        (
            ("upload", "local_test/opt_ml/input/data"),
            "ListBucket",
            "AccessDenied",
            "Access Denied",
            ["the bucket is another account's", "name one of yours with --bucket"],
        ),
    ],
    ids=[
        "expired",
        *("quota to train", "quota to deploy", "quota to tune", "quota to transform"),
        *("throttled", "denied", "name in use", "trust", "bucket"),
    ],
)
def test_what_aws_refuses(
    stored: Aws,
    command: tuple[str, ...],
    action: str,
    code: str,
    message: str,
    words: list[str],
) -> None:
    """With what AWS said, and what to do about it."""
    stored.refuse(action, code, message)

    done = stored.run(*command, AWS_MAX_ATTEMPTS="2")

    assert_refused(done, *words)
    assert NOTHING == stored.left()


def test_a_role_that_is_none(stored: Aws) -> None:
    """None is given, there is none of the name, or SageMaker may not assume it."""
    trust = {"Version": "2012-10-17", "Statement": []}
    stored.client("iam").create_role(RoleName="Mine", AssumeRolePolicyDocument=json.dumps(trust))

    assert_refused(stored.run("train"), "is no role; give --role")
    assert_refused(stored.run("train", "--role", "NoSuch"), "There is no role 'NoSuch' in account")
    assert_refused(
        stored.run("train", "--role", "Mine"),
        "SageMaker may not assume the role 'Mine'",
        "client/iam/trust.json",
    )
    assert NOTHING == stored.left()


def test_what_is_not_there(stored: Aws) -> None:
    """An image, a bucket, data, a model."""
    image = stored.run(*TRAIN, "--image", "simplenet-sagemaker:v9")
    bucket = stored.run(*TRAIN, "--bucket", "sagemaker-of-nobody")
    data = stored.run(*TRAIN, "--prefix", "simplenet/elsewhere")
    model = stored.run("deploy", *ROLE)

    assert_refused(image, "There is no image simplenet-sagemaker:v9", "./build_and_push.sh")
    assert_refused(bucket, "NoSuchBucket", "name a bucket of yours with --bucket")
    assert_refused(data, "expected train, with CSV files in it", "python -m client upload")
    assert_refused(model, "No job of the project 'simplenet' has left a model")
    assert NOTHING == stored.left()


def test_throttling_is_waited_out(stored: Aws) -> None:
    """Twice refused, and then the job is made: once."""
    stored.refuse("CreateTrainingJob", "ThrottlingException", "Rate exceeded", times=2)

    done = stored.run(*TRAIN, "--no-wait")

    assert 0 == done.returncode, done.stderr
    assert 3 == len(stored.asked("CreateTrainingJob"))
    assert 1 == len(stored.client("sagemaker").list_training_jobs()["TrainingJobSummaries"])


@pytest.mark.parametrize("artefacts", [{}, {"model_artifacts": None}], ids=["address", "none"])
def test_a_job_that_fails(stored: Aws, artefacts: dict[str, None]) -> None:
    """The program's own sentence is the last line; an address is no model."""
    reason = "AlgorithmError: train.csv, line 3, column 1: the label is 2; expected 0 or 1"
    stored.settle(
        "CreateTrainingJob",
        training_job_status="Failed",
        secondary_status="Failed",
        failure_reason=reason,
        **artefacts,
    )

    assert_refused(stored.run(*TRAIN), "is Failed and left no model", reason)


def test_an_endpoint_that_never_comes_up(aws: Aws, tmp_path: Path) -> None:
    """Is deleted again, with its model and configuration, also where it is a step of the story."""
    reason = "The primary container did not pass the ping health check"
    aws.settle("CreateEndpoint", endpoint_status="Failed", failure_reason=reason)

    done = aws.run(*DEPLOY)
    told = aws.run("run", *ROLE, "--json", "--output", tmp_path / "run")

    log = "Its log is in CloudWatch, group /aws/sagemaker/Endpoints/simplenet"
    assert_refused(done, "is Failed", reason, log)
    assert_refused(told, "is Failed", reason, log)
    assert NOTHING == aws.left() | {"objects": []}
