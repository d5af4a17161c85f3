"""What AWS and its libraries refuse, as one sentence with the cure; the only place that does it."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from boto3.exceptions import S3UploadFailedError
from botocore import exceptions as botocore

from client.interruption import Left
from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGN_IN = "sign in again: aws sso login, or aws configure"

# By exception of the library, the first that fits: nothing has reached AWS.
_LOCAL = {
    botocore.ProfileNotFound: "aws configure list-profiles names those there are",
    botocore.NoCredentialsError: "run aws configure, or set AWS_PROFILE",
    botocore.PartialCredentialsError: "run aws configure, or set both key and secret",
    botocore.CredentialRetrievalError: _SIGN_IN,
    botocore.SSOError: _SIGN_IN,
    botocore.TokenRetrievalError: _SIGN_IN,
    botocore.EndpointConnectionError: "check the network, the proxy and --region",
    botocore.ConnectionError: "check the network, the proxy and --region",
    botocore.HTTPClientError: "check the network, the proxy and --region",
    botocore.ParamValidationError: "mend the option that it names",
}

_OF_ANOTHER = (
    "the bucket is another account's, or client/iam/user.json does not cover it: name one of yours "
    "with --bucket"
)
_OF_BUCKETS = {
    "HeadBucket",
    "CreateBucket",
    "ListObjectsV2",
    "ListObjectVersions",
    "PutObject",
    "GetObject",
    "HeadObject",
    "DeleteObjects",
}

# By AWS' own code.
_CODES = {
    "ExpiredToken": _SIGN_IN,
    "ExpiredTokenException": _SIGN_IN,
    "RequestExpired": f"{_SIGN_IN}; or this machine's clock is wrong",
    "InvalidClientTokenId": "the credentials are of no account: aws configure",
    "UnrecognizedClientException": "the credentials are of no account, or of another partition",
    "InvalidAccessKeyId": "the credentials are of no account: aws configure",
    "SignatureDoesNotMatch": "the secret key is wrong, or this machine's clock",
    "ResourceLimitExceeded": "ask for more at Service Quotas in the AWS console, choose another "
    "instance type, or delete what runs (python -m client status)",
    "ThrottlingException": "AWS is busy with this account; try again in a minute",
    "TooManyRequestsException": "AWS is busy with this account; try again in a minute",
    "RequestLimitExceeded": "AWS is busy with this account; try again in a minute",
    "Throttling": "AWS is busy with this account; try again in a minute",
    "SlowDown": "AWS is busy with this account; try again in a minute",
    "ResourceInUse": "the name is in use: choose another, or python -m client delete",
    "BucketAlreadyExists": _OF_ANOTHER,
    "NoSuchBucket": "name a bucket of yours with --bucket",
    "RepositoryNotFoundException": "push the image first: ./build_and_push.sh",
    "ImageNotFoundException": "push the image first: ./build_and_push.sh",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "403", "UnauthorizedOperation"}

# By words of the message, where AWS says no more than ValidationException.
_WORDS = {
    r"already exist": "the name is in use: choose another, or python -m client delete",
    r"[Aa]ssume": "its trust policy must name sagemaker.amazonaws.com (client/iam/trust.json)",
    r"[Ii]mage": "push the image first: ./build_and_push.sh",
    r"Could not find|does not exist|not found": "python -m client status lists what there is",
}


class AwsError(Refusal):
    """What AWS refused; the message says what and why, and the cure where it is known."""


@contextmanager
def translated() -> Iterator[None]:
    """Let what AWS and its libraries raise leave as an AwsError.

    Raises:
        AwsError: in place of each of these exceptions.
    """
    try:
        yield
    except botocore.ClientError as error:
        raise AwsError(_answer(error)) from error
    except botocore.BotoCoreError as error:
        cures = [cure for kind, cure in _LOCAL.items() if isinstance(error, kind)]
        raise AwsError(_sentence(str(error), *cures[:1])) from error
    except S3UploadFailedError as error:
        reason = error.__context__
        refused = isinstance(reason, botocore.ClientError)
        raise AwsError(_answer(reason) if refused else _sentence(str(error))) from error
    except _of_sdk() as error:
        raise AwsError(_sentence(str(error))) from error


@contextmanager
def undone(what: str, undo: Callable[[], object]) -> Iterator[None]:
    """Undo what the context has begun, where it fails or is interrupted.

    If that fails as well, what is left is said beside the first reason, and not in its place.

    Raises:
        Left: after an interrupt, where something is left.
    """
    try:
        yield
    except Left:
        raise  # it was said, and whoever interrupts twice wants to wait no longer
    except BaseException as error:
        try:
            with translated():
                undo()
        except Refusal as refused:
            left = str(refused)
            if isinstance(refused, AwsError):
                left = (
                    f"{what} may be left, and cost: {left} python -m client status shows it, and "
                    "delete deletes it."
                )
            if isinstance(error, KeyboardInterrupt):
                raise Left(left) from error
            sys.stderr.write(f"{left}\n")
        raise


def _of_sdk() -> tuple[type[Exception], ...]:
    """Return what the SDK raises itself, where it is in use: `doctor` works without it."""
    exceptions = sys.modules.get("sagemaker.exceptions")
    return (exceptions.UnexpectedStatusException,) if exceptions else ()


def _answer(error: botocore.ClientError) -> str:
    """Return the sentence for an answer of AWS."""
    code = error.response["Error"].get("Code", "")
    message = error.response["Error"].get("Message", code)
    operation = error.operation_name
    if code == "ModelError":  # the container's own answer
        said = error.response.get("OriginalMessage", message)
        return f"The endpoint answers HTTP {error.response.get('OriginalStatusCode')}: {said}"
    if code in _DENIED:
        action = re.search(r"perform: (\S+)", message)
        missing = action[1].rstrip(".") if action else operation
        return _sentence(
            f"AWS denies {missing}: {message}",
            _OF_ANOTHER
            if operation in _OF_BUCKETS
            else "client/iam/user.json allows all that the commands need",
        )
    cures = [_CODES[code]] if code in _CODES else []
    cures += [cure for words, cure in _WORDS.items() if re.search(words, message)]
    return _sentence(f"AWS refuses {operation} ({code}): {message}", *cures[:1])


def _sentence(said: str, cure: str = "") -> str:
    said = " ".join(said.split()).rstrip(".")
    return f"{said}; {cure}." if cure else f"{said}."


def is_missing(error: botocore.ClientError) -> bool:
    """Tell that something is not there from all else that AWS may refuse."""
    answer = error.response["Error"]
    if answer["Code"] == "ValidationException":
        return bool(re.search("[Cc]ould not find|[Nn]ot found|does not exist", answer["Message"]))
    return str(answer["Code"]) == "ResourceNotFound"


def is_denied(error: botocore.ClientError) -> bool:
    """Tell that one may not ask this."""
    return error.response["Error"]["Code"] in _DENIED


def found(operation: Callable[..., dict[str, Any]], **name: str) -> dict[str, Any] | None:
    """Return what SageMaker answers about something of a name; None if there is no such thing."""
    try:
        return operation(**name)
    except botocore.ClientError as error:
        if is_missing(error):
            return None
        raise
