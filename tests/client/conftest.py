"""The story, told once by the programs themselves, for all who ask how it went."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from client import data, storage
from tests.client import warm
from tests.client.aws import ACCOUNT, REGION, Aws, serve
from tests.conftest import PROJECT
from tests.engine import alone, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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


def run_client(
    *words: str | Path, directory: Path = PROJECT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m client` from nothing, in a directory and an environment; by default ours."""
    return subprocess.run(
        [sys.executable, "-m", "client", *words],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def local_mode() -> Iterator[None]:
    """Use the SDK's local mode alone: all that do make, and remove, one network of Docker's."""
    with alone("local-mode"):
        yield


@pytest.fixture
def in_local_mode() -> Iterator[None]:
    """Let no test of another process use local mode before this one has ended."""
    with local_mode():
        yield


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The story as it is told where there is no Docker engine."""
    return tell(tmp_path_factory.mktemp("a demo"), WITHOUT_DOCKER)


@pytest.fixture(scope="session")
def client_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[str | Path]]:
    """How a command line begins that does what `python -m client` does, without the import."""
    home = tmp_path_factory.mktemp("warm")
    # The path of a Unix socket must be short.
    address = Path(tempfile.mkdtemp(), "socket")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("AWS_", "COVERAGE_"))
    }
    known = {"AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, warm.__file__, "serve", address],
            env={**kept, **known, "HOME": str(home), "PYTHONPATH": str(PROJECT)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: address.exists() or server.poll() is not None, "the SDK is imported")
        assert server.poll() is None, (home / "log").read_text("utf-8")
        yield [sys.executable, "-I", "-S", warm.__file__, "run", address]
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(address.parent)


@pytest.fixture(scope="session")
def moto_proxy(
    tmp_path_factory: pytest.TempPathFactory, client_program: Sequence[str | Path]
) -> Iterator[Aws]:
    """One fake AWS for all tests."""
    with serve(tmp_path_factory.mktemp("home"), client_program) as found:
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
