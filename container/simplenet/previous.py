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
from typing import IO, cast

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
    # Where the channel is all that a job left, output.tar.gz lies beside it.
    archives = [path for path in archives if path.name == "model.tar.gz"] or archives
    if len(plain) + len(archives) != 1:
        found = [str(path.relative_to(directory)) for path in files]
        raise ModelError(
            f"Channel 'model' ({directory}) holds {', '.join(found[:10]) or 'nothing'}; expected "
            f"one model: a model.tar.gz that an earlier job left, or its {_NAME}. Hidden and "
            "marker files do not count."
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
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / _NAME
        try:
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                members = [each for each in tar if each.isfile() and _is_model(each)]
                # The checksum of it all comes last, and tells whether the numbers are right.
                while stream.read(1 << 20):
                    pass
                if len(members) != 1:
                    raise ModelError(
                        f"{archive} holds {len(members) or 'no'} {_NAME}; expected one, as an "
                        "earlier job of this image left it."
                    )
                if members[0].size > limit:
                    raise ModelError(
                        f"{archive} holds a {_NAME} of {members[0].size:,} bytes; this job's model "
                        f"has at most {limit:,}. It is of another shape."
                    )
                with cast("IO[bytes]", tar.extractfile(members[0])) as content:
                    _copy(content, path)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ModelError(
                f"{archive} is not a whole gzip-compressed tar archive: {error}."
            ) from None
        try:
            return SimpleNet.load(path)
        except ModelError as error:
            raise ModelError(str(error).replace(str(path), f"{_NAME} in {archive}")) from None


def _is_model(member: tarfile.TarInfo) -> bool:
    return PurePosixPath(member.name).name == _NAME


def _copy(content: IO[bytes], path: Path) -> None:
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise
        raise ModelError(
            f"The model in channel 'model' cannot be unpacked to {path.parent}: {error.strerror}."
        ) from None
