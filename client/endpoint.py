"""Whatever answers SageMaker's `/invocations`, as something with `predict`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import requests

from client.refusal import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

# SageMaker itself waits 60 s for a reply.
# https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
_TIMEOUT_SECONDS = 60


class Predictor(Protocol):
    """What can be evaluated: a SageMaker `Predictor`, an `Endpoint`, a model in a test."""

    def predict(self, data: NDArray[Any], /) -> Any:
        """Return one class score, 0 to 1, for each row of `data`: (rows, features)."""


@dataclass(frozen=True)
class InParts:
    """A predictor that is asked for no more rows at a time than SageMaker lets through."""

    predictor: Predictor
    most_bytes: int = 5_000_000

    def predict(self, data: NDArray[Any], /) -> NDArray[Any]:
        """Score rows: (rows, features) -> (rows, 1)."""
        rows = max(1, self.most_bytes // (data.itemsize * data.shape[1]))
        parts = [data[start : start + rows] for start in range(0, len(data), rows)]
        return np.concatenate([np.asarray(self.predictor.predict(part)) for part in parts])


class EndpointError(Refusal):
    """An endpoint that did not score; the message says what it answered."""


@dataclass(frozen=True)
class Endpoint:
    """A container that serves on this machine or another, without SageMaker in between."""

    url: str  #: such as http://127.0.0.1:8080

    def is_healthy(self) -> bool:
        """Ask `/ping`, as SageMaker does: 200 within 2 s, or it does not count."""
        try:
            return requests.get(f"{self.url}/ping", timeout=2).status_code == HTTPStatus.OK
        except requests.RequestException:
            return False

    def invoke(self, body: bytes, content_type: str, accept: str | None = None) -> bytes:
        """Send a body of rows as it is, and return the reply's.

        Raises:
            EndpointError: if the server cannot be reached, or refuses.
        """
        headers = {"Content-Type": content_type} | ({"Accept": accept} if accept else {})
        try:
            reply = requests.post(
                f"{self.url}/invocations", data=body, headers=headers, timeout=_TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise EndpointError(f"{self.url} does not answer: {error}.") from None
        if reply.status_code != HTTPStatus.OK:
            raise EndpointError(f"{self.url} answers HTTP {reply.status_code}: {reply.text[:2000]}")
        return reply.content

    def predict(self, data: NDArray[Any], /) -> NDArray[np.float32]:
        """Score rows by POST: (rows, features) -> (rows, 1), each 0 to 1.

        Raises:
            EndpointError: if the server cannot be reached, or refuses.
        """
        body = io.BytesIO()
        np.save(body, data, allow_pickle=False)
        reply = self.invoke(body.getvalue(), "application/x-npy", "application/x-npy")
        try:
            scores: NDArray[np.float32] = np.load(io.BytesIO(reply), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            raise EndpointError(
                f"{self.url} answers {reply[:40]!r}; expected scores as application/x-npy. Is it a "
                "SimpleNet that listens there?"
            ) from None
        return scores
