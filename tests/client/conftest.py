"""The story, told once by the programs themselves, for all who ask how it went."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from client import data, storage
from tests.client.aws import ACCOUNT, REGION, Aws, serve
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Where no Docker engine answers.
WITHOUT_DOCKER = {**os.environ, "DOCKER_HOST": "unix:///nowhere.sock"}


@dataclass(frozen=True)
class Told:
    """What `python -m client demo` came to."""

    code: int
    said: str
    output: Path


def tell(output: Path, environment: Mapping[str, str], *options: str) -> Told:
    """Run the demo as its user does."""
    command = [sys.executable, "-m", "client", "demo", "--output", str(output), *options]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Told(done.returncode, done.stdout, output)


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The story as it is told where there is no Docker engine."""
    return tell(tmp_path_factory.mktemp("a demo"), WITHOUT_DOCKER)


@pytest.fixture(scope="session")
def moto_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """One fake AWS for all tests."""
    with serve(tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture
def aws(moto_proxy: Aws) -> Aws:
    """The fake AWS as a new account: an execution role, a pushed image, and nothing else."""
    moto_proxy.prepare()
    return moto_proxy


@pytest.fixture(scope="session")
def moons_with_validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The moon data as files: the channels train, validation and test."""
    directory = tmp_path_factory.mktemp("moons")
    train, test = data.moons()
    train, validation = train.split(0.2)
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        data.make_csv(rows.features, rows.labels, f"{name}.csv", directory / name)
    return directory


@pytest.fixture
def stored(aws: Aws, moons_with_validation: Path) -> Aws:
    """The fake AWS with the moon data where `upload` would have put it."""
    s3, bucket = aws.client("s3"), f"sagemaker-{REGION}-{ACCOUNT}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for _ in storage.Prefix(bucket, "simplenet/data").upload(s3, moons_with_validation):
        pass
    return aws
