"""The routes, in process; `tests/image` asks the same of the running container."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simplenet import app as application
from simplenet.app import create_app
from simplenet.model import ModelError, SimpleNet
from simplenet.settings import Settings

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from simplenet.paths import Paths

    from tests.conftest import Moons


def test_ping_is_200_and_empty(client: FlaskClient) -> None:
    """A container is healthy that answers GET /ping with HTTP 200 and an empty body (H13)."""
    reply = client.get("/ping")

    assert (200, b"") == (reply.status_code, reply.data)


def test_scores_are_the_models_own_in_every_format(
    client: FlaskClient, trained: Paths, moons: Moons
) -> None:
    """The 150 test points score through HTTP what the model scores in Python."""
    features = moons.test_features.astype(np.float32)
    scores = SimpleNet.load(trained.model_file).score(features)
    file = io.BytesIO()
    np.save(file, features)
    rows = features.tolist()
    csv = "\n".join(",".join(map(repr, row)) for row in rows)
    by_csv = client.post("/invocations", data=csv, content_type="text/csv")
    by_json = client.post("/invocations", json={"instances": rows})
    by_npy = client.post("/invocations", data=file.getvalue(), content_type="application/x-npy")

    assert ["text/csv", "application/json", "application/x-npy"] == [
        reply.headers["Content-Type"] for reply in (by_csv, by_json, by_npy)
    ]
    np.testing.assert_allclose(scores, [float(line) for line in by_csv.text.split()], atol=1e-6)
    np.testing.assert_allclose(
        scores, [row["score"] for row in by_json.get_json()["predictions"]], atol=1e-6
    )
    np.testing.assert_allclose(scores[:, None], np.load(io.BytesIO(by_npy.data)), atol=1e-6)


def test_accept_chooses_the_type_of_the_reply(client: FlaskClient) -> None:
    """A caller that reads JSON may send CSV (H25, H26)."""
    reply = client.post("/invocations", data="1,2", headers={"Accept": "application/json"})

    assert "application/json" == reply.headers["Content-Type"]
    assert 1 == len(reply.get_json()["predictions"])


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "sentence"),
    [
        ("POST", "/invocations", b"", {}, 400, "The body is empty"),
        ("POST", "/invocations", b"a,b", {}, 400, "The body, line 1, column 1 is 'a'"),
        ("POST", "/invocations", b"1,2,3", {}, 400, "The body, line 1 has 3 columns; expected 2."),
        ("POST", "/invocations", b"{", {"Content-Type": "application/json"}, 400, "not JSON"),
        ("POST", "/invocations", b"1,2", {"Content-Type": "image/png"}, 415, "is 'image/png'; exp"),
        ("POST", "/invocations", b"1,2", {"Accept": "image/png"}, 406, "Accept is 'image/png'"),
        ("GET", "/invocations", b"", {}, 405, "expected GET /ping or POST /invocations"),
        ("GET", "/", b"", {}, 404, "expected GET /ping or POST /invocations"),
        ("GET", "/ping/", b"", {}, 404, "expected GET /ping or POST /invocations"),
        ("GET", "/static/x", b"", {}, 404, "expected GET /ping or POST /invocations"),
    ],
)
def test_a_bad_request_gets_its_status_and_one_sentence(
    client: FlaskClient,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    sentence: str,
) -> None:
    """One small JSON object, which SageMaker hands to the caller as OriginalMessage (H27)."""
    reply = client.open(path, method=method, data=body, headers=headers)

    assert (status, "application/json") == (reply.status_code, reply.headers["Content-Type"])
    assert ["error"] == [*reply.get_json()]
    assert sentence in reply.get_json()["error"]


def test_a_body_that_is_too_large_is_413(trained: Paths) -> None:
    """The limit is batch transform's own; the sentence says what to do (B8)."""
    app = create_app(trained, Settings(max_payload_mb=1))
    reply = app.test_client().post("/invocations", data=b"1" * ((1 << 20) + 1))

    assert 413 == reply.status_code
    assert "send fewer rows" in reply.get_json()["error"]


def test_our_own_fault_is_500_with_a_number_that_the_log_has(
    trained: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns no internals; whoever reads the log finds the traceback by the number."""
    app = create_app(trained)
    monkeypatch.setattr(SimpleNet, "score", lambda *_: 1 / 0)
    reply = app.test_client().post("/invocations", data="1,2")

    assert 500 == reply.status_code
    number = reply.get_json()["error"].rpartition(" ")[2].rstrip(".")
    assert f"error {number} in POST /invocations" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "ZeroDivisionError" not in reply.text


def test_there_is_no_application_without_a_model(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that cannot score never answers 200; the program ends with a sentence (H16)."""
    with pytest.raises(ModelError, match="There is no model"):
        create_app(paths)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(paths.root))
    with pytest.raises(SystemExit, match="serve: There is no model: .* holds nothing"):
        application.serve()


def test_replies_are_json_that_any_parser_reads(client: FlaskClient) -> None:
    """The labels are the rounded scores."""
    reply = client.post("/invocations", json=[[-1, 1], [2, -1]])

    for row in json.loads(reply.data)["predictions"]:
        assert round(row["score"]) == row["predicted_label"]
