"""What a host of a training job leaves, be it a container or a process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simplenet.model import SimpleNet

if TYPE_CHECKING:
    import torch
    from simplenet.paths import Paths


@dataclass(frozen=True)
class Trained:
    """One host's `/opt/ml`."""

    paths: Paths

    @property
    def failure(self) -> str:
        """Why the job failed (T12)."""
        return self.paths.failure.read_text()

    def take_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of the model that it left; nothing is left of the job then."""
        weights = SimpleNet.load(self.paths.model_file).state_dict()
        for directory in (self.paths.model, self.paths.checkpoints):
            shutil.rmtree(directory)
        return weights
