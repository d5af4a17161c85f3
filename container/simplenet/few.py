"""A network's forward pass in numpy, for few rows: torch's dispatch takes longer than their sums.

The network stays spelt once: one run of it is recorded, operation by operation. One that is not in
the table below leaves all rows to torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Step = Callable[[Array], Array]

#: More rows are torch's: from about here on it is as fast.
ROWS = 8


class _Recording(TorchFunctionMode):
    """Turns what this thread does with tensors into steps that do the same with arrays."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.made = [rows]
        self.known = True

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Do what was asked for, and add its step: from what the last one made, and constants."""
        result = func(*args, **(kwargs or {}))
        rows, *constants = args
        self.known &= (
            func in _STEPS
            and not kwargs
            and rows is self.made[-1]
            and not any(each is made for each in constants for made in self.made)
        )
        if self.known:
            arrays = (each.numpy() if isinstance(each, Tensor) else each for each in constants)
            self.steps.append(_STEPS[func](*arrays))
            self.made.append(result)
        return result


def translate(forward: Callable[[Tensor], Tensor], columns: int) -> Step | None:
    """Return `forward` as it is now, in numpy, or None where an operation of it is not known."""
    rows = torch.zeros(2, columns)
    with torch.no_grad(), _Recording(rows) as recording:
        scores = forward(rows)
    if not recording.known or scores is not recording.made[-1]:
        return None
    steps = recording.steps

    def translated(features: Array) -> Array:
        for step in steps:
            features = step(features)
        return features

    return translated


def _linear(weight: Array, bias: Array) -> Step:
    transposed = weight.T  # a view: the weights are in memory once
    return lambda rows: rows.dot(transposed) + bias


def _sigmoid() -> Step:
    # exp(-log(1 + exp(-x))) neither overflows nor loses the digits of a small score.
    nothing = np.float32(0)
    return lambda rows: np.exp(-np.logaddexp(nothing, -rows))


_STEPS: dict[Any, Callable[..., Step]] = {
    torch.sub: lambda other: lambda rows: rows - other,
    Tensor.div_: lambda other: lambda rows: rows / other,
    functional.linear: _linear,
    Tensor.tanh_: lambda: np.tanh,
    Tensor.relu_: lambda: lambda rows: np.maximum(rows, 0),
    Tensor.sigmoid_: _sigmoid,
    Tensor.view: lambda *shape: lambda rows: rows.reshape(shape),
}
