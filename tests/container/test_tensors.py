"""The file that models and checkpoints are written as."""

from __future__ import annotations

import json
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
        "bytes": torch.tensor([1, 2, 255], dtype=torch.uint8),
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


def test_each_tensor_lies_where_a_reader_may_map_it(tmp_path: Path) -> None:
    """At a multiple of its numbers' size, whatever the others are called and hold."""
    given = {
        "a": torch.tensor([1, 2, 255], dtype=torch.uint8),
        "b": torch.ones(3),
        "c": torch.ones(1, dtype=torch.float64),
    }
    tensors.write(tmp_path / "file", given, {})
    content = (tmp_path / "file").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])

    for name, tensor in given.items():
        assert 0 == (8 + length + header[name]["data_offsets"][0]) % tensor.element_size()
