"""The file that models and checkpoints are written as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from simplenet import tensors

if TYPE_CHECKING:
    from pathlib import Path


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    """Every kind and shape that a model or a checkpoint has, to the bit, and the metadata."""
    given = {
        "b": torch.arange(6, dtype=torch.float32).view(2, 3),
        "turned": torch.arange(6, dtype=torch.float32).view(2, 3).t(),
        "a": torch.tensor([0.1], dtype=torch.float64),
        "scalar": torch.tensor(-7),
        "empty": torch.zeros(0, 3),
        "odd": torch.tensor([1.5, float("inf"), float("nan")]),
    }
    tensors.write(tmp_path / "file", given, {"said": 'ä "quoted"\n'})
    with safe_open(tmp_path / "file", framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

        assert {"said": 'ä "quoted"\n'} == file.metadata()
    assert given.keys() == found.keys()
    for name, tensor in given.items():
        assert tensor.dtype == found[name].dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, equal_nan=True)
