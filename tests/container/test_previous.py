"""A job that goes on from the model of another."""

from __future__ import annotations

import io
import math
import tarfile
from typing import TYPE_CHECKING

import pytest
import torch
from simplenet.model import SimpleNet

from tests.container.opt_ml import weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from simplenet.paths import Paths


def packed(members: dict[str, bytes]) -> bytes:
    """Return an archive of members under any names, however unsafe."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("archive", [True, False], ids=["model.tar.gz", "plain"])
def test_training_goes_on_from_the_model_channel(
    split: Paths, train: Callable[..., int], trained: Paths, *, archive: bool
) -> None:
    """As model.tar.gz, just as an earlier job left it, or as a plain file (T32); what else an
    archive holds is written nowhere.
    """
    model = split.channels / "model"
    model.mkdir()
    content = trained.model_file.read_bytes()
    if archive:
        members = {"../../escaped": b"x", "/tmp/escaped": b"x", "./model.safetensors": content}  # noqa: S108
        (model / "model.tar.gz").write_bytes(packed(members))
    else:
        (model / "model.safetensors").write_bytes(content)

    assert 0 == train(epochs=1, lr=1e-8)
    for name, value in weights(trained).items():
        torch.testing.assert_close(value, weights(split)[name], atol=1e-5, rtol=0)
    assert not list(split.root.rglob("escaped"))


#: Stands for the file of a model with three features.
OTHER = b"three"

#: Stands for that of a model with a weight that is nan.
NAN = b"nan"


@pytest.mark.parametrize("beside", ["._model.tar.gz", ".model.tar.gz", "output.tar.gz"])
def test_what_lies_beside_the_model_does_not_count(
    split: Paths, train: Callable[..., int], trained: Paths, beside: str
) -> None:
    """Hidden files do not, as in any channel, nor does the rest of a job's output (T32)."""
    model = split.channels / "model"
    model.mkdir()
    content = trained.model_file.read_bytes()
    (model / "model.tar.gz").write_bytes(packed({"model.safetensors": content}))
    (model / beside).write_bytes(b"of no concern")

    assert 0 == train(epochs=1), split.failure.read_text()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_an_archive_that_is_damaged_behind_its_model_is_refused(
    split: Paths, train: Callable[..., int], trained: Paths, damage: str
) -> None:
    """Gzip's checksum comes last, and only then is it known whether the weights are right (T32)."""
    archive = split.channels / "model" / "model.tar.gz"
    archive.parent.mkdir()
    content = bytearray(packed({"model.safetensors": trained.model_file.read_bytes()}))
    if damage == "cut":
        del content[-8:]
    else:
        content[-8] ^= 1
    archive.write_bytes(content)

    assert 1 == train()
    assert "is not a whole gzip-compressed tar archive" in split.failure.read_text()


EMPTY = packed({"model.pkl": b"x", "model.safetensors/x": b""})
BROKEN = packed({"model.safetensors": b"no weights"})
TWO = packed({"model.safetensors": b"x", "old/model.safetensors": b"x"})
HUGE = packed({"model.safetensors": bytes(2_000_000)})


@pytest.mark.parametrize(
    ("files", "knobs", "sentence"),
    [
        ({}, {}, "expected one model: a model.tar.gz"),
        ({"a.tar.gz": b"", "b.tar.gz": b""}, {}, "holds a.tar.gz, b.tar.gz; expected one model"),
        ({"model.tar.gz": b"no gzip"}, {}, "is not a whole gzip-compressed tar archive"),
        ({"model.tar.gz": EMPTY}, {}, "holds no model.safetensors; expected one, as an earlier"),
        ({"model.tar.gz": BROKEN}, {}, "model.tar.gz cannot be read as safetensors"),
        ({"model.tar.gz": TWO}, {}, "holds 2 model.safetensors; expected one"),
        ({"_v1": b""}, {}, "holds nothing; expected one model"),
        ({"model.tar.gz": HUGE}, {}, "holds a model.safetensors of 2,000,000 bytes; this job's m"),
        ({"model.safetensors": b""}, {}, "cannot be read as safetensors"),
        ({"model.tar.gz": None}, {"hidden_dim": 9}, "has hidden_dim 20; this job has 9. Pass it"),
        ({"model.safetensors": OTHER}, {}, "input_dim 3; this job has 2. Train on data of"),
        ({"model.safetensors": NAN}, {}, "holds weights that are no numbers, nan or inf."),
    ],
)
def test_a_model_channel_that_cannot_be_used_is_refused(
    split: Paths,
    train: Callable[..., int],
    trained: Paths,
    files: dict[str, bytes | None],
    knobs: dict[str, int],
    sentence: str,
) -> None:
    """With what is in it and what was expected (T12, T32)."""
    model = split.channels / "model"
    model.mkdir()
    for name, content in files.items():
        if content is None:
            members = {"model.safetensors": trained.model_file.read_bytes()}
            (model / name).write_bytes(packed(members))
        elif content == OTHER:
            SimpleNet(3).save(model / name)
        elif content == NAN:
            net = SimpleNet(2)
            torch.nn.init.constant_(net.fc1.bias, math.nan)
            net.save(model / name)
        else:
            (model / name).write_bytes(content)

    assert 1 == train(**knobs)
    assert sentence in split.failure.read_text()
    assert [] == list(split.model.iterdir())
