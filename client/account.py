"""One AWS account in one region, and what this project is called there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The tag by which `status` and `delete` know what is this project's.
TAG = "simplenet:project"

# Throttling is waited out; https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html
_ATTEMPTS = {} if "AWS_MAX_ATTEMPTS" in os.environ else {"max_attempts": 8}
_RETRIES = Config(retries={"mode": "adaptive", **_ATTEMPTS})

_ROLE_SERVICE = "sagemaker.amazonaws.com"


class AccountError(Refusal):
    """An account that cannot be worked in; the message says what is missing, and the cure."""


@dataclass(frozen=True)
class Account:
    """One AWS account in one region."""

    aws: boto3.Session
    project: str  #: tags, and begins the name of, everything that is made

    @classmethod
    def of(cls, project: str, region: str | None = None, profile: str | None = None) -> Account:
        """Return the account of the user's credentials; nothing is asked of AWS yet.

        Raises:
            AccountError: if no region is known.
        """
        aws = boto3.Session(region_name=region, profile_name=profile)
        if not aws.region_name:
            raise AccountError(
                "No AWS region is set; give --region, or set AWS_DEFAULT_REGION, or run: "
                "aws configure"
            )
        return cls(aws, project)

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        return self.aws.client(service, config=_RETRIES)

    @property
    def region(self) -> str:
        """Such as eu-west-1."""
        return str(self.aws.region_name)

    @cached_property
    def _identity(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.client("sts").get_caller_identity()
        return found

    @property
    def number(self) -> str:
        """The account's twelve digits."""
        return self._identity["Account"]

    @property
    def caller(self) -> str:
        """The ARN of whoever asks."""
        return self._identity["Arn"]

    @property
    def principal(self) -> str:
        """The ARN of the user or role whose policies say what the caller may do."""
        if ":assumed-role/" not in self.caller:
            return self.caller
        role = self.client("iam").get_role(RoleName=self.caller.split("/")[1])["Role"]
        return str(role["Arn"])

    @property
    def partition(self) -> str:
        """Of regions that share an account, such as `aws` or `aws-cn`."""
        return str(self.aws.get_partition_for_region(self.region))

    @property
    def tags(self) -> list[dict[str, str]]:
        """What everything that is made is tagged with."""
        return [{"Key": TAG, "Value": self.project}]

    @property
    def registry(self) -> str:
        """The host of the account's images."""
        known = botocore.session.get_session().get_component("endpoint_resolver")
        domain = known.get_partition_dns_suffix(self.partition)
        return f"{self.number}.dkr.ecr.{self.region}.{domain}"

    @property
    def default_bucket(self) -> str:
        """The name of the bucket that the SDK uses, and makes when it first needs it."""
        return f"sagemaker-{self.region}-{self.number}"

    def role(self, given: str | None) -> str:
        """Return the ARN of the role that SageMaker works under: the given one, or the caller's.

        Raises:
            AccountError: if there is none, or SageMaker may not assume it.
        """
        if given is None:
            return self._own_role()
        name = given.rsplit("/", 1)[-1] if given.startswith("arn:") else given
        try:
            role = self.client("iam").get_role(RoleName=name)["Role"]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "NoSuchEntity":
                raise AccountError(
                    f"There is no role {name!r} in account {self.number}; expected the execution "
                    "role that SageMaker is to work under (docs/cloud.md says how to make it)."
                ) from None
            if code in {"AccessDenied", "AccessDeniedException"} and given.startswith("arn:"):
                return given  # whoever may not read roles may still pass this one
            raise
        if _ROLE_SERVICE not in str(role["AssumeRolePolicyDocument"]):
            raise AccountError(
                f"SageMaker may not assume the role {name!r}: {_ROLE_SERVICE} is not in its trust "
                "policy (client/iam/trust.json is one that works)."
            )
        return str(role["Arn"])

    def _own_role(self) -> str:
        """Return the role of the caller: in SageMaker's own notebooks, that is the right one."""
        if ":assumed-role/" not in self.caller:
            raise AccountError(
                f"{self.caller} is no role; give --role, the execution role that SageMaker is to "
                "work under (docs/cloud.md says how to make it)."
            )
        return self.role(self.caller.split("/")[1])
