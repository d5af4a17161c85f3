"""SimpleNet, whole: layers, standardisation, scoring, and the one file it is saved in.

The file is safetensors: weights by name, and in its metadata the configuration that rebuilds the
network. Loading it runs no code, unlike a pickle.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from simplenet import few, tensors
from simplenet.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

#: Names the kind and the version of the file, so that another one is refused and not misread.
FORMAT = "simplenet v1"

_SCALE_ROWS = 64 << 10

# Scoring and training hold (rows, hidden_dim) floats at a time, and (rows, input_dim); this bounds
# either to 2 MB, which stay in the processor's cache.
_FLOATS_AT_A_TIME = 512 << 10


class ModelError(ValueError):
    """A model that cannot be loaded; the message says what was found and what to do."""


def _here(work: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return what the work finds, where there is but one host."""
    return work()


class SimpleNet(nn.Module):
    """A binary classifier with one hidden layer.

    Standardisation is part of the network: `mean` and `scale`, each of shape (input_dim,), are
    buffers that training learns from its data and that travel with the weights.
    """

    mean: Tensor
    scale: Tensor
    _few: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None

    def __init__(self, input_dim: int, hidden_dim: int = 20, output_dim: int = 1) -> None:
        super().__init__()
        if output_dim != 1:
            raise ModelError(f"output_dim is {output_dim}; expected 1: one class score a row.")
        if min(input_dim, hidden_dim) < 1:
            raise ModelError(
                f"input_dim is {input_dim} and hidden_dim {hidden_dim}; expected 1 or more of each."
            )
        self.input_dim = input_dim
        self.hidden_dim = hidden_dim
        self.output_dim = output_dim
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("scale", torch.ones(input_dim))
        self.fc1 = nn.Linear(input_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, output_dim)

    def freeze(self) -> SimpleNet:
        """Score few rows faster from now on; the weights must not change any more."""
        self._few = few.translate(self.forward, self.input_dim)
        return self

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draw the first weights: Glorot's uniform, which suits tanh, and zero biases."""
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def learn_scale(
        self,
        features: NDArray[np.float32],
        total: Callable[[Callable[[], NDArray[np.float64]]], NDArray[np.float64]] = _here,
    ) -> None:
        """Take mean and standard deviation from the training features: (rows, input_dim).

        Where the rows lie on several hosts, `total` adds up what the given work finds on each.
        """
        # In float64 and in parts: a sum of many float32 drifts, and a copy of all would be large.
        parts = [
            features[first : first + _SCALE_ROWS] for first in range(0, len(features), _SCALE_ROWS)
        ]
        nothing = np.zeros(self.input_dim)
        rows = total(lambda: np.array([float(len(features))]))
        mean = (
            total(lambda: sum((part.sum(axis=0, dtype=np.float64) for part in parts), nothing))
            / rows
        )
        variance = (
            total(lambda: sum((np.square(part - mean).sum(axis=0) for part in parts), nothing))
            / rows
        )
        # A constant column says nothing, and must not be divided by zero.
        scale = np.sqrt(variance).astype(np.float32)
        scale = np.where(scale > 0, scale, np.float32(1))
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(scale))

    def standardise(self, features: Tensor) -> Tensor:
        """Bring each feature to mean 0 and variance 1: (rows, input_dim) -> the same."""
        return torch.sub(features, self.mean).div_(self.scale)

    def logits(self, standard: Tensor) -> Tensor:
        """Return the log-odds of class 1 of standardised features: (rows, input_dim) -> (rows,)."""
        # In place, which gradients allow here: a row in a request costs two thirds of the time.
        hidden = functional.linear(standard, self.fc1.weight, self.fc1.bias).tanh_()
        return functional.linear(hidden, self.fc2.weight, self.fc2.bias).view(-1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the class scores, each from 0 to 1: (rows, input_dim) -> (rows,)."""
        return self.logits(self.standardise(features)).sigmoid_()

    @property
    def rows_at_a_time(self) -> int:
        """How many rows are computed in one part, so that what is between stays small."""
        return max(1, _FLOATS_AT_A_TIME // max(self.hidden_dim, self.input_dim))

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the class scores, each from 0 to 1: float32 (rows, input_dim) -> (rows,)."""
        if self._few is not None and len(features) <= few.ROWS:
            return self._few(features)
        step = self.rows_at_a_time
        with torch.inference_mode():
            parts = [
                self.forward(torch.from_numpy(features[first : first + step])).numpy()
                for first in range(0, len(features), step)
            ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def save(self, path: Path) -> None:
        """Write the model to `path`, whole or not at all.

        Raises:
            ModelError: if it cannot be written, for a full disk say.
        """
        config = {
            "input_dim": self.input_dim,
            "hidden_dim": self.hidden_dim,
            "output_dim": self.output_dim,
        }
        weights = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        metadata = {"format": FORMAT, "config": json.dumps(config)}
        try:
            with replacing(path) as temporary:
                tensors.write(temporary, weights, metadata)
        except OSError as error:
            raise ModelError(f"{path} could not be written: {error.strerror}.") from None

    @classmethod
    def load(cls, path: Path) -> SimpleNet:
        """Read what `save` wrote; the network is on the CPU and ready to score.

        Raises:
            ModelError: if the file is missing, cut short, or not a SimpleNet.
        """
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                metadata = file.metadata() or {}
                # Copies: the file itself may change while it is served.
                weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise ModelError(_missing(path)) from None
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} cannot be read as safetensors: {error}.") from None
        if metadata.get("format") != FORMAT:
            raise ModelError(
                f"{path} is of format {metadata.get('format')!r}; expected {FORMAT!r}. "
                "Train it again with this image."
            )
        try:
            # Without memory of its own: a header may promise more than the file has.
            with torch.device("meta"):
                net = cls(**json.loads(metadata["config"]))
            for name, expected in net.state_dict().items():
                if name in weights and weights[name].dtype != expected.dtype:
                    raise TypeError(f"{name} is {weights[name].dtype}")  # noqa: TRY301
            net.load_state_dict(weights, strict=True, assign=True)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path} does not hold what its header says: {error}.") from None
        if not all(value.isfinite().all() for value in weights.values()):
            raise ModelError(
                f"{path} holds weights that are no numbers, nan or inf. Train it again."
            )
        return net.eval().requires_grad_(requires_grad=False)


def _missing(path: Path) -> str:
    """Say what is there in place of the model."""
    found = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else None
    there = "does not exist" if found is None else f"holds {', '.join(found[:10]) or 'nothing'}"
    return (
        f"There is no model: {path.parent} {there}; expected {path.name}. "
        "Train first, and pack model.tar.gz with the file at the archive's root."
    )
