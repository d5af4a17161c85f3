"""The `/opt/ml` tree that SageMaker mounts into a container: the only place a path is spelt."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Paths:
    """Every file and directory of the container contract, below one root.

    https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
    """

    root: Path = Path("/opt/ml")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Paths:
        """Return the tree at `SAGEMAKER_BASE_DIR`, AWS's own name for it, or at `/opt/ml`."""
        return cls(Path(environment.get("SAGEMAKER_BASE_DIR") or cls.root))

    @property
    def hyperparameters(self) -> Path:
        """The job's hyperparameters: a flat JSON object of strings."""
        return self.root / "input" / "config" / "hyperparameters.json"

    @property
    def input_data_config(self) -> Path:
        """What is known of each channel: a JSON object of objects."""
        return self.root / "input" / "config" / "inputdataconfig.json"

    @property
    def resource_config(self) -> Path:
        """The hosts of the job, and which of them this is: a JSON object."""
        return self.root / "input" / "config" / "resourceconfig.json"

    @property
    def channels(self) -> Path:
        """The directory that holds one directory a channel; read-only on SageMaker."""
        return self.root / "input" / "data"

    @property
    def model(self) -> Path:
        """What becomes `model.tar.gz` after training; read-only when serving."""
        return self.root / "model"

    @property
    def model_file(self) -> Path:
        """The one file of a trained model."""
        return self.model / "model.safetensors"

    @property
    def models(self) -> Path:
        """A multi-model endpoint's models, each in a directory of its own."""
        return self.root / "models"

    @property
    def checkpoints(self) -> Path:
        """What an interrupted job finds again; there only if the job has a CheckpointConfig."""
        return self.root / "checkpoints"

    @property
    def output_data(self) -> Path:
        """What becomes `output.tar.gz` after training: all that is not the model."""
        return self.root / "output" / "data"

    @property
    def failure(self) -> Path:
        """Why the job failed: its first 1,024 characters become the job's `FailureReason`."""
        return self.root / "output" / "failure"
