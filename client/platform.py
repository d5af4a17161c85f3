"""Where the SDK's calls go: what commands ask of it, and SageMaker in an AWS account."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from client import cleanup, interruption, names, provenance, sdk, training_job
from client.refusal import Refusal
from client.storage import Prefix, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from client.account import Account
    from client.provenance import Training
    from client.training_job import TrainingJob


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

    def address(self, given: str) -> str:
        """Return what a user names as an address: s3://, or in local mode a path."""

    def directories(self, address: str) -> list[str]:
        """Name the directories in one, s3:// or file://."""

    def put(self, path: Path, name: str) -> str:
        """Give a file or directory an address that a job can read."""

    def remove(self, name: str) -> None:
        """Remove again what was put, where no job has come to use it."""

    def output(self, job: str) -> str:
        """Return the address below which a job leaves model.tar.gz and output.tar.gz."""

    def latest_model(self) -> str:
        """Return the address of the newest model.tar.gz of the project."""

    def batch(self, job: str) -> str:
        """Return the address of a batch job's input and output."""

    def download(self, address: str, directory: Path) -> list[Path]:
        """Copy what is at an address into a directory; return the files there."""

    def training(self, job: TrainingJob, description: dict[str, Any]) -> Training:
        """Return where the model of a job that ended well comes from."""


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
        return pushed(self.account, self.given_image or names.IMAGE)

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

    def address(self, given: str) -> str:
        """Return what a user names as an address: s3://BUCKET/KEY.

        Raises:
            StorageError: if it is not that.
        """
        Prefix.of(given)
        return given

    def directories(self, address: str) -> list[str]:
        """Name the directories in one: s3://BUCKET/PREFIX."""
        return Prefix.of(address).directories(self.account.client("s3"))

    def make_bucket(self) -> None:
        """Make the default bucket, where it is not there yet."""
        if self.bucket is None:
            self.session.default_bucket()

    def put(self, path: Path, name: str) -> str:
        """Copy a file or directory to S3, below the project's prefix; return its address."""
        self.make_bucket()
        prefix = self.prefix_of_project / name
        for _ in prefix.upload(self.account.client("s3"), path):
            pass
        return str(prefix)

    def remove(self, name: str) -> None:
        """Delete from S3 what was put."""
        with interruption.undisturbed():
            for step in cleanup.data(self.account, self.prefix_of_project / name):
                step.do()

    def output(self, job: str) -> str:  # noqa: ARG002  # SageMaker itself appends it
        """Return the address below which a job leaves JOB/output/model.tar.gz."""
        return f"{self.home}/jobs"

    def latest_model(self) -> str:
        """Return the address of the newest model.tar.gz of the project.

        Raises:
            JobError: if there is none.
        """
        return training_job.artefact(training_job.latest(self.sagemaker, self.project))

    def batch(self, job: str) -> str:
        """Return the address of a batch job's input and output."""
        return f"{self.home}/batch/{job}"

    def download(self, address: str, directory: Path) -> list[Path]:
        """Copy what is at an address into a directory; return the files there.

        Raises:
            StorageError: if nothing is there, or a name in it leads out of the directory.
        """
        source, s3 = Prefix.of(address), self.account.client("s3")
        keys = [found["Key"].removeprefix(f"{source.key}/") for found in source.objects(s3)]
        if not keys:
            raise StorageError(f"{address} is empty; expected what the job has written.")
        if strange := [key for key in keys if ".." in key.split("/")]:
            raise StorageError(f"{address} has {strange[0]!r}, which leads out of {directory}.")
        for key in keys:
            source.download(s3, key, directory / key)
        return [directory / key for key in keys]

    def training(self, job: TrainingJob, description: dict[str, Any]) -> Training:  # noqa: ARG002  # SageMaker keeps it
        """Return where the model of a job that ended well comes from."""
        return provenance.of_job(self.account, job.name)


def default_bucket(account: Account) -> str:
    """Return the name of the bucket that the SDK uses, and makes when it first needs it."""
    return account.default_bucket


def pushed(account: Account, image: str) -> str:
    """Return the address of an image in ECR, by its digest: what is deployed cannot change.

    Raises:
        PlatformError: if it is not there.
    """
    registry, name, version = names.parts(image)
    if registry not in {"", account.registry}:
        return image  # of another account or region, where this one may be allowed no question
    key = "imageDigest" if version.startswith("sha256:") else "imageTag"
    try:
        found = account.client("ecr").describe_images(
            repositoryName=name, imageIds=[{key: version}]
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in {
            "RepositoryNotFoundException",
            "ImageNotFoundException",
        }:
            raise PlatformError(
                f"There is no image {name}:{version} in {account.registry}; push it first: "
                f"{names.push_command(name, version, account.region)}"
            ) from None
        raise
    return f"{account.registry}/{name}@{found['imageDetails'][0]['imageDigest']}"
