"""What build_and_push.sh is called with, and which image it names for that."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import botocore.session
import pytest

from tests.conftest import PROJECT
from tests.push.project import ACCOUNT, DOCKER, NAME, Project, only

if TYPE_CHECKING:
    from pathlib import Path

    from tests.push.registry import Registry

needs_engine = pytest.mark.docker


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
        (
            ["--sbom", "/nowhere/a.json"],
            "the file of --sbom is '/nowhere/a.json'; expected a file in",
        ),
        (["--sbom", "/tmp"], "the file of --sbom is '/tmp'"),  # noqa: S108 - a directory
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
    others = {"docker", "aws", "curl"} - {missing}
    done = local.having(PATH=only(tmp_path / "few", *others)).run()

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


def partitions() -> list[tuple[str, str]]:
    """Return a region of each partition that AWS' own library knows, and the domain there."""
    known = botocore.session.get_session().get_data("partitions")["partitions"]
    return [
        (
            next(name for name in sorted(each["regions"]) if "global" not in name),
            each["outputs"]["dnsSuffix"],
        )
        for each in known
    ]


def test_the_partitions_are_those_there_are() -> None:
    """At least the usual one, China, GovCloud and the European Sovereign Cloud."""
    domains = {region.split("-")[0]: domain for region, domain in partitions()}

    assert "amazonaws.com.cn" == domains["cn"]
    assert "amazonaws.eu" == domains["eusc"]
    assert "us-gov-east-1" in dict(partitions())


@needs_engine
@pytest.mark.parametrize(("region", "domain"), partitions())
def test_the_registry_is_the_accounts_in_the_region(
    caller: Project, region: str, domain: str
) -> None:
    """In each partition (I1, I12), and the client looks for the image in the same one."""
    registry = f"{ACCOUNT}.dkr.ecr.{region}.{domain}"
    done = caller.run("--dry-run", "--region", region, "--tag", "v1")
    train = subprocess.run(
        [sys.executable, "-m", "client", "train", "--region", region],
        env={**caller.environment, "PYTHONPATH": str(PROJECT)},
        cwd=caller.root,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, f"{registry}/{NAME}:v1\n") == (done.code, done.stdout), done.stderr
    assert f"There is no image {NAME}:latest in {registry}; push it first" in train.stderr


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
    assert [] == project.repositories()
    assert {} == registry.digests()
