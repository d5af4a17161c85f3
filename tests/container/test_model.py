"""The network and its file."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from simplenet.model import FORMAT, ModelError, SimpleNet

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

RANDOM = np.random.default_rng(0)


def drawn(input_dim: int = 3, hidden_dim: int = 5) -> SimpleNet:
    """A network with random weights and a scale of its own."""
    net = SimpleNet(input_dim, hidden_dim)
    net.draw_weights(torch.Generator().manual_seed(1))
    net.learn_scale(RANDOM.normal(3, 7, (100, input_dim)).astype(np.float32))
    return net


def test_a_saved_model_scores_the_same_when_loaded(tmp_path: Path) -> None:
    """The file alone rebuilds the network, to the bit, and leaves nothing beside it."""
    net = drawn()
    features = RANDOM.normal(size=(50, 3)).astype(np.float32)
    net.save(tmp_path / "model" / "model.safetensors")
    loaded = SimpleNet.load(tmp_path / "model" / "model.safetensors")

    assert (3, 5, 1) == (loaded.input_dim, loaded.hidden_dim, loaded.output_dim)
    np.testing.assert_array_equal(net.score(features), loaded.score(features), strict=True)
    assert ["model.safetensors"] == [path.name for path in (tmp_path / "model").iterdir()]


def test_a_model_has_one_other_name_until_it_is_whole(tmp_path: Path) -> None:
    """A kill leaves no other name behind, and this one the next write takes again (T34, T38)."""
    net, path = SimpleNet(500, 20_000), tmp_path / "model.safetensors"
    seen = set()
    with ThreadPoolExecutor() as threads:
        saved = threads.submit(net.save, path)
        while not saved.done():
            seen |= {entry.name for entry in tmp_path.iterdir()}

    assert saved.exception() is None
    assert {".model.safetensors.sagemaker-ignore"} == seen - {path.name}


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    """To the byte, so that its hash tells whether a job was repeated."""
    drawn().save(tmp_path / "one")
    SimpleNet.load(tmp_path / "one").save(tmp_path / "two")

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_anyone_may_read_a_saved_model(tmp_path: Path) -> None:
    """Serving may run as another user than training did: serverless endpoints do (H50, X27)."""
    drawn().save(tmp_path / "model.safetensors")

    assert 0o644 == (tmp_path / "model.safetensors").stat().st_mode & 0o777


def test_a_score_is_the_sigmoid_of_the_standardised_layers() -> None:
    """The network computes what its textbook formula says, checked in float64."""
    net = drawn()
    features = RANDOM.normal(3, 7, (20, 3)).astype(np.float32)
    weights = {name: value.double().numpy() for name, value in net.state_dict().items()}
    standard = (features - weights["mean"]) / weights["scale"]
    hidden = np.tanh(standard @ weights["fc1.weight"].T + weights["fc1.bias"])
    logits = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]

    np.testing.assert_allclose(net.score(features), 1 / (1 + np.exp(-logits[:, 0])), atol=1e-6)


def test_a_row_scores_the_same_alone_and_in_any_batch() -> None:
    """What else is in a request makes no difference to a row, up to a millionth."""
    net = drawn(hidden_dim=4096)
    features = RANDOM.normal(3, 7, (3000, 3)).astype(np.float32)
    together = net.score(features)
    alone = np.concatenate([net.score(features[n : n + 1]) for n in range(0, 3000, 100)])

    np.testing.assert_allclose(together[::100], alone, atol=1e-6)


def test_the_scale_is_that_of_the_training_features() -> None:
    """Standardised, data have mean 0 and variance 1; a constant column stays finite."""
    varied = RANDOM.normal([5, -1e4], [0.01, 300], (200_000, 2))
    features = np.column_stack([varied, np.full(200_000, 7.0)]).astype(np.float32)
    net = SimpleNet(3)
    net.learn_scale(features)
    standard = net.standardise(torch.from_numpy(features)).double()

    np.testing.assert_allclose(standard.mean(dim=0).tolist(), [0, 0, 0], atol=1e-3)
    np.testing.assert_allclose(standard.std(dim=0).tolist(), [1, 1, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (None, "There is no model: .* holds nothing; expected model.safetensors"),
        (b"", "cannot be read as safetensors"),
        (b"\x80\x04}.", "cannot be read as safetensors"),
    ],
    ids=["missing", "empty", "pickle"],
)
def test_a_file_that_is_no_model_is_refused(
    tmp_path: Path, file: bytes | None, sentence: str
) -> None:
    """The message says what was found; nothing in the file is run."""
    path = tmp_path / "model.safetensors"
    if file is not None:
        path.write_bytes(file)
    with pytest.raises(ModelError, match=sentence):
        SimpleNet.load(path)


def test_of_a_missing_model_the_message_says_what_is_there_instead(tmp_path: Path) -> None:
    """And how it gets there: usually the archive was packed with another root (H7)."""
    cure = "Train first, and pack model.tar.gz with the file at the archive's root."
    with pytest.raises(ModelError) as refused:
        SimpleNet.load(tmp_path / "none" / "m.safetensors")
    assert str(refused.value) == (
        f"There is no model: {tmp_path / 'none'} does not exist; expected m.safetensors. {cure}"
    )
    for name in "cbalkjihgfed":
        (tmp_path / name).touch()
    with pytest.raises(ModelError) as refused:
        SimpleNet.load(tmp_path / "m.safetensors")
    assert str(refused.value) == (
        f"There is no model: {tmp_path} holds a, b, c, d, e, f, g, h, i, j; "
        f"expected m.safetensors. {cure}"
    )


def test_a_model_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    """A file is whole or it is no model, wherever it ends."""
    path = tmp_path / "model.safetensors"
    drawn().save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 50):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="cannot be read as safetensors"):
            SimpleNet.load(path)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        (None, "is of format None; expected 'simplenet v1'"),
        ({"format": "simplenet v0"}, "is of format 'simplenet v0'; expected 'simplenet v1'"),
        ({"format": FORMAT}, "does not hold what its header says"),
        ({"format": FORMAT, "config": '{"input_dim": 9}'}, "does not hold what its header says"),
        ({"format": FORMAT, "config": '{"depth": 9}'}, "does not hold what its header says"),
        ({"format": FORMAT, "config": '{"input_dim": -1}'}, "does not hold what its header says"),
        ({"format": FORMAT, "config": "[]"}, "does not hold what its header says"),
    ],
)
def test_another_models_file_is_refused(
    tmp_path: Path, metadata: dict[str, str] | None, sentence: str
) -> None:
    """An artefact of another program or version is named as such, not misread."""
    save_file(drawn().state_dict(), tmp_path / "model.safetensors", metadata=metadata)
    with pytest.raises(ModelError, match=sentence):
        SimpleNet.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"input_dim": 10**6, "hidden_dim": 10**9, "output_dim": 1}, "does not hold what its"),
        ({"input_dim": 2, "hidden_dim": 0, "output_dim": 1}, "expected 1 or more of each"),
        ({"input_dim": 2, "hidden_dim": 20, "output_dim": 1}, "fc1.bias is torch.float64"),
    ],
    ids=["petabytes", "nothing", "float64"],
)
def test_a_header_that_promises_something_else_is_refused(
    tmp_path: Path, config: dict[str, int], sentence: str
) -> None:
    """Before any memory is taken for it."""
    path = tmp_path / "model.safetensors"
    weights = SimpleNet(2).state_dict() | {"fc1.bias": torch.zeros(20, dtype=torch.float64)}
    save_file(weights, path, {"format": FORMAT, "config": json.dumps(config)})

    with pytest.raises(ModelError, match=sentence):
        SimpleNet.load(path)


def test_a_served_model_does_not_change_with_its_file(tmp_path: Path) -> None:
    """It is read as a whole, and not as it is needed."""
    path = tmp_path / "model.safetensors"
    SimpleNet(2).save(path)
    net = SimpleNet.load(path)
    before = net.score(np.ones((1, 2), np.float32))
    with path.open("r+b") as file:
        file.seek(-8, io.SEEK_END)
        file.write(bytes(8))
        file.truncate(100)

    assert before == net.score(np.ones((1, 2), np.float32))


def test_a_model_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    """A failed save says so, and neither half a file nor none replaces the last good one."""
    path = tmp_path / "model.safetensors"
    drawn().save(path)
    before = path.read_bytes()
    with full_disk(), pytest.raises(ModelError, match="could not be written: .*File too large"):
        drawn().save(path)

    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())
