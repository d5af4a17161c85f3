"""An endpoint without SageMaker in between, against the real server."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from client import data
from client.endpoint import Endpoint, EndpointError, InParts
from client.evaluation import evaluate
from client.runtime import ProgramError, VirtualEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.client.conftest import Told


@pytest.fixture(scope="module")
def endpoint(told: Told) -> Iterator[Endpoint]:
    """The server of the story's own model, by the program `serve`."""
    with VirtualEnvironment().serve(told.output / "serving", told.output / "again.log") as endpoint:
        yield endpoint


def test_scores_come_as_the_notebook_reads_them(endpoint: Endpoint) -> None:
    """One score a row, so that `np.squeeze(np.round(predictor.predict(x)))` gives the labels."""
    _, test = data.moons()
    scores = endpoint.predict(test.features)

    assert (150, 1) == scores.shape
    assert np.float32 == scores.dtype
    assert {0, 1} == {*np.squeeze(np.round(scores))}
    assert 0.9 < evaluate(endpoint, test.features, test.labels, verbose=False)["Accuracy"]


def test_a_refusal_is_told_in_the_servers_own_words(endpoint: Endpoint) -> None:
    """The sentence that the container gives is the one that the user reads."""
    with pytest.raises(EndpointError, match="answers HTTP 400: .*Row 1 has 3 columns; expected 2"):
        endpoint.predict(np.zeros((1, 3)))


def test_where_nothing_listens_there_is_a_sentence() -> None:
    """It names the address."""
    nowhere = Endpoint("http://127.0.0.1:9")

    assert not nowhere.is_healthy()
    with pytest.raises(EndpointError, match="http://127.0.0.1:9 does not answer"):
        nowhere.predict(np.zeros((1, 2)))


class _Stranger(http.server.BaseHTTPRequestHandler):
    """Some other server, which answers everything with a page."""

    def do_POST(self) -> None:
        """Answer 200."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def stranger() -> Iterator[str]:
    """Run that server; yield its address."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_another_program_on_the_port_is_told_apart() -> None:
    """A page is not taken for scores."""
    with stranger() as url, pytest.raises(EndpointError, match="Is it a SimpleNet"):
        Endpoint(url).predict(np.zeros((1, 2)))


def test_a_server_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    """No model: its own sentence reaches the user, and nothing waits for it."""
    (tmp_path / "model").mkdir()
    serving = VirtualEnvironment().serve(tmp_path, tmp_path / "serve.log")
    with pytest.raises(ProgramError, match="There is no model"), serving:
        pytest.fail("an endpoint without a model")


class Counting:
    """A predictor that gives each row its first feature, and takes no more bytes than it may."""

    def predict(self, data: np.ndarray, /) -> np.ndarray:
        """Return scores: (rows, 1)."""
        assert data.nbytes <= 100
        return data[:, :1]


@pytest.mark.parametrize("rows", [1, 6, 7, 40])
def test_rows_are_sent_in_parts_that_sagemaker_lets_through(rows: int) -> None:
    """In their order, whatever is left for the last part."""
    data = np.arange(2.0 * rows).reshape(rows, 2)

    assert data[:, :1].tolist() == InParts(Counting(), most_bytes=100).predict(data).tolist()
