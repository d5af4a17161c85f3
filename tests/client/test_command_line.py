"""`python -m client`, as a shell sees it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from client.runtime import VirtualEnvironment
from tests.client.conftest import run_client
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.conftest import Told


def test_data_writes_the_files_and_says_where(tmp_path: Path) -> None:
    """The notebook's print, for each file."""
    done = run_client("data", "--output", tmp_path, "--points", "40", "--seed", "3")

    files = [tmp_path / "train/train.csv", tmp_path / "test/test.csv", tmp_path / "data.png"]
    assert "".join(f"Path created: {path}\n" for path in files) == done.stdout
    assert 30 == len(files[0].read_text().splitlines())
    assert 10 == len(files[1].read_text().splitlines())


def test_evaluate_asks_a_server_and_prints_the_table(told: Told) -> None:
    """Of a CSV with labels; as JSON for a script."""
    csv = PROJECT / "local_test" / "test.csv"
    with VirtualEnvironment().serve(told.output / "serving", told.output / "cli.log") as endpoint:
        table = run_client("evaluate", csv, "--url", endpoint.url)
        figures = run_client("evaluate", csv, "--url", endpoint.url, "--json")

    assert (0, 0) == (table.returncode, figures.returncode)
    assert table.stdout in told.said
    assert 150 == sum(json.loads(figures.stdout)[name] for name in ("TP", "FP", "FN", "TN"))


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["evaluate", "missing.csv"], 2, "File 'missing.csv' does not exist"),
        (["evaluate", "README.md"], 1, "Error: README.md cannot be read as numbers"),
        (
            ["evaluate", "local_test/test.csv", "--url", "http://127.0.0.1:9"],
            1,
            "Error: http://127.0.0.1:9 does not answer",
        ),
        (["data", "--points", "1"], 2, "1 is not in the range x>=8"),
        (["data", "--output", "README.md"], 2, "'README.md' is a file"),
        (["dema"], 2, "No such command 'dema'"),
    ],
)
def test_what_cannot_be_done_gets_a_sentence_and_an_exit_code(
    words: list[str], code: int, sentence: str
) -> None:
    """2 for wrong words, 1 for all else; never a traceback."""
    done = run_client(*words)

    assert code == done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
