"""One model, or the many of a multi-model endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from simplenet import models as module
from simplenet.app import create_app
from simplenet.model import ModelError, SimpleNet
from simplenet.models import Models
from simplenet.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient
    from simplenet.paths import Paths


@pytest.fixture
def many(paths: Paths) -> FlaskClient:
    """A client of a multi-model endpoint with two directories of models, and 1 MB for all."""
    for name in ("small", "small2"):
        SimpleNet(2).save(paths.models / name / "model" / "model.safetensors")
    SimpleNet(2, hidden_dim=100_000).save(paths.models / "large" / "model.safetensors")
    return create_app(paths, Settings(multi_model=True, models_mb=1)).test_client()


def _entries(directory: Path) -> Path:
    entries = directory / "entries"
    entries.mkdir()
    return entries


def load(client: FlaskClient, name: Any, url: Any) -> int:
    """Load a model, as SageMaker asks."""
    return client.post("/models", json={"model_name": name, "url": url}).status_code


def test_a_model_is_loaded_listed_invoked_and_unloaded(many: FlaskClient, paths: Paths) -> None:
    """The API of AWS's multi-model server (H38, H39, H40)."""
    url = str(paths.models / "small" / "model")

    assert 404 == many.post("/models/a/invoke", data="1,2").status_code
    assert 200 == load(many, "a", url)
    assert 409 == load(many, "a", url)
    assert {"models": [{"modelName": "a", "modelUrl": url}]} == many.get("/models").get_json()
    assert {"modelName": "a", "modelUrl": url} == many.get("/models/a").get_json()
    assert 200 == many.post("/models/a/invoke", data="1,2").status_code
    assert 200 == many.delete("/models/a").status_code
    assert [404] * 3 == [
        reply.status_code
        for reply in (
            many.delete("/models/a"),
            many.get("/models/a"),
            many.post("/models/a/invoke", data="1,2"),
        )
    ]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc", "a/b/invoke", "..", "\0", "\ud800", "é" * 2000, "%2e%2e"]
)
def test_no_name_leads_out_of_the_directory(many: FlaskClient, paths: Paths, name: str) -> None:
    """The name is an identifier, and never a path (H40)."""
    before = sorted(paths.root.rglob("*"))

    assert load(many, name, str(paths.models / "small" / "model")) in {200, 400}
    assert before == sorted(paths.root.rglob("*"))


@pytest.mark.parametrize("url", ["/", "/etc", "{models}/../model", "{models}/x\0", "", 7, None])
def test_no_url_leads_out_of_the_directory(many: FlaskClient, paths: Paths, url: Any) -> None:
    """Only what SageMaker has put below /opt/ml/models is loaded."""
    url = url.format(models=paths.models) if isinstance(url, str) else url

    assert 400 == load(many, "a", url)


def test_a_model_that_never_fits_is_507(many: FlaskClient, paths: Paths) -> None:
    """507 makes SageMaker unload others, and says so to the caller (H38)."""
    assert 507 == load(many, "a", str(paths.models / "large"))
    assert {"models": []} == many.get("/models").get_json()


def test_memory_is_bounded_and_what_was_let_go_comes_back(
    tmp_path: Path, many: FlaskClient, paths: Paths
) -> None:
    """The least recently used goes first; an invocation reads it again."""
    del many
    models = Models(_entries(tmp_path), paths.models, "model.safetensors", 150 << 10)
    for name in ("a", "b", "c"):
        models.load(name, str(paths.models / "small" / "model"))
    first = models.get("c")

    assert first is models.get("c")
    assert models.get("a") is models.get("a")
    assert models.get("b") is models.get("b")
    assert first is not models.get("c")


def test_another_worker_s_models_are_ours(tmp_path: Path, many: FlaskClient, paths: Paths) -> None:
    """Whichever worker is asked, all know, and none scores with what was replaced."""
    del many
    entries = _entries(tmp_path)
    one, other = (Models(entries, paths.models, "model.safetensors", 1 << 20) for _ in range(2))
    one.load("a", str(paths.models / "small" / "model"))
    net = other.get("a")
    one.unload("a")
    with pytest.raises(module.NotLoadedError):
        other.get("a")
    one.load("a", str(paths.models / "small2" / "model"))

    assert net is not other.get("a")


def test_thousands_are_listed_by_page(tmp_path: Path, many: FlaskClient, paths: Paths) -> None:
    """Each is on one page, whatever comes and goes (H39)."""
    del many
    models = Models(_entries(tmp_path), paths.models, "model.safetensors", 1 << 20)
    for number in range(250):
        models.load(str(number), str(paths.models / "small" / "model"))
    names: list[str] = []
    token: str | None = ""
    while token is not None:
        page, token = models.page(token)
        names += [model["modelName"] for model in page]

    assert sorted(map(str, range(250))) == sorted(names)


def test_a_model_one_level_down_is_found(
    trained: Paths, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model.tar.gz packed with its directory is served, and the log says so (H7)."""
    (paths.model / "model").mkdir()
    (paths.model / "model" / "model.safetensors").write_bytes(trained.model_file.read_bytes())
    client = create_app(paths).test_client()

    assert 200 == client.post("/invocations", data="1,2").status_code
    assert "Pack model.tar.gz with the file at the archive's root." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:-10], "cannot be read as safetensors"),
        (lambda _: b"", "cannot be read as safetensors"),
        (lambda _: b"\x80\x04junk", "cannot be read as safetensors"),
        (lambda content: content.replace(b"simplenet v1", b"simplenet v0"), "'simplenet v0'; exp"),
    ],
)
def test_a_damaged_model_is_a_sentence(
    trained: Paths, paths: Paths, damage: Any, sentence: str
) -> None:
    """Truncated, empty, a pickle, or of an older format: it says which file, and what it is."""
    paths.model_file.write_bytes(damage(trained.model_file.read_bytes()))

    with pytest.raises(ModelError, match=sentence):
        create_app(paths)
