"""Rows sent to an endpoint of SageMaker, and the scores that come back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from client import interruption, names
from client.refusal import Refusal
from client.storage import Prefix

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_SECONDS = 1


class InvocationError(Refusal):
    """Rows that were not scored; the message has the container's own sentence."""


@dataclass(frozen=True)
class Request:
    """A body of rows, and what is wanted of it."""

    body: bytes
    content_type: str
    accept: str | None = None
    model: str | None = None  #: which of many: the rest of its model.tar.gz's address


def invoke(runtime: Any, endpoint: str, request: Request) -> bytes:
    """Send a body of rows to an endpoint as it is, and return the reply's.

    Raises:
        InvocationError: if the container refuses.
    """
    wanted = {"Accept": request.accept, "TargetModel": request.model}
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint,
            Body=request.body,
            ContentType=request.content_type,
            **{name: value for name, value in wanted.items() if value},
        )
    except runtime.exceptions.ModelError as error:
        said = error.response.get("OriginalMessage") or error.response["Error"]["Message"]
        code = error.response.get("OriginalStatusCode", "an error")
        raise InvocationError(f"{endpoint} answers HTTP {code}: {said}") from None
    reply: bytes = answer["Body"].read()
    return reply


@dataclass(frozen=True)
class Queue:
    """An asynchronous endpoint, which takes its rows from S3 and leaves its replies there."""

    endpoint: str
    address: Prefix
    runtime: Any  #: boto3's client of endpoints
    s3: Any  #: boto3's client

    def invoke(self, request: Request, say: Callable[[str], None], seconds: float = 3600) -> bytes:
        """Put a body of rows into the queue; return the reply's when it is there.

        Raises:
            InvocationError: if the container refuses, or there is no reply for too long.
            Left: after an interrupt, since nothing takes rows out of the queue.
        """
        rows = self.address / "requests" / names.unique(self.endpoint)
        self.s3.put_object(Bucket=rows.bucket, Key=rows.key, Body=request.body)
        answer = self.runtime.invoke_endpoint_async(
            EndpointName=self.endpoint,
            InputLocation=str(rows),
            ContentType=request.content_type,
            **({"Accept": request.accept} if request.accept else {}),
        )
        later = f"its reply to {rows} will be {answer['OutputLocation']}."
        began = time.monotonic()
        try:
            while (passed := time.monotonic() - began) < seconds:
                reply = self._read(answer["OutputLocation"])
                if reply is not None:
                    return reply
                failure = self._read(answer.get("FailureLocation"))
                if failure is not None:
                    said = failure.decode("utf-8", "replace")
                    raise InvocationError(f"{self.endpoint} does not score {rows}: {said}")
                say(f"{self.endpoint}: no reply yet, {passed:.0f} s")
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            raise interruption.Left(f"{self.endpoint} goes on; {later}") from None
        raise InvocationError(f"{self.endpoint} has not answered within {seconds:.0f} s; {later}")

    def _read(self, address: str | None) -> bytes | None:
        """Return what an object holds; None if it is not there."""
        if not address:
            return None
        found = Prefix.of(address)
        try:
            held: bytes = self.s3.get_object(Bucket=found.bucket, Key=found.key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return held
