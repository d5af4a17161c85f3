"""Named tensors as one safetensors file, which holds no code.

The library reads it. Written it is here: the library's own way there makes two copies of all
tensors, or a temporary file of a name that a kill would leave for SageMaker to upload.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_KINDS = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.uint8: "U8"}


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors that lie on the CPU, and what describes them; the same give the same bytes.

    "There is a limit on the size of the header of 100MB", in which the metadata is: a reader takes
    no more.
    """
    # The widest first, so that each lies where a reader may map it.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        kind, shape = _KINDS[tensors[name].dtype], [*tensors[name].shape]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(tensors[name].contiguous().view(-1).numpy().data)
