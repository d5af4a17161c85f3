"""The how-tos: what they tell to type is typed here, on this machine or at a fake AWS."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import click
import pytest
import yaml

from client.__main__ import cli
from tests.client.conftest import WITHOUT_DOCKER, local_mode, run_client
from tests.conftest import PROJECT
from tests.test_docs import blocks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws

HOW_TO = sorted((PROJECT / "docs" / "how-to").glob("*.md"))

CLIENT = [".venv/bin/python", "-m", "client"]


def by_name(document: Path) -> str:
    """Name a test after its document."""
    return document.stem


def typed(document: Path) -> list[list[str]]:
    """Return each command of a how-to, split as a shell does it."""
    text = "".join(blocks(document.read_text("utf-8"), "sh"))
    return [shlex.split(line) for line in text.splitlines() if line]


def client_commands(document: Path) -> list[list[str]]:
    """Return the words of each command of the client."""
    return [words[3:] for words in typed(document) if words[:3] == CLIENT]


def is_local(words: list[str]) -> bool:
    """Tell whether a command needs a Docker engine, or what such a one has left."""
    return "--local" in words or "--scores" in words


LOCAL = [document for document in HOW_TO if any(map(is_local, client_commands(document)))]
CLOUD = [
    document
    for document in HOW_TO
    if any(words[0] not in {"data", "demo"} for words in client_commands(document))
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A place to type in, which has the files that the how-tos name, and a role written down."""
    (tmp_path / "local_test").symlink_to(PROJECT / "local_test")
    (tmp_path / "simplenet.toml").write_text('role = "SageMakerRole"\n', "utf-8")
    return tmp_path


def prepare(aws: Aws, directory: Path, *, trains: bool) -> None:
    """Give the account the images that the how-tos push, and a model where they do not train."""
    ecr = aws.client("ecr")
    found = ecr.batch_get_image(
        repositoryName="simplenet-sagemaker", imageIds=[{"imageTag": "latest"}]
    )
    manifest = found["images"][0]["imageManifest"]
    for tag in ("my-network", "cuda"):
        ecr.put_image(repositoryName="simplenet-sagemaker", imageManifest=manifest, imageTag=tag)
    if not trains:
        done = aws.run("train", directory=directory)
        assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("document", CLOUD, ids=by_name)
def test_what_is_typed_works_on_aws(
    stored: Aws, directory: Path, monkeypatch: pytest.MonkeyPatch, document: Path
) -> None:
    """Each command in its turn, in an account that has the moon data; a deletion is complete."""
    commands = client_commands(document)
    prepare(stored, directory, trains=["train"] in commands)
    for words in commands:
        if is_local(words) or words[0] == "demo":
            continue
        if words[0] == "evaluate":
            # The fake AWS's endpoints have no scores: it is understood, and its file is there.
            monkeypatch.chdir(directory)
            command = cli.get_command(click.Context(cli), words[0])
            assert command
            command.make_context(words[0], list(words[1:]), auto_envvar_prefix=None)
        else:
            done = stored.run(*words, directory=directory)
            assert 0 == done.returncode, f"{words}: {done.stderr}"
            assert ("--dry-run" in words) == ("would" in done.stderr)
        if words[0] == "delete":
            assert [] == stored.left()["endpoints"]
    if any(words[0] == "deploy" and "--dry-run" not in words for words in commands):
        assert [] == stored.left()["endpoints"], "the how-to leaves an endpoint that costs"


@pytest.mark.docker
@pytest.mark.parametrize("document", LOCAL, ids=by_name)
def test_what_is_typed_with_local_works_in_containers(
    image: str, tmp_path: Path, document: Path
) -> None:
    """With the data that the how-to makes first, and without AWS."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "PYTHONPATH": str(PROJECT),
        "SIMPLENET_TRAIN_IMAGE": image,
        "SIMPLENET_TRANSFORM_IMAGE": image,
    }
    with local_mode():
        for words in client_commands(document):
            if is_local(words) or words[0] == "data":
                done = run_client(*words, directory=tmp_path, environment=environment)
                assert 0 == done.returncode, f"{words}: {done.stderr}"


def test_the_demo_of_other_data_is_as_good_as_it_is_shown(tmp_path: Path) -> None:
    """The figures in the how-to are those that come out, without Docker as well."""
    document = PROJECT / "docs" / "how-to" / "your-own-data.md"
    environment = {**WITHOUT_DOCKER, "PYTHONPATH": str(PROJECT)}
    for words in client_commands(document)[:2]:
        done = run_client(*words, directory=tmp_path, environment=environment)
        assert 0 == done.returncode, f"{words}: {done.stderr}"

    readme = (PROJECT / "README.md").read_text("utf-8")
    shown = [figures(document.read_text("utf-8")), figures(readme.rpartition("breast-cancer")[2])]
    assert shown[0] == shown[1]
    # Another processor rounds otherwise, which may move a row or two of the 143.
    assert pytest.approx(shown[0], abs=0.02) == figures(done.stdout)


def figures(text: str) -> dict[str, float]:
    """Return the first figures that are printed in a text."""
    found = re.findall(r"^(Recall|Precision|Accuracy): +([\d.]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found[:3]}


def test_the_other_programs_know_their_options() -> None:
    """`make` has the targets, and the push script each option; all else is a program of others."""
    pushing = subprocess.run(
        [PROJECT / "build_and_push.sh", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for words in (words for document in HOW_TO for words in typed(document)):
        if words[0] == "make":
            subprocess.run(
                ["make", "--dry-run", *words[1:]],
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
                check=True,
            )
        elif words[0] == "./build_and_push.sh":
            assert all(f" {word} " in pushing for word in words if word.startswith("--"))
        elif words[0].startswith((".ci/", "local_test/")):
            assert os.access(PROJECT / words[0], os.X_OK)
        else:
            assert words[:3] == CLIENT or words[0] in {"aws", "docker", "mkdir", "rm"}


def test_the_workflow_runs_what_is_there() -> None:
    """It is YAML that GitHub would read, and each of its commands is a program of this project."""
    text = (PROJECT / "docs" / "how-to" / "ci-for-your-fork.md").read_text("utf-8")
    (block,) = blocks(text, "yaml")
    workflow = yaml.safe_load(block)

    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    ran = [step["run"] for step in steps if "run" in step]
    assert [".ci/run"] == ran
    assert all("@v" in step["uses"] for step in steps if "uses" in step)
    assert all(os.access(PROJECT / program, os.X_OK) for program in ran)


@pytest.mark.parametrize("document", HOW_TO, ids=by_name)
def test_a_how_to_is_short_and_is_found(document: Path) -> None:
    """What is typed, what is seen, what can go wrong; and the README leads there."""
    text = document.read_text("utf-8")

    assert len(text.splitlines()) <= 60
    assert "\n## What can go wrong\n" in text
    readme = (PROJECT / "README.md").read_text("utf-8")
    assert f"](docs/how-to/{document.name})" in readme
