"""The policies: the fake AWS of all the tests allows its user what user.json does, and no more."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.client.aws import ACCOUNT, REGION
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from tests.client.aws import Aws

NAMES = ("user", "execution", "trust")
POLICIES: dict[str, dict[str, Any]] = {
    name: json.loads((PROJECT / "client" / "iam" / f"{name}.json").read_text("utf-8"))
    for name in NAMES
}

#: What build_and_push.sh asks ECR for, by the AWS CLI and through the registry.
PUSH = {
    "GetAuthorizationToken",
    "DescribeRepositories",
    "CreateRepository",
    "BatchCheckLayerAvailability",
    "InitiateLayerUpload",
    "UploadLayerPart",
    "CompleteLayerUpload",
    "PutImage",
    "BatchGetImage",
    "GetDownloadUrlForLayer",
    "DescribeImages",
    "TagResource",
}


def actions(name: str) -> list[str]:
    """Return every action that a policy allows."""
    found = [statement["Action"] for statement in POLICIES[name]["Statement"]]
    return [one for some in found for one in ([some] if isinstance(some, str) else some)]


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_is_explained(name: str) -> None:
    """docs/iam.md has a row for each, in the same order, and for no other."""
    text = (PROJECT / "docs" / "iam.md").read_text("utf-8")
    section = text.split(f"## `client/iam/{name}.json`")[1].split("\n## ")[0]

    sids = [statement["Sid"] for statement in POLICIES[name]["Statement"]]
    assert sids == re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_minimal(name: str) -> None:
    """It names each action once and whole, and is short enough for a managed policy (6,144)."""
    found = actions(name)

    assert len(found) == len(set(found))
    assert [] == [action for action in found if "*" in action]
    assert 6144 >= len(json.dumps(POLICIES[name], separators=(",", ":")))


def test_aws_takes_the_policies(aws: Aws) -> None:
    """As docs/iam.md has them created."""
    iam = aws.client("iam")
    texts = {name: json.dumps(policy) for name, policy in POLICIES.items()}

    iam.create_role(RoleName="Mine", AssumeRolePolicyDocument=texts["trust"])
    iam.put_role_policy(RoleName="Mine", PolicyName="simplenet", PolicyDocument=texts["execution"])
    iam.create_policy(PolicyName="simplenet-user", PolicyDocument=texts["user"])


def test_the_push_is_allowed() -> None:
    """It goes to a registry in the tests, and not through the fake AWS."""
    assert {f"ecr:{action}" for action in PUSH} | {"sts:GetCallerIdentity"} <= {*actions("user")}


@pytest.mark.parametrize(
    ("service", "operation", "words"),
    [
        ("ec2", "describe_instances", {}),
        ("s3", "list_objects_v2", {"Bucket": "of-somebody-else"}),
        ("s3", "get_object", {"Bucket": f"sagemaker-{REGION}-{ACCOUNT}", "Key": "two/train.csv"}),
        ("ecr", "describe_images", {"repositoryName": "another"}),
        ("logs", "get_log_events", {"logGroupName": "/aws/lambda/x", "logStreamName": "x"}),
        (
            "sagemaker",
            "create_model",
            {
                "ModelName": "without-a-tag",
                "ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/SageMakerRole",
            },
        ),
        (
            "sagemaker",
            "create_model",
            {
                "ModelName": "under-another-role",
                "ExecutionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/Administrator",
                "Tags": [{"Key": "simplenet:project", "Value": "simplenet"}],
            },
        ),
    ],
)
def test_all_else_is_denied(aws: Aws, service: str, operation: str, words: dict[str, Any]) -> None:
    """So what the commands are seen to do in the other tests, the policy allows."""
    with pytest.raises(ClientError) as refused:
        getattr(aws.client(service, key="testing"), operation)(**words)

    assert "AccessDenied" in refused.value.response["Error"]["Code"]
