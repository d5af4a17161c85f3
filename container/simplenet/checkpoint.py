"""Checkpoints: what a job that was interrupted continues from, as if it had not been.

SageMaker keeps the directory in S3 and copies it back to the instance that takes over. It leaves
marker files beside what it copies, and does not copy what ends in `.sagemaker-ignore`.
https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from simplenet.atomic import IGNORED, replacing
from simplenet.tensors import write

if TYPE_CHECKING:
    from pathlib import Path

    from simplenet.state import State

log = logging.getLogger("train")

#: Names the kind and the version of the file, so that another one is refused and not misread.
FORMAT = "simplenet checkpoint v2"

# Two, so that there is one left when the last turns out to be damaged.
_KEPT = 2


class CheckpointError(ValueError):
    """A checkpoint that cannot be used or written; the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """One that was read: what `State.restore` takes."""

    path: Path
    tensors: dict[str, torch.Tensor]
    history: list[dict[str, float]]


@dataclass
class Checkpoints:
    """The checkpoints of one job; without a directory there are none."""

    directory: Path | None
    fingerprint: dict[str, Any]  #: what its numbers depend on: settings, hosts, data, first weights
    seconds: float = 30.0
    epochs: int = 0
    _written: float = field(default_factory=time.monotonic)
    _own: list[Path] = field(default_factory=list)  #: of this job, oldest first

    def due(self, state: State) -> bool:
        """Return whether it is time for the next one."""
        if self.directory is None:
            return False
        whole = state.step == 0 and self.epochs and state.epoch % self.epochs == 0
        return bool(whole) or time.monotonic() - self._written >= self.seconds

    def write(self, state: State) -> Path | None:
        """Write the state, whole or not at all, and remove all of this job's but the newest two.

        Weights that are no numbers are not written: nothing could come of them.
        """
        if self.directory is None or not state.finite():
            return None
        name = f"checkpoint-{state.epoch:07}-{state.step:010}.safetensors"
        tensors = {name: tensor.cpu() for name, tensor in state.tensors().items()}
        # Not among the metadata, of which a reader takes only so much.
        history = bytearray(json.dumps(state.history).encode())
        tensors["history"] = torch.frombuffer(history, dtype=torch.uint8)
        metadata = {
            "format": FORMAT,
            "fingerprint": json.dumps(self.fingerprint),
        }
        metadata["checksum"] = str(_checksum(tensors, metadata))
        path = self.directory / name
        try:
            with replacing(path) as temporary:
                write(temporary, tensors, metadata)
            self._own = [*(own for own in self._own if own != path), path]
            # What a kill left half written: its step may not be written again.
            halves = self.directory.glob(f".checkpoint-*{IGNORED}")
            for old in [*self._own[:-_KEPT], *halves]:
                old.unlink(missing_ok=True)
            del self._own[:-_KEPT]
        except OSError as error:
            raise CheckpointError(f"{path} could not be written: {error.strerror}.") from None
        finally:
            self._written = time.monotonic()  # also of one that failed: not each step tries again
        return path

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that can be used.

        One that cannot is named in the log, and the one before it is tried.
        """
        usable = []
        for path in self._found():
            try:
                usable.append(_read(path, self.fingerprint))
            except CheckpointError as error:  # noqa: PERF203  # there are few
                log.warning("%s", error)
        self._own = [found.path for found in reversed(usable)]
        return usable[0] if usable else None

    def _found(self) -> list[Path]:
        """Return the checkpoints, newest first; markers and temporary names are none."""
        if self.directory is None:
            return []
        return sorted(self.directory.glob("checkpoint-*.safetensors"), reverse=True)


def _read(path: Path, fingerprint: dict[str, Any]) -> Checkpoint:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged and is passed over: {error}.") from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is of format {metadata.get('format')!r} and is passed over; "
            f"expected {FORMAT!r}."
        )
    if metadata.pop("checksum", None) != str(_checksum(tensors, metadata)):
        raise CheckpointError(f"{path} is damaged and is passed over: its checksum is wrong.")
    theirs = json.loads(metadata["fingerprint"])
    if fingerprint != {name: theirs.get(name) for name in fingerprint}:
        raise CheckpointError(
            f"{path} is of a job with other data, hyperparameters or hosts and is passed over."
        )
    history = json.loads(tensors.pop("history").numpy().tobytes())
    return Checkpoint(path, tensors, history)


def _checksum(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> int:
    """Return a number that changes with any bit of the tensors, or of what describes them."""
    total = zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {[*tensor.shape]}".encode(), total)
        total = zlib.crc32(tensor.contiguous().numpy().tobytes(), total)
    return total
