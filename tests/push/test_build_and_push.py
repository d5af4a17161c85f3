"""build_and_push.sh, as a shell runs it: what it pushes, and each way in which it can fail."""

from __future__ import annotations

import json
import re
import shlex
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
import requests

from tests import engine
from tests.conftest import PROJECT
from tests.push.buildx import TOKEN
from tests.push.conftest import ACCOUNT, BIN, DOCKER, NAME, Project, Registry, answering, only

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ERROR = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>{}</Code><Message>{}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
)

needs_engine = pytest.mark.docker


def repositories(project: Project) -> list[dict[str, object]]:
    """Return the repositories that moto has."""
    found = project.aws("ecr", "describe-repositories")["repositories"]
    assert isinstance(found, list)
    return found


def ecr_error(code: str, message: str) -> str:
    """Return an error as a registry words it."""
    return json.dumps({"errors": [{"code": code, "message": message}]})


# What it is called with.


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_the_scripts_own_header(local: Project, flag: str) -> None:
    """What a reader of the file sees, a user sees; nothing else is needed for that."""
    done = local.run(flag)
    header = (local.root / "build_and_push.sh").read_text().split("\nset -", 1)[0].splitlines()[1:]

    assert (0, "") == (done.code, done.stderr)
    assert [line.removeprefix("#").removeprefix(" ") for line in header] == done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--nope"], "there is no option --nope; try --help"),
        (["a-name", "b-name"], "expected one argument, the repository's name, not a-name and"),
        (["--region"], "--region wants a value"),
        (["--tag", ""], "--tag wants a value"),
        (["Sagemaker"], "the name is 'Sagemaker'; expected lower-case letters"),
        (["sagemaker:v2"], "the name is 'sagemaker:v2'; expected lower-case letters"),
        (["sage__maker"], "the name is 'sage__maker'"),
        (["s"], "the name is 's'"),
        (["--tag", "a b"], "the tag is 'a b'; expected at most 128 letters"),
        (["--tag", "x" * 129], f"the tag is '{'x' * 129}'"),
        (["--platform", "linux/amd64,linux/arm64"], "the platform is 'linux/amd64,linux/arm64'"),
    ],
)
def test_wrong_arguments_are_refused(local: Project, arguments: list[str], sentence: str) -> None:
    """Exit code 2, before anything is asked."""
    done = local.run(*arguments)

    assert (2, "") == (done.code, done.stdout)
    assert done.stderr.startswith(f"build_and_push.sh: {sentence}")


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("docker", "there is no docker command; install Docker: https://"),
        ("aws", "there is no aws command; install the AWS CLI: https://"),
        ("curl", "there is no curl command; install curl"),
    ],
)
def test_a_missing_program_is_named(
    local: Project, tmp_path: Path, missing: str, sentence: str
) -> None:
    """And where to get it."""
    names = {"bash", "dirname", "readlink", "docker", "aws", "curl"} - {missing}
    done = local.having(PATH=only(tmp_path / "few", sorted(names))).run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith(sentence)


@pytest.mark.skipif(not DOCKER, reason="there is no docker command")
def test_an_engine_that_does_not_answer_is_named(local: Project) -> None:
    """With Docker's own reason, and what to start."""
    done = local.having(DOCKER_HOST="unix:///nowhere.sock").run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith("Docker does not answer: ")
    assert "unix:///nowhere.sock" in done.last
    assert "\nStart Docker Desktop or the docker service" in done.last


# Which image, where.


@needs_engine
@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_the_registry_is_the_accounts_in_the_region(
    caller: Project, region: str, host: str
) -> None:
    """In each partition (I1, I12)."""
    done = caller.run("--dry-run", "--region", region, "--tag", "v1")

    assert (0, f"{ACCOUNT}.dkr.ecr.{host}/{NAME}:v1\n") == (done.code, done.stdout), done.stderr


@needs_engine
@pytest.mark.parametrize(
    ("variables", "arguments", "region"),
    [
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, [], "eu-west-1"),
        ({"AWS_REGION": None, "AWS_DEFAULT_REGION": "eu-west-2"}, [], "eu-west-2"),
        ({"AWS_REGION": None}, [], "eu-west-3"),
        ({"AWS_REGION": None, "AWS_PROFILE": "mine"}, [], "eu-north-1"),
        ({}, ["--region", "eu-south-1"], "eu-south-1"),
    ],
)
def test_the_region_is_the_one_that_is_meant(
    caller: Project, variables: dict[str, str | None], arguments: list[str], region: str
) -> None:
    """The option, then AWS's two variables, then the profile."""
    (caller.root / "config").write_text(
        "[default]\nregion = eu-west-3\n[profile mine]\nregion = eu-north-1\n"
        "aws_access_key_id = a\naws_secret_access_key = b\n"
    )
    both = {"AWS_REGION": "eu-west-1", **variables, "AWS_CONFIG_FILE": str(caller.root / "config")}
    done = caller.having(**both).run("--dry-run", *arguments)

    assert f".dkr.ecr.{region}.amazonaws.com/" in done.stdout, done.stderr


@needs_engine
@pytest.mark.parametrize("region", ["eu-central-1a", "Frankfurt", "eu-central"])
def test_what_is_no_region_is_refused(caller: Project, region: str) -> None:
    """Its address would only time out."""
    done = caller.having(AWS_REGION=region).run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith(f"the region is '{region}'; expected one such as eu-central-1")


@needs_engine
def test_the_tag_is_the_commit(caller: Project) -> None:
    """With -dirty where what goes into the image is not what was committed, and only then."""
    commit = caller.git("rev-parse", "--short=12", "HEAD")

    def tag() -> str:
        return caller.run("--dry-run").stdout.rpartition(":")[2]

    (caller.root / "README.md").write_text("not in the image")
    assert f"{commit}\n" == tag()
    (caller.root / "container" / "new").touch()
    assert f"{commit}-dirty\n" == tag()
    (caller.root / "container" / "new").unlink()
    caller.dockerfile.write_text("FROM scratch\nCOPY hello /hi\n")
    assert f"{commit}-dirty\n" == tag()
    assert "has changes that are in no commit" in caller.run("--dry-run").stderr


@needs_engine
def test_without_a_commit_a_tag_must_be_given(caller: Project) -> None:
    """A download of the project has none."""
    (caller.root / ".git").rename(caller.root / "elsewhere")
    without, given = caller.run("--dry-run"), caller.run("--dry-run", "--tag", "v1")

    assert (1, "") == (without.code, without.stdout)
    assert without.last.startswith("git names no commit to tag the image with (fatal: not a git")
    assert without.last.endswith("choose a tag: --tag TAG")
    assert given.stdout.endswith(f"/{NAME}:v1\n")


@needs_engine
def test_an_address_that_sagemaker_would_refuse_is_refused(caller: Project) -> None:
    """It may have 255 characters (I2)."""
    done = caller.run("--dry-run", "sagemaker-" + "x" * 200)

    assert (1, "") == (done.code, done.stdout)
    assert "characters; SageMaker accepts 255: choose a shorter name or tag" in done.last


@needs_engine
def test_a_name_that_the_usual_policy_does_not_cover_is_told(caller: Project) -> None:
    """AmazonSageMakerFullAccess allows pushing to *sagemaker* alone (I13)."""
    usual, other = caller.run("--dry-run"), caller.run("--dry-run", "my-image")

    assert "AmazonSageMakerFullAccess" not in usual.stderr
    assert "AmazonSageMakerFullAccess lets nobody push to my-image" in other.stderr
    assert 0 == other.code


@needs_engine
def test_a_dry_run_changes_nothing(project: Project, registry: Registry) -> None:
    """It names each step, with the command that can be pasted, and the image's URI."""
    commit = project.git("rev-parse", "--short=12", "HEAD")
    done = project.run("--dry-run")
    line = next(line for line in done.stderr.splitlines() if "Would build" in line)
    command = shlex.split(line.partition(": ")[2])

    assert (0, f"{registry.host}/{NAME}:{commit}\n") == (done.code, done.stdout)
    assert f"Account {ACCOUNT} (arn:aws:sts::{ACCOUNT}:user/moto), region eu-central-1" in (
        done.stderr
    )
    assert f"Would create the repository {NAME}" in done.stderr
    assert str(project.root / "container") == command[-1]
    assert ["--platform", "linux/amd64"] == command[command.index("--platform") :][:2]
    assert [] == repositories(project)
    assert {} == registry.digests()


# What is pushed.


@needs_engine
def test_what_is_pushed_is_what_sagemaker_accepts(project: Project, registry: Registry) -> None:
    """A Docker manifest (I4) for linux/amd64 (I8) under the commit and as latest, in a repository
    that scans; the URI is alone on stdout. A second time it only confirms that.
    """
    commit = project.git("rev-parse", "--short=12", "HEAD")
    done = project.run()
    manifest = registry.manifest(NAME, commit)
    digest = manifest.headers["Docker-Content-Digest"]
    config = requests.get(
        f"http://{registry.host}/v2/{NAME}/blobs/{manifest.json()['config']['digest']}",
        auth=("AWS", TOKEN),
        timeout=60,
    ).json()
    (repository,) = repositories(project)
    again = project.run()

    assert (0, f"{registry.host}/{NAME}:{commit}\n") == (done.code, done.stdout), done.stderr
    assert MANIFEST == manifest.headers["Content-Type"]
    assert ("linux", "amd64") == (config["os"], config["architecture"])
    assert {commit: digest, "latest": digest} == registry.digests()
    assert f"Verified: linux/amd64, {MANIFEST}, {digest}" in done.stderr
    assert NAME == repository["repositoryName"]
    assert {"scanOnPush": True} == repository["imageScanningConfiguration"]
    assert (0, done.stdout) == (again.code, again.stdout), again.stderr
    assert {commit: digest, "latest": digest} == registry.digests()


@needs_engine
def test_the_projects_own_image_is_pushed(
    image: str, project: Project, registry: Registry, tmp_path: Path
) -> None:
    """All of it: the script of this checkout, from the build to the registry and back."""
    del image  # its layers are why this does not take longer
    tree = Project(tmp_path / "checkout", project.environment)
    tree.root.mkdir()
    for part in ("build_and_push.sh", "container"):
        subprocess.run(["cp", "-R", PROJECT / part, tree.root], check=True)
    done = tree.run("--tag", "own")
    uri = done.stdout.strip()

    assert (0, f"{registry.host}/{NAME}:own") == (done.code, uri), done.stderr
    engine.docker("rmi", uri)
    subprocess.run([DOCKER, "pull", "--quiet", uri], env=tree.environment, check=True)
    assert "true" == engine.docker(
        "image",
        "inspect",
        "--format",
        '{{index .Config.Labels "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"}}',
        uri,
    )


@needs_engine
def test_the_password_is_in_no_ones_arguments(project: Project) -> None:
    """Anyone on the machine could read it there; each program is recorded, then run."""
    record = project.root.parent / "arguments"
    for name, program in (("docker", DOCKER), ("curl", "/usr/bin/curl"), ("aws", BIN / "aws")):
        project.program(name, f"echo {name} \"$@\" >>'{record}'\nexec '{program}' \"$@\"")
    done = project.run()

    assert 0 == done.code, done.stderr
    assert {"docker", "curl", "aws"} == {
        line.split()[0] for line in record.read_text().splitlines()
    }
    assert "--password-stdin" in record.read_text()
    assert TOKEN not in record.read_text() + done.stdout + done.stderr


@needs_engine
def test_a_credential_helper_that_logs_in_by_itself_is_let(
    project: Project, registry: Registry
) -> None:
    """docker-credential-ecr-login refuses to keep a password; Docker asks it for one instead."""
    project.program(
        "docker-credential-ecr-login",
        f'[ "$1" = get ] || {{ echo not implemented; exit 1; }}\n'
        f'echo \'{{"Username": "AWS", "Secret": "{TOKEN}"}}\'',
    )
    config = project.root.parent / "home" / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"credHelpers": {registry.host: "ecr-login"}}))
    done = project.run("--tag", "v1")

    assert 0 == done.code, done.stderr
    assert {"latest", "v1"} == set(registry.digests())


@needs_engine
def test_a_credential_helper_that_fails_is_named(project: Project) -> None:
    """Docker Desktop leaves such a setting behind."""
    config = project.root.parent / "home" / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"credsStore": "nowhere"}')
    done = project.run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.endswith(
        f": Docker's credential helper fails; mend or remove credsStore in {config}"
    )


@needs_engine
def test_arguments_reach_the_dockerfile(project: Project) -> None:
    """So that the base image, or torch's CUDA build, can be another."""
    project.dockerfile.write_text("ARG A=a\nARG B=b\nFROM scratch\nARG A\nARG B\nLABEL ab=$A$B\n")
    done = project.run("--build-arg", "A=1 2", "--build-arg", "B=3")
    label = engine.docker(
        "image", "inspect", "--format", "{{.Config.Labels.ab}}", done.stdout.strip()
    )

    assert "1 23" == label, done.stderr


@needs_engine
@pytest.mark.parametrize("kind", ["good", "old"])
def test_buildx_is_told_to_attest_nothing(project: Project, registry: Registry, kind: str) -> None:
    """An attestation makes an OCI index (I5). buildx before 0.10 has no such flags, and makes none.
    What buildx itself then does is not tested here: a stand-in records what it is asked.
    """
    record = project.buildx(kind)
    done = project.run("--tag", "v1", "--build-arg", "A=1 2")
    words = json.loads(record.read_text())

    assert (0, f"{registry.host}/{NAME}:v1\n") == (done.code, done.stdout), done.stderr
    context = str(project.root / "container")
    metadata = words.pop(words.index("--metadata-file") + 1)
    assert not metadata.startswith(str(project.root))
    assert [
        *("--file", f"{context}/Dockerfile", "--build-arg", "A=1 2"),
        *("--platform", "linux/amd64", "--tag", f"{registry.host}/{NAME}:v1"),
        *(("--provenance=false", "--sbom=false") if kind == "good" else ()),
        *("--metadata-file", "--output", "type=image,oci-mediatypes=false,push=true", context),
    ] == words
    assert {"latest", "v1"} == set(registry.digests())


# What must not be called done.


@needs_engine
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("oci", "application/vnd.oci.image.manifest.v1+json"),
        ("index", "application/vnd.oci.image.index.v1+json"),
    ],
)
def test_an_oci_image_is_not_called_done(
    project: Project, registry: Registry, kind: str, found: str
) -> None:
    """SageMaker refuses it at CreateModel (I4), when the training has been paid for."""
    project.buildx(kind)
    done = project.run("--tag", "v1")

    assert (1, "") == (done.code, done.stdout)
    assert f"SageMaker would refuse it: its manifest is {found}, expected {MANIFEST}" in done.last
    assert "update buildx" in done.last
    assert done.last.endswith("\nThe tag latest is where it was.")
    assert {"v1"} == set(registry.digests())


@needs_engine
def test_an_image_for_another_machine_is_not_called_done(
    project: Project, registry: Registry
) -> None:
    """Its programs would not start (X26). Here the Dockerfile decides on the platform."""
    project.dockerfile.write_text("FROM --platform=linux/amd64 scratch\nCOPY hello /\n")
    first = project.run("--tag", "v1")
    done = project.run("--tag", "v2", "--platform", "linux/arm64")

    assert 0 == first.code, first.stderr
    assert (1, "") == (done.code, done.stdout)
    assert "SageMaker would refuse it: it is for linux/amd64, expected linux/arm64" in done.last
    assert "Install buildx, or fetch the base image for it (docker pull --platform" in done.last
    assert {"v1", "v2", "latest"} == set(registry.digests())
    assert registry.digests()["v1"] == registry.digests()["latest"]


@needs_engine
def test_somebody_elses_image_is_not_called_ours(project: Project, registry: Registry) -> None:
    """Who pushes the same tag between our push and the look at it is found out."""
    project.buildx("overtaken")
    done = project.run("--tag", "v1")

    assert (1, "") == (done.code, done.stdout)
    assert f"v1 is now {registry.digests()['v1']}, but this build pushed sha256:" in done.last
    assert "somebody else pushed the same tag" in done.last
    assert {"v1"} == set(registry.digests())


@needs_engine
def test_a_latest_that_does_not_follow_is_told(project: Project, registry: Registry) -> None:
    """What was pushed and verified is named all the same."""
    tags = registry.store / "docker/registry/v2/repositories" / NAME / "_manifests/tags"
    tags.mkdir(parents=True)
    (tags / "latest").touch()
    done = project.run("--tag", "v1")

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith(f"{registry.host}/{NAME}:v1 is pushed and verified, but the tag")
    assert "latest could not follow (HTTP 500)" in done.last


# Immutable tags.


@needs_engine
def test_an_immutable_tag_is_found_taken_before_anything_is_built(
    project: Project, registry: Registry
) -> None:
    """Minutes before the push would say it; and no latest is made, which could never move."""
    project.aws(
        *("ecr", "create-repository", "--repository-name", NAME),
        *("--image-tag-mutability", "IMMUTABLE"),
    )
    first, again, other = project.run(), project.run(), project.run("--tag", "v2")
    commit = project.git("rev-parse", "--short=12", "HEAD")

    assert 0 == first.code, first.stderr
    assert "there is no latest" in first.stderr
    assert (1, "") == (again.code, again.stdout)
    assert f"the tag {commit} is taken and cannot be moved" in again.last
    assert again.last.endswith("commit your changes, or choose another: --tag TAG")
    assert "Building" not in again.stderr
    assert 0 == other.code, other.stderr
    assert {commit, "v2"} == set(registry.digests())


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


# AWS says no.


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


# The build fails.


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
