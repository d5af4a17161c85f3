"""Where the SDK's calls go: SageMaker in an AWS account, or its local mode on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

import boto3
from botocore.exceptions import ClientError

from client import sdk, training_job
from client.names import IMAGE, LOCAL_OUTPUT
from client.refusal import Refusal
from client.storage import Prefix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.account import Account

# A role's form is checked, also where no AWS is asked.
_NO_ROLE = "arn:aws:iam::000000000000:role/local-mode"


class PlatformError(Refusal):
    """A platform on which nothing could run; the message says what is missing, and the cure."""


class Platform(Protocol):
    """SageMaker, or its local mode, ready to be asked."""

    @property
    def sagemaker(self) -> Any:
        """boto3's client of SageMaker, or what local mode has in its place."""

    @property
    def session(self) -> sdk.Session:
        """The SDK's session."""

    @property
    def project(self) -> str:
        """Begins the name of all that is made."""

    @property
    def role(self) -> str:
        """The ARN that SageMaker works under."""

    @property
    def image(self) -> str:
        """The image's address."""

    @property
    def home(self) -> str:
        """What is made goes below: s3://BUCKET/PREFIX or file://DIRECTORY."""

    @property
    def data(self) -> str:
        """The address of the directory of channels."""

    @property
    def tags(self) -> list[dict[str, str]]:
        """What all that is made is tagged with."""

    def directories(self, address: str) -> list[str]:
        """Name the directories in one, s3:// or file://."""

    def put(self, directory: Path, name: str) -> str:
        """Give a directory of channels an address that a job can read."""

    def output(self, job: str) -> str:
        """Return the address below which a job leaves model.tar.gz and output.tar.gz."""

    def latest_model(self) -> str:
        """Return the address of the newest model.tar.gz of the project."""


@dataclass(frozen=True)
class Cloud:
    """SageMaker in an account."""

    account: Account
    given_role: str | None = None
    given_image: str | None = None
    bucket: str | None = None
    prefix: str | None = None

    @cached_property
    def session(self) -> sdk.Session:
        """The SDK's session."""
        return sdk.connect(self.account, self.bucket)

    @property
    def sagemaker(self) -> Any:
        """boto3's client of SageMaker."""
        return self.session.sagemaker_client

    @property
    def project(self) -> str:
        """Begins the name of all that is made."""
        return self.account.project

    @cached_property
    def role(self) -> str:
        """The ARN of the given role, or of the caller's own.

        Raises:
            AccountError: if there is none that SageMaker can work under.
        """
        return self.account.role(self.given_role)

    @cached_property
    def image(self) -> str:
        """The address of the image in ECR.

        Raises:
            PlatformError: if it is not there.
        """
        return pushed(self.account, self.given_image or IMAGE)

    @property
    def prefix_of_project(self) -> Prefix:
        """Where in S3 all that is made goes."""
        bucket = self.bucket or default_bucket(self.account)
        return Prefix(bucket, (self.prefix or self.project).strip("/"))

    @property
    def home(self) -> str:
        """What is made goes below: s3://BUCKET/PREFIX."""
        return str(self.prefix_of_project)

    @property
    def data(self) -> str:
        """The address of the directory of channels."""
        return f"{self.home}/data"

    @property
    def tags(self) -> list[dict[str, str]]:
        """What all that is made is tagged with."""
        return self.account.tags

    def directories(self, address: str) -> list[str]:
        """Name the directories in one: s3://BUCKET/PREFIX."""
        return Prefix.of(address).directories(self.account.client("s3"))

    def make_bucket(self) -> None:
        """Make the default bucket, where it is not there yet."""
        if self.bucket is None:
            self.session.default_bucket()

    def put(self, directory: Path, name: str) -> str:
        """Copy a directory of channels to S3, below the project's prefix; return its address."""
        self.make_bucket()
        prefix = self.prefix_of_project / name
        for _ in prefix.upload(self.account.client("s3"), directory):
            pass
        return str(prefix)

    def output(self, job: str) -> str:  # noqa: ARG002  # SageMaker itself appends it
        """Return the address below which a job leaves JOB/output/model.tar.gz."""
        return f"{self.home}/jobs"

    def latest_model(self) -> str:
        """Return the address of the newest model.tar.gz of the project.

        Raises:
            JobError: if there is none.
        """
        return training_job.artefact(training_job.latest(self.sagemaker, self.project))


@dataclass(frozen=True)
class Local:
    """The SDK's local mode, with a working directory of its own."""

    session: sdk.Session
    project: str
    image: str
    home: str
    data: str
    port: int
    role: str = _NO_ROLE
    tags: list[dict[str, str]] = field(default_factory=list)

    @property
    def sagemaker(self) -> Any:
        """What local mode has in the place of boto3's client."""
        return self.session.sagemaker_client

    def directories(self, address: str) -> list[str]:
        """Name the directories in one: file://DIRECTORY."""
        directory = Path(url2pathname(urlsplit(address).path))
        return sorted(found.name for found in directory.iterdir() if found.is_dir())

    def put(self, directory: Path, name: str) -> str:  # noqa: ARG002  # it is here already
        """Return the address of a directory of channels."""
        return directory.resolve().as_uri()

    def output(self, job: str) -> str:
        """Return the address of the directory in which a job leaves model.tar.gz."""
        return f"{self.home}/{job}"

    def latest_model(self) -> str:
        """Return the address of the newest model.tar.gz of the project.

        Raises:
            PlatformError: if there is none.
        """
        found = sorted(LOCAL_OUTPUT.resolve().glob(f"{self.project}-*/model.tar.gz"))
        if not found:
            raise PlatformError(
                f"{LOCAL_OUTPUT} holds no model of the project {self.project!r}; run: "
                "python -m client train --local"
            )
        return found[-1].as_uri()


def default_bucket(account: Account) -> str:
    """Return the name of the bucket that the SDK uses, and makes when it first needs it."""
    return account.default_bucket


def pushed(account: Account, image: str) -> str:
    """Return the address of an image in ECR, by its digest: what is deployed cannot change.

    Raises:
        PlatformError: if it is not there.
    """
    if not image.startswith(account.registry) and "/" in image:
        return image  # of another account or region, where this one may be allowed no question
    name, _, tag = image.removeprefix(f"{account.registry}/").partition(":")
    tag = tag or "latest"
    try:
        found = account.client("ecr").describe_images(
            repositoryName=name, imageIds=[{"imageTag": tag}]
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in {
            "RepositoryNotFoundException",
            "ImageNotFoundException",
        }:
            raise PlatformError(
                f"There is no image {name}:{tag} in {account.registry}; push it first: "
                f"./build_and_push.sh {name} --region {account.region}"
            ) from None
        raise
    return f"{account.registry}/{name}@{found['imageDetails'][0]['imageDigest']}"


@contextmanager
def local(project: str, image: str | None, port: int = 8080) -> Iterator[Local]:
    """Give local mode, and remove its containers in the end, whatever happens.

    Raises:
        PlatformError: if Docker does not answer, or there is no such image.
    """
    image = image or IMAGE
    _expect_image(image)
    LOCAL_OUTPUT.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=".run-", dir=LOCAL_OUTPUT)).resolve()
    path = os.environ["PATH"]
    # Local mode asks AWS nothing, but its session will have a region and credentials.
    aws = boto3.Session("local-mode", "local-mode", region_name="us-east-1")
    try:
        # Where `docker compose` is none that the SDK knows, it looks for docker-compose.
        (root / "docker-compose").symlink_to(_compose())
        os.environ["PATH"] = os.pathsep.join([str(root), path])
        session = sdk.LocalSession(boto_session=aws, sagemaker_config=sdk.configuration())
        session.config = {
            "local": {
                "local_code": True,
                "container_root": str(root),
                "serving_port": port,
                # As this user: then what the containers leave can be read and removed.
                "container_config": {
                    "user": f"{os.getuid()}:{os.getgid()}",
                    "stop_grace_period": "30s",
                },
            }
        }
        yield Local(
            session=session,
            project=project,
            image=image,
            home=LOCAL_OUTPUT.resolve().as_uri(),
            data=Path("data").resolve().as_uri(),
            port=port,
        )
    finally:
        _remove_containers(root)
        os.environ["PATH"] = path
        shutil.rmtree(root, ignore_errors=True)


def _expect_image(image: str) -> None:
    if shutil.which("docker") is None or _docker("info").returncode:
        raise PlatformError("No Docker engine answers `docker info`; local mode needs one.")
    if _docker("image", "inspect", image).returncode:
        raise PlatformError(f"There is no image {image!r} here; run: make image IMAGE={image}")


def _compose() -> Path:
    """Return Docker Compose's program, which a Python package brings along.

    The package's own script drops the exit code, so a failed job would look successful.
    """
    return Path(str(resources.files("compose") / "docker-compose"))


def _remove_containers(root: Path) -> None:
    """Remove what Docker Compose started from below `root`; local mode itself leaves it."""
    for file in root.glob("*/docker-compose.yaml"):
        subprocess.run(
            [_compose(), "--file", file, "down", "--volumes", "--timeout=30"],
            capture_output=True,
            check=False,
        )


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
