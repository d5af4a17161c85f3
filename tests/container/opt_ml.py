"""What a test puts into `/opt/ml` for a job, and what it finds there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from simplenet import job, metrics
from simplenet.model import SimpleNet
from simplenet.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from simplenet.paths import Paths


def put(paths: Paths, channel: str, rows: np.ndarray, name: str = "data.csv") -> None:
    """Write rows, the label first, into a channel."""
    (paths.channels / channel).mkdir(exist_ok=True)
    np.savetxt(paths.channels / channel / name, rows, delimiter=",")


def weights(paths: Paths) -> dict[str, torch.Tensor]:
    """Return the weights of the model that a job left."""
    return SimpleNet.load(paths.model_file).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Return whether two models are equal, bit for bit."""
    return all(value.equal(other[name]) for name, value in one.items())


def kept(paths: Paths) -> str:
    """Return the last line of metrics that a job must have logged, by what it left as a file."""
    return f"final: {metrics.line(json.loads((paths.output_data / 'metrics.json').read_text()))}"


def checkpointed(paths: Paths, **more: str) -> list[Path]:
    """Run a job that leaves checkpoints; return them, oldest first."""
    knobs = {"epochs": "4", "checkpoint_epochs": "1", **more}
    paths.hyperparameters.write_text(json.dumps(knobs))
    job.train(paths, Stop())
    return sorted(paths.checkpoints.glob("checkpoint-*.safetensors"))
