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


def test_what_is_changed_must_have_the_projects_tag() -> None:
    """Each action that stops, updates, deletes or asks something of SageMaker's, and no other.

    The fake AWS looks at the tags that things have: so what the commands do to them in the other
    tests, they do only to what is tagged.
    """
    conditions = {
        action: statement.get("Condition")
        for statement in POLICIES["user"]["Statement"]
        for action in statement["Action"]
        if action.startswith("sagemaker:")
    }
    tags = {"Delete|Invoke|Stop|Update": "ResourceTag", "AddTags|Create": "RequestTag"}

    for action, condition in conditions.items():
        tag = [tag for verbs, tag in tags.items() if re.match(f"sagemaker:({verbs})", action)]
        wanted = {"Null": {f"aws:{tag[0]}/simplenet:project": "false"}} if tag else None
        assert wanted == condition, action


@pytest.fixture
def untagged(aws: Aws) -> Aws:
    """An account with a model, an endpoint and jobs that have no tag."""
    sagemaker, role = aws.client("sagemaker"), f"arn:aws:iam::{ACCOUNT}:role/SageMakerRole"
    sagemaker.create_model(ModelName="x", ExecutionRoleArn=role)
    variant = {
        "VariantName": "x",
        "ModelName": "x",
        "InstanceType": "ml.t2.medium",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="x", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="x", EndpointConfigName="x")
    sagemaker.create_transform_job(
        TransformJobName="x",
        ModelName="x",
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://x"}}
        },
        TransformOutput={"S3OutputPath": "s3://x/out"},
        TransformResources={"InstanceType": "ml.c4.xlarge", "InstanceCount": 1},
    )
    return aws


@pytest.mark.parametrize(
    ("service", "operation", "words"),
    [
        ("sagemaker", "delete_model", {"ModelName": "x"}),
        ("sagemaker", "delete_endpoint_config", {"EndpointConfigName": "x"}),
        ("sagemaker", "delete_endpoint", {"EndpointName": "x"}),
        ("sagemaker", "update_endpoint", {"EndpointName": "x", "EndpointConfigName": "x"}),
        ("sagemaker", "stop_transform_job", {"TransformJobName": "x"}),
        ("sagemaker", "stop_training_job", {"TrainingJobName": "that-is-not-there"}),
        ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "x", "Body": b"1"}),
    ],
)
def test_what_has_no_tag_is_left_alone(
    untagged: Aws, service: str, operation: str, words: dict[str, Any]
) -> None:
    """Whoever works for one project can harm nothing else; nor what is not there."""
    with pytest.raises(ClientError) as refused:
        getattr(untagged.client(service, key="testing"), operation)(**words)

    assert "AccessDenied" in refused.value.response["Error"]["Code"]


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
