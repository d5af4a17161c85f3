"""This model behind LitServe, with the paths and the JSON of SageMaker.

python -m benchmarks.peers.litserve_server PORT
"""

import sys
from typing import Any

import litserve
import numpy as np
import torch
from fastapi import Request
from simplenet.model import SimpleNet
from simplenet.paths import Paths


class Api(litserve.LitAPI):  # type: ignore[misc]  # has no types where the peers are not installed
    """A JSON document of instances to one of predictions."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's own signature
        """Load the model once a worker."""
        torch.set_num_threads(1)
        self.net = SimpleNet.load(Paths.from_environment().model_file)

    def decode_request(self, request: Request) -> np.ndarray:
        """Return the features: (rows, input_dim); LitServe has parsed the body by then."""
        return np.array([row["features"] for row in request["instances"]], dtype=np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the scores: (rows,)."""
        return self.net.score(x)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        """Return the reply."""
        return {"predictions": [{"score": score} for score in output.tolist()]}


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(api_path="/invocations"), accelerator="cpu", healthcheck_path="/ping"
    )
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False)
