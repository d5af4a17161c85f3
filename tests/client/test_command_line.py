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


def test_data_replaces_what_it_wrote_and_no_file_of_yours(tmp_path: Path) -> None:
    """A channel of before that is none now goes, or its rows would be trained on and judged by."""
    train, validation = (tmp_path / name / f"{name}.csv" for name in ("train", "validation"))
    data = ("data", "--output", tmp_path)

    assert 0 == run_client(*data, "--validation", "0.2").returncode
    assert validation.exists()
    assert 0 == run_client(*data, "--points", "40").returncode
    assert not validation.parent.exists()
    assert 30 == len(train.read_text().splitlines())

    train.write_text("1,2,3\n")
    refused = run_client(*data)
    assert 1 == refused.returncode
    assert f"{train} was not written by this command" in refused.stderr
    assert "1,2,3\n" == train.read_text()
    assert 10 == len((tmp_path / "test" / "test.csv").read_text().splitlines())


def test_a_channel_that_was_changed_since_it_was_written_is_left(tmp_path: Path) -> None:
    """And so is a file beside it; a record that is none any more is no reason to lose anything."""
    data = ("data", "--output", tmp_path)
    assert 0 == run_client(*data, "--validation", "0.2").returncode
    validation = tmp_path / "validation" / "validation.csv"
    validation.write_text("1,2,3\n")

    assert 0 == run_client(*data).returncode
    assert "1,2,3\n" == validation.read_text()
    (tmp_path / ".written.json").write_text("[")
    assert 1 == run_client(*data, "--seed", "2").returncode
    assert 0 == run_client(*data).returncode  # the very same rows


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
        (
            ["train", "--instance-type", "local"],
            2,
            "'local' is none; expected such as ml.m5.xlarge",
        ),
        (["run", "--serving-instance", "t2"], 2, "'t2' is none; expected such as ml.m5.xlarge."),
        (["deploy", "--local", "--port", "99999"], 2, "99999 is not in the range 1<=x<=65535"),
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
