"""The channel `model`: an earlier job's model, from which this one goes on (incremental training).

SageMaker puts the earlier job's `model.tar.gz` there as it is, unextracted.
https://docs.aws.amazon.com/sagemaker/latest/dg/incremental-training.html
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from simplenet.channel import is_data
from simplenet.model import ModelError, SimpleNet
from simplenet.paths import Paths

_NAME = Paths().model_file.name


def load(directory: Path, like: SimpleNet) -> SimpleNet:
    """Return the model in a channel, as `model.tar.gz` or as a plain file.

    Raises:
        ModelError: if there is none, or it has another shape than `like`.
    """
    files = [path for path in sorted(directory.rglob("*")) if is_data(path, directory)]
    plain = [path for path in files if path.name == _NAME]
    archives = [path for path in files if path.name.endswith(".tar.gz")]
    # All that a job left has an output.tar.gz beside it.
    archives = [path for path in archives if path.name == "model.tar.gz"] or archives
    if len(plain) + len(archives) != 1:
        found = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
        raise ModelError(
            f"Channel 'model' ({directory}) holds {', '.join(found[:10]) or 'nothing'}; expected "
            f"one model: a model.tar.gz that an earlier job left, or its {_NAME}."
        )
    net = SimpleNet.load(plain[0]) if plain else _unpack(archives[0], like)
    for name in ("input_dim", "hidden_dim"):
        theirs, ours = getattr(net, name), getattr(like, name)
        if theirs != ours:
            cure = "Train on data of that many features" if name == "input_dim" else "Pass it"
            raise ModelError(
                f"The model in channel 'model' has {name} {theirs:,}; this job has {ours:,}. "
                f"{cure}, or leave the channel out."
            )
    return net


def _unpack(archive: Path, like: SimpleNet) -> SimpleNet:
    """Load the one member that is a model; no other is written anywhere, whatever its name is."""
    # A model of the right shape is little more than its numbers: anything far larger is none.
    limit = 2 * sum(4 * tensor.numel() for tensor in like.state_dict().values()) + (1 << 20)
    net = None
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if PurePosixPath(member.name).name != _NAME or not member.isfile() or net:
                    continue
                content = tar.extractfile(member)
                if content is None or member.size > limit:
                    raise ModelError(
                        f"{archive} holds a {_NAME} of {member.size:,} bytes; this job's model has "
                        f"at most {limit:,}. It is of another shape."
                    )
                with content:
                    net = _load(content, archive)
            # The checksum of it all comes last.
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ModelError(
            f"{archive} is not a whole gzip-compressed tar archive: {error}."
        ) from None
    if net is None:
        raise ModelError(
            f"{archive} holds no {_NAME}; expected what an earlier job of this image left."
        )
    return net


def _load(content: IO[bytes], archive: Path) -> SimpleNet:
    """Load a model from an archive, by which it is named where it cannot be."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / _NAME
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
        try:
            return SimpleNet.load(path)
        except ModelError as error:
            raise ModelError(str(error).replace(str(path), f"{_NAME} in {archive}")) from None
