"""What `doctor` looks at in the AWS account; it reads, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from client import names
from client.account import AccountError
from client.aws_errors import AwsError, is_denied, translated
from client.checks import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from client.account import Account

_NOT_FOUND = {"404", "NoSuchBucket"}

# What a push asks of a repository; the password is asked for itself.
_PUSH = [
    f"ecr:{action}"
    for action in (
        "DescribeRepositories",
        "CreateRepository",
        "BatchCheckLayerAvailability",
        "InitiateLayerUpload",
        "UploadLayerPart",
        "CompleteLayerUpload",
        "PutImage",
        "BatchGetImage",
        "GetDownloadUrlForLayer",
    )
]
_IN_FILE = 'give --role, or write role = "NAME" into simplenet.toml (docs/cloud.md)'


def of_account(
    choose: Callable[[], Account], role: str | None, image: str, bucket: str | None
) -> Iterator[Check]:
    """Check the account, one right after the other; without credentials nothing else is asked."""
    try:
        with translated():
            account = choose()
    except (AccountError, AwsError) as error:
        yield _refused("region" if isinstance(error, AccountError) else "credentials", error)
        return
    yield _region(account)
    credentials = _credentials(account)
    yield credentials
    if credentials.status == "failed":
        return
    yield _asked("role", _role, account, role)
    yield _asked("registry", _registry, account, image)
    yield _asked("push", _push, account, image)
    yield _asked("bucket", _bucket, account, bucket)
    yield _asked("sagemaker", _sagemaker, account)


def _region(account: Account) -> Check:
    known = account.aws.get_available_regions(
        "sagemaker", account.aws.get_partition_for_region(account.region)
    )
    if account.region in known:
        return Check.ok("region", account.region)
    found = f"{account.region}, which this version of boto3 does not know to have SageMaker"
    return Check.warning("region", found, "check its spelling; make cloud updates boto3")


def _credentials(account: Account) -> Check:
    try:
        with translated():
            caller = account.caller
    except AwsError as error:
        return _refused("credentials", error)
    found = f"account {account.number}, {caller}"
    if caller.endswith(":root"):
        cure = "make a user or a role of your own; the root user is for the bill"
        return Check.warning("credentials", f"{found}, which may do everything", cure)
    return Check.ok("credentials", found)


def _role(account: Account, given: str | None) -> Check:
    if given is None and ":assumed-role/" not in account.caller:
        return Check.warning("role", "none is given, and you are no role yourself", _IN_FILE)
    return Check.ok("role", f"{account.role(given)}, which SageMaker may assume")


def _registry(account: Account, image: str) -> Check:
    ecr = account.client("ecr")
    ecr.get_authorization_token()
    registry, name, version = names.parts(image)
    if registry not in {"", account.registry}:
        return Check.ok("registry", f"{image} is not in this account's {account.registry}")
    key = "imageDigest" if version.startswith("sha256:") else "imageTag"
    push = names.push_command(name, version, account.region)
    try:
        ecr.describe_repositories(repositoryNames=[name])
        found = ecr.describe_images(repositoryName=name, imageIds=[{key: version}])
    except ecr.exceptions.RepositoryNotFoundException:
        return Check.warning("registry", f"{account.registry} has no repository {name} yet", push)
    except ecr.exceptions.ImageNotFoundException:
        missing = f"{account.registry}/{name} has no image {version} yet"
        return Check.warning("registry", missing, push)
    digest = found["imageDetails"][0]["imageDigest"]
    return Check.ok("registry", f"{account.registry}/{name}@{digest[:19]}")


def _push(account: Account, image: str) -> Check:
    """Ask whether the image could be pushed; AWS tells that without a push, to whom may ask."""
    registry, name, _ = names.parts(image)
    if registry not in {"", account.registry}:
        return Check.ok("push", f"not asked, since {registry} is not this account's")
    if account.caller.endswith(":root"):
        return Check.ok("push", "allowed, as all is to the root user")
    place = f"arn:{account.partition}:ecr:{account.region}:{account.number}:repository/{name}"
    try:
        pages = (
            account.client("iam")
            .get_paginator("simulate_principal_policy")
            .paginate(PolicySourceArn=account.principal, ActionNames=_PUSH, ResourceArns=[place])
        )
        denied = [
            decided["EvalActionName"]
            for page in pages
            for decided in page["EvaluationResults"]
            if decided["EvalDecision"] != "allowed"
        ]
    except ClientError as error:
        # A federated user has no policies of its own that could be asked about.
        if not is_denied(error) and error.response["Error"]["Code"] != "InvalidInput":
            raise
        cure = "./build_and_push.sh names what is missing; or have iam:SimulatePrincipalPolicy"
        return Check.warning("push", "not asked: you have no permission to simulate", cure)
    if denied:
        cure = "have them allowed where you are to push: client/iam/user.json, docs/push.md"
        return Check.warning("push", f"you lack {', '.join(denied)} for {name}", cure)
    return Check.ok("push", f"all that ./build_and_push.sh {name} asks for is allowed")


def _bucket(account: Account, given: str | None) -> Check:
    name = given or account.default_bucket
    try:
        headers = account.client("s3").head_bucket(Bucket=name)["ResponseMetadata"]["HTTPHeaders"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _NOT_FOUND and given is None:
            return Check.ok("bucket", f"{name}, which upload makes when it is first needed")
        if code in _NOT_FOUND:
            cure = f"aws s3 mb s3://{name} --region {account.region}, or leave --bucket out"
            return Check.failed("bucket", f"there is no bucket {name}", cure)
        if code in {"403", "AccessDenied"}:
            cure = "it is another account's, or your policy lacks s3:ListBucket; name one of yours"
            return Check.failed("bucket", f"{name} may not be read", cure)
        raise
    where = headers.get("x-amz-bucket-region", account.region)
    if where != account.region:
        cure = f"name a bucket in {account.region} with --bucket, or give --region {where}"
        return Check.failed("bucket", f"{name} is in {where}, the jobs in {account.region}", cure)
    return Check.ok("bucket", name)


def _sagemaker(account: Account) -> Check:
    account.client("sagemaker").list_training_jobs(MaxResults=1)
    return Check.ok("sagemaker", "answers, and lists jobs")


def _asked(name: str, check: Any, *words: Any) -> Check:
    """Run a check; what AWS refuses is what was found."""
    try:
        with translated():
            found: Check = check(*words)
    except (AccountError, AwsError) as error:
        return _refused(name, error)
    return found


def _refused(name: str, error: Exception) -> Check:
    """Return a refusal as a check: the cure stands behind the semicolon of its sentence."""
    found, _, cure = str(error).rstrip(".").partition("; ")
    return Check.failed(name, found, cure or "see docs/cloud.md")
