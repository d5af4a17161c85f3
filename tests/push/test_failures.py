"""Who says no to build_and_push.sh, AWS, the registry or Docker, and what it makes of that."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING

import pytest
import requests

from tests.conftest import PROJECT
from tests.push.project import ACCOUNT, NAME, Project
from tests.push.registry import answering

if TYPE_CHECKING:
    from tests.push.registry import Registry

ERROR = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>{}</Code><Message>{}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
)


needs_engine = pytest.mark.docker


def ecr_error(code: str, message: str) -> str:
    """Return an error as a registry words it."""
    return json.dumps({"errors": [{"code": code, "message": message}]})


@needs_engine
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "there are no AWS credentials; run aws configure or aws configure sso"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "there are no AWS credentials"),
        ({"AWS_PROFILE": "nope"}, "there is no profile nope; aws configure list-profiles shows"),
        ({"AWS_PROFILE": "sso"}, "the SSO session has expired or was never begun; run aws sso"),
        ({"AWS_PROFILE": "old"}, "the AWS credentials have expired; get new ones, with SSO by"),
        ({"AWS_PROFILE": "mfa"}, "the profile wants a valid MFA code, typed in a terminal"),
    ],
)
def test_credentials_that_are_none_are_told(
    caller: Project, variables: dict[str, str], sentence: str
) -> None:
    """Of every kind, with the command that mends it, as the AWS CLI itself finds them wanting."""
    old = {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"}
    caller.program("old", f"echo '{json.dumps({**old, 'Expiration': '2020-01-01T00:00:00Z'})}'")
    config = caller.root.parent / "config"
    config.write_text(
        "[profile sso]\nsso_session = ours\nsso_account_id = 123456789012\nsso_role_name = role\n"
        "[sso-session ours]\nsso_region = eu-central-1\nsso_start_url = https://ours.example.org\n"
        f"[profile old]\ncredential_process = '{caller.root.parent}/bin/old'\n"
        "[profile keys]\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[profile mfa]\nsource_profile = keys\nrole_arn = arn:aws:iam::123456789012:role/role\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/me\n"
    )
    none: dict[str, str | None] = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    done = caller.having(**{**none, **variables}, AWS_CONFIG_FILE=str(config)).run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith(f"cannot name the AWS account: {sentence}")
    assert "Traceback" not in done.stderr


@needs_engine
def test_a_missing_region_is_told(caller: Project) -> None:
    """There is no default that would be right."""
    done = caller.having(AWS_REGION=None).run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith("there is no region; give one, --region eu-central-1, set AWS_")


@needs_engine
def test_a_missing_profile_is_told_where_the_region_is_looked_for(caller: Project) -> None:
    """It is the first question that fails then."""
    done = caller.having(AWS_REGION=None, AWS_PROFILE="nope").run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith("the AWS CLI names no region: there is no profile nope")


@needs_engine
@pytest.mark.parametrize(
    ("status", "code", "message", "sentence"),
    [
        (403, "ExpiredToken", "The security token included in the request is expired", "have exp"),
        (403, "InvalidClientTokenId", "The security token is invalid", "AWS does not know these"),
        (403, "SignatureDoesNotMatch", "The signature does not match", "AWS does not know these"),
        (400, "RequestExpired", "Request has expired", "clock is wrong"),
        (400, "Throttling", "Rate exceeded", "AWS answers too many requests of this account"),
        (500, "Odd", "Something else", "in its own words, An error occurred (Odd) when calling"),
    ],
)
def test_what_aws_refuses_is_told(
    caller: Project, status: int, code: str, message: str, sentence: str
) -> None:
    """The AWS CLI's words for AWS's errors, and what to do about each."""
    with answering(("POST", status, ERROR.format(code, message))) as host:
        done = caller.having(AWS_ENDPOINT_URL=f"http://{host}").run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith("cannot name the AWS account: ")
    assert sentence in done.last


@needs_engine
def test_a_network_without_aws_is_told(local: Project) -> None:
    """Or a region that does not exist, which looks the same."""
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    done = local.having(**keys).run("--region", "eu-central-9")

    assert (1, "") == (done.code, done.stdout)
    assert done.last.endswith(
        "AWS cannot be reached in eu-central-9; check the spelling of the region, the network, "
        "and HTTPS_PROXY"
    )


def documented() -> list[str]:
    """Return the permissions that docs/push.md lists."""
    text = (PROJECT / "docs" / "push.md").read_text("utf-8")
    return re.findall(r"^\| `((?:ecr|sts):\w+)` \|", text, flags=re.MULTILINE)


def restricted(project: Project, running_moto: str, actions: list[str]) -> Project:
    """Return the project with a caller who may do these and nothing else."""
    project.aws("iam", "create-user", "--user-name", "me")
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    project.aws(
        *("iam", "put-user-policy", "--user-name", "me", "--policy-name", "p"),
        *("--policy-document", policy),
    )
    key = project.aws("iam", "create-access-key", "--user-name", "me")["AccessKey"]
    assert isinstance(key, dict)
    requests.post(f"{running_moto}/moto-api/reset-auth", data="0", timeout=60)
    return project.having(
        AWS_ACCESS_KEY_ID=key["AccessKeyId"], AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"]
    )


@needs_engine
def test_the_documented_permissions_are_enough(project: Project, moto: str) -> None:
    """Of those that moto knows of; what a registry asks of a push it does not."""
    done = restricted(project, moto, documented()).run()

    assert 0 == done.code, done.stderr


@needs_engine
@pytest.mark.parametrize(
    "missing", ["ecr:DescribeRepositories", "ecr:CreateRepository", "ecr:GetAuthorizationToken"]
)
def test_a_missing_permission_is_named(project: Project, moto: str, missing: str) -> None:
    """Each of the documented ones is needed, and its name is what an administrator asks for."""
    actions = documented()
    actions.remove(missing)
    done = restricted(project, moto, actions).run()

    assert (1, "") == (done.code, done.stdout)
    assert f"the permission {missing} is missing; have it added to your policy" in done.last
    assert "Building" not in done.stderr


@needs_engine
def test_an_explicit_denial_leads_to_mfa(caller: Project) -> None:
    """Many accounts deny everything to who has not signed in with a second factor."""
    message = (
        f"User: arn:aws:iam::{ACCOUNT}:user/me is not authorized to perform: "
        "sts:GetCallerIdentity with an explicit deny in an identity-based policy"
    )
    with answering(("POST", 403, ERROR.format("AccessDenied", message))) as host:
        done = caller.having(AWS_ENDPOINT_URL=f"http://{host}").run()

    assert "the permission sts:GetCallerIdentity is missing" in done.last
    assert done.last.endswith("until you sign in with MFA: aws sts get-session-token")


IMMUTABLE = (
    "The image tag 'v1' already exists in the 'simplenet-sagemaker' repository and cannot be "
    "overwritten because the repository is immutable."
)
DENIED = (
    f"User: arn:aws:iam::{ACCOUNT}:user/me is not authorized to perform: ecr:InitiateLayerUpload "
    f"on resource: arn:aws:ecr:eu-central-1:{ACCOUNT}:repository/{NAME} because no identity-based "
    "policy allows the ecr:InitiateLayerUpload action"
)


@needs_engine
@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (
            [("HEAD .*/blobs/", 404, ""), ("POST .*/uploads/", 403, ecr_error("DENIED", DENIED))],
            "the push failed: the permission ecr:InitiateLayerUpload is missing",
        ),
        (
            [("PUT .*/manifests/", 400, ecr_error("TAG_INVALID", IMMUTABLE))],
            "the push failed: the tag v1 is taken and cannot be moved",
        ),
        (
            [("HEAD .*/blobs/", 404, ""), ("POST .*/uploads/", 401, "")],
            "the push failed: the registry does not accept the password",
        ),
        (
            [("GET /v2/$", 403, ecr_error("DENIED", "Your authorization token has expired."))],
            "cannot log in to 127.0.0.1:",
        ),
    ],
)
def test_what_the_registry_refuses_is_told(
    caller: Project, rules: list[tuple[str, int, str]], sentence: str
) -> None:
    """As Docker words what such a registry answers; the fault is named."""
    if rules[0][0].startswith("PUT"):
        # Of an image without a layer only the manifest is new.
        caller.dockerfile.write_text("FROM scratch\nLABEL a=b\n")
    with answering(*rules) as host:
        done = caller.having(ECR_REGISTRY=host).run("--tag", "v1")

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith(sentence), done.stderr


@needs_engine
@pytest.mark.parametrize(
    ("dockerfile", "sentence"),
    [
        ("FROM {registry}/nothing\n", "the base image cannot be pulled; check its name"),
        ("FROM 127.0.0.1:9/nothing\n", "the network fails; check it, and the proxy in Docker's"),
        ("FROM {limit}/python\n", "Docker Hub gives no more images to this address for now"),
        ("FROM scratch\nCOPY arm /\nRUN ['/arm']\n", "this machine cannot run programs for"),
        (
            "FROM python:3.11-slim-bookworm\nRUN dd if=/dev/zero of=/dev/shm/x bs=1M count=100\n",
            "Docker's disk is full; docker system df shows with what",
        ),
        (
            "FROM python:3.11-slim-bookworm\nRUN sleep 60 & kill -9 $!; wait $!\n",
            "a step was killed, as a rule for",
        ),
        ("FROM scratch\nCOPY nothing /\n", "in its own words, "),
    ],
)
def test_a_failing_build_is_explained(
    project: Project, registry: Registry, dockerfile: str, sentence: str
) -> None:
    """By what Docker really says: of a base image, a network, a program of another machine, and a
    disk, here /dev/shm with its 64 MB. Nothing is pushed.
    """
    # A program for linux/s390x that is one page of nothing.
    head = struct.pack(">HHIQQQIHHHHHH", 2, 22, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    arm = project.root / "container" / "arm"
    arm.write_bytes(b"\x7fELF\x02\x02\x01".ljust(16, b"\0") + head + bytes(4096))
    arm.chmod(0o755)
    refusal = ecr_error("TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.")
    with answering(("/manifests/", 429, refusal)) as limit:
        project.dockerfile.write_text(
            dockerfile.format(registry=registry.host, limit=limit).replace("'", '"')
        )
        done = project.run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith(f"the build failed: {sentence}"), done.stderr
    assert {} == registry.digests()
