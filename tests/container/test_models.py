"""One model, or the many of a multi-model endpoint."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simplenet import models as module
from simplenet.app import create_app
from simplenet.model import ModelError, SimpleNet
from simplenet.models import Models
from simplenet.paths import Paths
from simplenet.settings import Settings

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse


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


def loading(client: FlaskClient, name: Any, url: Any) -> TestResponse:
    """Load a model, as SageMaker asks."""
    return client.post("/models", json={"model_name": name, "url": url})


def load(client: FlaskClient, name: Any, url: Any) -> int:
    """Load a model; return the status."""
    return loading(client, name, url).status_code


def test_a_model_is_loaded_listed_invoked_and_unloaded(many: FlaskClient, paths: Paths) -> None:
    """The API of AWS's multi-model server (H38, H39, H40)."""
    url = str(paths.models / "small" / "model")

    assert 404 == many.post("/models/a/invoke", data="1,2").status_code
    assert {"modelName": "a", "modelUrl": url} == loading(many, "a", url).get_json()
    taken = loading(many, "a", url)
    assert 409 == taken.status_code
    assert "Model 'a' is loaded already; unload it first." == taken.get_json()["error"]
    assert {"models": [{"modelName": "a", "modelUrl": url}]} == many.get("/models").get_json()
    assert {"modelName": "a", "modelUrl": url} == many.get("/models/a").get_json()
    assert 200 == many.post("/models/a/invoke", data="1,2").status_code
    assert 200 == many.delete("/models/a").status_code
    for reply in (
        many.delete("/models/a"),
        many.get("/models/a"),
        many.post("/models/a/invoke", data="1,2"),
    ):
        assert 404 == reply.status_code
        assert "Model 'a' is not loaded; POST /models loads one." == reply.get_json()["error"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc", "a/b/invoke", "..", "\0", "\ud800", "é" * 2000, "%2e%2e"]
)
def test_no_name_leads_out_of_the_directory(many: FlaskClient, paths: Paths, name: str) -> None:
    """The name is an identifier, and never a path (H40)."""
    before = sorted(paths.root.rglob("*"))

    assert load(many, name, str(paths.models / "small" / "model")) in {200, 400}
    assert before == sorted(paths.root.rglob("*"))


@given(name=st.text(min_size=1) | st.from_regex(r"[/.%?#;a\n ]{1,9}", fullmatch=True))
def test_what_can_be_loaded_can_be_unloaded(name: str) -> None:
    """A name that no path leads to is refused, for its memory would never be free again (H40)."""
    with TemporaryDirectory() as root:
        paths = Paths(Path(root))
        SimpleNet(2).save(paths.models / "model.safetensors")
        client = create_app(paths, Settings(multi_model=True)).test_client()
        loaded = load(client, name, str(paths.models))
        path = "/models/" + quote(name, safe="")
        answers = (
            client.get(path),
            client.post(f"{path}/invoke", data="1,2"),
            client.delete(path),
            client.get(path),
        )

        assert loaded in {200, 400}
        if loaded == 200:
            assert [200, 200, 200, 404] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("name", ["/a", "/", "a\nb", "a" * 513])
def test_a_name_that_no_path_leads_to_is_a_sentence(
    many: FlaskClient, paths: Paths, name: str
) -> None:
    """It says what a name may be (H27)."""
    asked = {"model_name": name, "url": str(paths.models / "small" / "model")}
    reply = many.post("/models", json=asked)

    assert 400 == reply.status_code
    assert f"model_name is {name[:80]!r}; expected at most 512" in reply.get_json()["error"]


@pytest.mark.parametrize("path", ["/invocations", "/models/", "/", "/model"])
def test_a_path_that_is_none_here_is_told_those_that_are(many: FlaskClient, path: str) -> None:
    """A multi-model endpoint has no /invocations (H39), and its sentence does not say so (H27)."""
    reply = many.post(path, data="1,2")

    assert 404 == reply.status_code
    assert reply.get_json()["error"].endswith("POST /models, or POST /models/NAME/invoke.")


@pytest.mark.parametrize("url", ["/", "/etc", "{models}/../model", "{models}/x\0", "", 7, None])
def test_no_url_leads_out_of_the_directory(many: FlaskClient, paths: Paths, url: Any) -> None:
    """Only what SageMaker has put below /opt/ml/models is loaded."""
    url = url.format(models=paths.models) if isinstance(url, str) else url

    assert 400 == load(many, "a", url)


def test_a_model_that_never_fits_is_507(many: FlaskClient, paths: Paths) -> None:
    """507 makes SageMaker unload others, and says so to the caller (H38); the file's size is enough
    to know, and a terabyte of nothing is not read.
    """
    huge = paths.models / "huge"
    huge.mkdir()
    with (huge / "model.safetensors").open("wb") as file:
        file.truncate(1 << 40)

    for name in ("large", "huge"):
        size = (paths.models / name / "model.safetensors").stat().st_size + (64 << 10)
        reply = loading(many, "a", str(paths.models / name))
        assert 507 == reply.status_code
        assert (
            f"The model takes {size:,} bytes; expected at most 1,048,576, "
            "what SIMPLENET_MODELS_MB allows for all."
        ) == reply.get_json()["error"]
    assert {"models": []} == many.get("/models").get_json()


def test_a_model_that_the_machine_has_no_memory_for_is_507(
    many: FlaskClient, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the limit would allow it (H38)."""

    def load_nothing(_: Path) -> SimpleNet:
        raise MemoryError

    monkeypatch.setattr(SimpleNet, "load", load_nothing)
    reply = loading(many, "a", str(paths.models / "small" / "model"))

    assert 507 == reply.status_code
    assert {"error": "The memory is full."} == reply.get_json()


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
    for _ in range(20):  # within a tick of the file system's clock, and with the inode of the last
        one.load("a", str(paths.models / "small" / "model"))
        net = other.get("a")
        one.unload("a")
        with pytest.raises(module.NotLoadedError):
            other.get("a")
        one.load("a", str(paths.models / "small" / "model"))

        assert net is not other.get("a")
        one.unload("a")


def test_what_is_unloaded_is_let_go_of_however_soon(
    tmp_path: Path, many: FlaskClient, paths: Paths
) -> None:
    """And not before; also in the tick of the clock in which a worker has just looked (H39)."""
    del many
    entries = _entries(tmp_path)
    one, other = (Models(entries, paths.models, "model.safetensors", 1 << 20) for _ in range(2))
    for _ in range(20):
        one.load("a", str(paths.models / "small" / "model"))
        net = weakref.ref(other.get("a"))
        other.release()
        assert net() is not None
        one.unload("a")
        other.release()
        gc.collect()

        assert net() is None


def test_what_is_unloaded_while_it_is_read_is_not_kept(
    tmp_path: Path, many: FlaskClient, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that was under way is answered, and the memory is free after it (H39)."""
    del many
    entries = _entries(tmp_path)
    one, other = (Models(entries, paths.models, "model.safetensors", 1 << 20) for _ in range(2))
    one.load("a", str(paths.models / "small" / "model"))
    read = SimpleNet.load

    def read_slowly(path: Path) -> SimpleNet:
        one.unload("a")
        other.release()
        return read(path)

    monkeypatch.setattr(SimpleNet, "load", read_slowly)
    net = weakref.ref(other.get("a"))
    other.release()
    gc.collect()

    assert net() is None


def test_thousands_are_listed_by_page(tmp_path: Path, many: FlaskClient, paths: Paths) -> None:
    """Each is on one page, whatever comes and goes (H39)."""
    del many
    models = Models(_entries(tmp_path), paths.models, "model.safetensors", 1 << 20)
    for number in range(250):
        models.load(str(number), str(paths.models / "small" / "model"))
    (tmp_path / "entries" / ".half-written").touch()
    names: list[str] = []
    token: str | None = ""
    while token is not None:
        page, token = models.page(token)
        names += [model["modelName"] for model in page]

    assert sorted(map(str, range(250))) == sorted(names)


def test_the_next_page_is_asked_for_by_its_token(many: FlaskClient, paths: Paths) -> None:
    """In the query, as AWS's multi-model server has it (H39); the last page has none."""
    for number in range(150):
        loading(many, str(number), str(paths.models / "small" / "model"))
    first = many.get("/models").get_json()
    rest = many.get("/models", query_string={"next_page_token": first["nextPageToken"]}).get_json()

    assert "nextPageToken" not in rest
    names = [model["modelName"] for model in first["models"] + rest["models"]]
    assert sorted(map(str, range(150))) == sorted(names)


def test_a_model_one_level_down_is_found(
    trained: Paths, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model.tar.gz packed with its directory is served, and the log says so (H7)."""
    (paths.model / "model").mkdir()
    (paths.model / "model" / "model.safetensors").write_bytes(trained.model_file.read_bytes())
    client = create_app(paths).test_client()

    assert 200 == client.post("/invocations", data="1,2").status_code
    said = capsys.readouterr().err
    assert said.endswith(" Pack model.tar.gz with the file at the archive's root.\n")


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
