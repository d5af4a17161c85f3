"""The routes, in process; `tests/image` asks the same of the running container."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simplenet import app as application
from simplenet import request_log
from simplenet.app import create_app
from simplenet.model import ModelError, SimpleNet
from simplenet.settings import Settings, SettingsError

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from simplenet.paths import Paths

    from tests.conftest import Moons


# A row as CSV, as JSON Lines, and what is said of it if it is bad.
LINES = [
    ("1,2", "[1, 2]", ""),
    ("3,4.5", '{"features": [3, 4.5]}', ""),
    ("x,2", "[x, 2]", "line {}"),
    ("1", "[1]", "line {}"),
    ("", "", "line {}"),
    ("3.4e38,-3.4e38", "[3.4e38, -3.4e38]", "row {}"),
]

PATHS = ("/ping", "/invocations", "/execution-parameters")


def test_ping_is_200_and_empty(client: FlaskClient) -> None:
    """A container is healthy that answers GET /ping with HTTP 200 and an empty body (H13).

    Its length is said, or a client of HTTP/1.0 would wait for the end of the connection.
    """
    reply = client.get("/ping")

    assert (200, b"", "0") == (reply.status_code, reply.data, reply.headers["Content-Length"])


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
        (
            "POST",
            "/invocations",
            b"1,2",
            {"Content-Type": "image/png"},
            415,
            "Content-Type is 'image/png'; exp",
        ),
        ("POST", "/invocations", b"1,2", {"Accept": "image/png"}, 406, "Accept is 'image/png'"),
        ("POST", "/invocations", b"0,0\n3.4e38,-3.4e38\n", {}, 400, "Row 2 has no score"),
        ("POST", "/invocations", b"3.4e38,-3.4e38\n" * 9, {}, 400, "Row 1 has no score"),
        (
            "POST",
            "/invocations",
            b"[[1," + b"[" * 300 + b"]" * 300 + b"]]",
            {"Content-Type": "application/json"},
            400,
            "column 2 is lists in lists",
        ),
        ("GET", "/invocations", b"", {}, 405, "expected GET /ping or POST /invocations"),
        ("OPTIONS", "/invocations", b"", {}, 405, "expected GET /ping or POST /invocations"),
        ("OPTIONS", "/ping", b"", {}, 405, "expected GET /ping or POST /invocations"),
        ("GET", "/", b"", {}, 404, "expected GET /ping or POST /invocations"),
        ("GET", "/ping/", b"", {}, 404, "expected GET /ping or POST /invocations"),
        ("POST", "/a//invocations", b"1,2", {}, 404, "expected GET /ping or POST /invocations"),
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


def test_a_405_names_the_methods_that_there_are(client: FlaskClient) -> None:
    """As HTTP asks of it (RFC 9110, 15.5.6)."""
    allowed = [client.open(path, method="OPTIONS").headers["Allow"] for path in PATHS]

    assert ["GET, HEAD, POST", "POST", "GET, HEAD"] == allowed


def test_a_route_that_was_found_before_is_that_of_its_method_alone(client: FlaskClient) -> None:
    """And a path that leads nowhere leads nowhere again."""
    asked = [("GET", "/ping"), ("DELETE", "/ping"), ("POST", "/ping"), ("GET", "/pong")]
    found = [
        [client.open(path, method=method).status_code for method, path in asked] for _ in range(2)
    ]

    assert [[200, 405, 200, 404]] * 2 == found


def test_what_a_fork_registers_before_each_request_is_called(trained: Paths) -> None:
    """The application leaves out of Flask only what nothing here uses."""
    app = create_app(trained)
    app.before_request(lambda: ("closed", 418))

    assert 418 == app.test_client().get("/ping").status_code


def test_a_body_that_is_too_large_is_413(trained: Paths) -> None:
    """The limit is batch transform's own; the sentence says what to do (B8, H18, X9)."""
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
    """An endpoint that cannot score never answers 200: the program ends and says why (H16, X5)."""
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


def test_the_reply_to_head_has_the_length_of_a_body_and_none(client: FlaskClient) -> None:
    """As HTTP has it (RFC 9110, 9.3.2); a body would be taken for the next reply's head."""
    whole, head = (client.open("/execution-parameters", method=name) for name in ("GET", "HEAD"))

    assert whole.headers["Content-Length"] == head.headers["Content-Length"]
    assert (b"", str(len(whole.data))) == (head.data, head.headers["Content-Length"])


def test_ping_takes_every_method_that_aws_names(client: FlaskClient) -> None:
    """AWS writes of GET, and elsewhere of POST; HEAD is GET's twin (H15)."""
    assert [200] * 3 == [ask("/ping").status_code for ask in (client.get, client.head, client.post)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            Settings(workers=2),
            {"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6},
        ),
        (
            Settings(workers=50, max_payload_mb=5),
            {"MaxConcurrentTransforms": 50, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 2},
        ),
        (
            Settings(workers=512, max_payload_mb=1024),
            {"MaxConcurrentTransforms": 100, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 1},
        ),
    ],
)
def test_execution_parameters_are_those_of_the_workers(
    trained: Paths, settings: Settings, expected: dict[str, object]
) -> None:
    """MaxConcurrentTransforms is the workers' as long as it, times MaxPayloadInMB, is 100 at most
    (B3, B8).
    """
    reply = create_app(trained, settings).test_client().get("/execution-parameters")

    assert expected == reply.get_json()


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ('{"features": [1, 2]}\n{"features": [3, 4]}', 2),
        ('{"features": [1, 2]}\n{"features": [3, 4]}\n', 2),
        ("[1, 2]\n[3, 4]\n[5, 6]", 3),
        ('{"features": [1, 2]}', 1),
        ('{"data": {"features": {"values": [1, 2]}}}\n', 1),
    ],
)
def test_json_lines_that_are_called_json_are_lines(
    client: FlaskClient, body: str, lines: int
) -> None:
    """MultiRecord sends the lines under the job's content type: one object a line comes back (B6,
    B12).
    """
    reply = client.post("/invocations", data=body, content_type="application/json")

    assert (200, "application/json") == (reply.status_code, reply.headers["Content-Type"])
    assert [["score", "predicted_label"]] * lines == [
        [*json.loads(line)] for line in reply.text.splitlines()
    ]


def test_a_json_document_may_be_pretty(client: FlaskClient) -> None:
    """Line ends within one document do not make it lines."""
    body = json.dumps({"instances": [[1, 2], [3, 4]]}, indent=2)
    reply = client.post("/invocations", data=body, content_type="application/json")

    assert 2 == len(reply.get_json()["predictions"])


def test_a_bad_record_fails_the_request_unless_it_is_to_be_marked(trained: Paths) -> None:
    """By default a job fails loudly; SIMPLENET_BAD_RECORDS=mark writes ERROR in its place (B10,
    B17, X39).
    """
    body = "1,2\nx,2\n\n3,4\n"
    loud, marking = (
        create_app(trained, Settings(bad_records=policy)).test_client()
        for policy in ("fail", "mark")
    )
    scores = loud.post("/invocations", data="1,2\n3,4").text.splitlines()
    marked = marking.post("/invocations", data=body).text.splitlines()

    assert 400 == loud.post("/invocations", data=body).status_code
    assert ["ERROR", "ERROR"] == marked[1:3]
    # A processor may score two rows a little otherwise than four.
    assert [float(score) for score in scores] == pytest.approx(
        [float(marked[0]), float(marked[3])], rel=1e-5
    )
    assert 4 == len(marked)
    assert "ERROR\n" == marking.post("/invocations", data="x,y").text
    assert 400 == marking.post("/invocations", data="").status_code
    lines = marking.post(
        "/invocations", data="[1]\n[1, 2]", content_type="application/jsonlines"
    ).text.splitlines()
    assert ["error"] == [*json.loads(lines[0])]
    assert ["score", "predicted_label"] == [*json.loads(lines[1])]


@given(
    lines=st.lists(st.sampled_from(LINES), min_size=1, max_size=200),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    media_type=st.sampled_from(["text/csv", "application/jsonlines"]),
)
def test_each_bad_line_is_marked_with_its_number_and_each_good_one_scored(
    trained: Paths, lines: list[tuple[str, str, str]], end: str, media_type: str
) -> None:
    """A line out for each line in, wherever the bad ones are, and however lines end (B10, B17)."""
    client = create_app(trained, Settings(bad_records="mark")).test_client()
    column = ["text/csv", "application/jsonlines"].index(media_type)
    lines.append(LINES[0])  # what ends a body blank is no line of it
    reply = client.post(
        "/invocations",
        data=end.join(line[column] for line in lines),
        content_type=media_type,
        headers={"Accept": "application/jsonlines"},
    )
    answers = [json.loads(line) for line in reply.text.splitlines()]

    assert len(lines) == len(answers)
    for number, (line, answer) in enumerate(zip(lines, answers, strict=True), 1):
        sentence = line[2].format(number)
        assert sentence.lower() in answer.get("error", "").lower()
        assert bool(sentence) != ("score" in answer)


@pytest.mark.parametrize("bad", [0, 63, 64, 150, 199])
def test_one_bad_line_among_many_is_marked_where_it_is(trained: Paths, bad: int) -> None:
    """The others are scored as if it were not there (B10, B17)."""
    good = [f"{n / 100},{n / 200}" for n in range(200)]
    client = create_app(trained, Settings(bad_records="mark")).test_client()
    scores = client.post("/invocations", data="\n".join(good)).text.splitlines()
    body = "\n".join([*good[:bad], "1,oops", *good[bad + 1 :]])
    marked = client.post("/invocations", data=body).text.splitlines()
    told = client.post("/invocations", data=body, headers={"Accept": "application/jsonlines"})

    assert "ERROR" == marked[bad]
    assert f"line {bad + 1}, column 2 is 'oops'" in json.loads(told.text.splitlines()[bad])["error"]
    np.testing.assert_allclose(
        [float(score) for n, score in enumerate(scores) if n != bad],
        [float(score) for n, score in enumerate(marked) if n != bad],
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("media_type", "accept"), [("application/json", "text/csv"), ("text/csv", "application/json")]
)
def test_where_a_format_has_no_lines_none_is_marked(
    trained: Paths, media_type: str, accept: str
) -> None:
    """A document is good or bad as a whole, one in many lines too."""
    rows: list[list[Any]] = [[n / 100, n / 200] for n in range(100)]
    client = create_app(trained, Settings(bad_records="mark")).test_client()
    replies = []
    for more in ([], [["x", 1]]):
        table = rows + more
        lines = "\n".join(",".join(map(str, row)) for row in table)
        body = lines if media_type == "text/csv" else json.dumps(table, indent=1)
        headers = {"Content-Type": media_type, "Accept": accept}
        replies.append(client.post("/invocations", data=body, headers=headers))
    good, bad = replies
    scores = good.text.split() if accept == "text/csv" else good.get_json()["predictions"]

    assert (200, 100) == (good.status_code, len(scores))
    assert (400, ["error"]) == (bad.status_code, [*bad.get_json()])


@pytest.mark.parametrize("media_type", ["text/csv", "application/jsonlines"])
def test_a_body_of_bad_lines_is_refused_as_a_whole(trained: Paths, media_type: str) -> None:
    """What is marked is bounded, in memory and in time (B10)."""
    client = create_app(trained, Settings(bad_records="mark")).test_client()
    marked, refused = (
        client.post("/invocations", data="x\n" * lines, content_type=media_type)
        for lines in (10_000, 10_001)
    )

    assert (200, 10_000) == (marked.status_code, len(marked.text.splitlines()))
    assert 400 == refused.status_code
    assert "More than 10,000 lines are bad" in refused.get_json()["error"]
    assert "line 10001" in refused.get_json()["error"].lower()


def test_a_large_body_of_blank_lines_has_no_row(client: FlaskClient) -> None:
    """It is as empty as a small one (H27)."""
    reply = client.post("/invocations", data="\n" * (1 << 20))

    assert (400, "The body is empty") == (reply.status_code, reply.get_json()["error"][:17])


def test_what_is_no_unicode_is_logged_all_the_same(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line of the log is JSON, whatever a caller puts into a name (H23)."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/\ud800"}
    request_log.write(environ, 404, 0, 0, 0.0)
    line = json.loads(capfd.readouterr().out)

    assert (404, "/?") == (line["status"], line["path"])
    assert 404 == client.get("/%ED%A0%80").status_code


@pytest.mark.parametrize("attributes", ["a=b", "x" * 1024])
def test_custom_attributes_come_back(client: FlaskClient, attributes: str) -> None:
    """What the response does not set, the caller does not get (H22)."""
    name = "X-Amzn-SageMaker-Custom-Attributes"

    assert (
        attributes
        == client.post("/invocations", data="1,2", headers={name: attributes}).headers[name]
    )


@pytest.mark.parametrize("attributes", ["é", "x" * 1025, "a\tb"])
def test_custom_attributes_that_no_header_holds_are_left_out(
    client: FlaskClient, attributes: str
) -> None:
    """Visible ASCII, 1,024 at most; nothing else gets into our header (H22)."""
    name = "X-Amzn-SageMaker-Custom-Attributes"
    reply = client.post("/invocations", data="1,2", headers={name: attributes})

    assert 200 == reply.status_code
    assert name not in reply.headers


def test_a_default_accept_is_the_environment_s(trained: Paths) -> None:
    """SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT decides where the caller does not (H25)."""
    client = create_app(trained, Settings(default_accept="application/json")).test_client()

    for headers in ({}, {"Accept": "*/*"}):
        reply = client.post("/invocations", data="1,2", headers=headers)
        assert "application/json" == reply.headers["Content-Type"]


@pytest.mark.parametrize("accept", ["application/pdf", "json", "text/csv;q=0", "\x00"])
def test_a_default_accept_that_nothing_satisfies_starts_no_server(
    trained: Paths, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    """Else each request without an Accept would be 406 (H25)."""
    with pytest.raises(SettingsError, match="SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is .* expected"):
        create_app(trained, Settings(default_accept=accept))
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(trained.root))
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "application/pdf")
    with pytest.raises(SystemExit, match="serve: SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is"):
        application.serve()


def test_a_compressed_body_is_415(client: FlaskClient) -> None:
    """SageMaker decompresses what batch transform reads; nobody else may compress (B18)."""
    reply = client.post("/invocations", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    assert 415 == reply.status_code
    assert "Content-Encoding is 'gzip'" in reply.get_json()["error"]
