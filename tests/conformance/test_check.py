"""`check.sh`, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from conformance.check import rules

from tests import engine
from tests.conformance.bad import ONLY_TRAIN, Bad
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCAL_TEST = PROJECT / "local_test"
CHECK = LOCAL_TEST / "check.sh"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script to its end."""
    return subprocess.run([CHECK, *arguments], capture_output=True, text=True, check=False)


def left_behind(image: str) -> list[str]:
    """Return what runs over an image have left in Docker."""
    kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
    ours = ("--quiet", "--filter", f"label=conformance.image={image}")
    found = (engine.docker(*kind, *ours) for kind in kinds)
    return [name for names in found for name in names.split()]


@pytest.mark.docker
def test_our_image_keeps_every_rule(image: str, tmp_path: Path) -> None:
    """Or the rule is for what it does not claim; the three reports say the same."""
    report, junit = tmp_path / "report.json", tmp_path / "report.xml"
    done = run(
        *(image, "--train", LOCAL_TEST / "opt_ml" / "input" / "data" / "train"),
        *("--payload", LOCAL_TEST / "payload.csv", "--content-type", "text/csv"),
        *("--hyperparameter", "epochs=20", "--endless", "epochs=1000000"),
        *("--json", report, "--junit", junit),
    )
    found = {one["rule"]: one["outcome"] for one in json.loads(report.read_text("utf-8"))["rules"]}
    suite = ET.parse(junit).getroot()  # noqa: S314 - our own

    assert 0 == done.returncode, done.stdout + done.stderr
    assert [rule.key for rule in rules()] == list(found)
    assert {"passed", "not applicable"} == set(found.values()), done.stdout
    assert str(len(found)) == suite.get("tests")
    assert "0" == suite.get("failures")
    assert [] == left_behind(image)


@pytest.mark.docker
def test_a_failure_is_the_exit_code(
    bad_image: Callable[[Bad], str], channel: Path, tmp_path: Path
) -> None:
    """With what was found and the cure on the terminal, and as a failure in JUnit."""
    bad = Bad("", "", train=("FAILURE.write_text(str(error))", "pass"))
    junit = tmp_path / "report.xml"
    done = run(bad_image(bad), "--train", channel, "--only", "train", "--junit", junit)
    (failure,) = ET.parse(junit).getroot().iter("failure")  # noqa: S314 - our own

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "FAIL training.failure_file (T12)" in done.stdout
    assert "found: the job failed and left no failure file" in done.stdout
    assert "cure:  Write the sentence" in done.stdout
    assert "the job failed and left no failure file" == failure.get("message")
    assert "serving." not in done.stdout


@pytest.mark.docker
def test_an_image_that_does_not_train_is_not_asked_to(
    bad_image: Callable[[Bad], str], channel: Path, tmp_path: Path
) -> None:
    """But if training is all that it is to be checked for: that is its one failure."""
    image, report = (
        bad_image(Bad("", "", dockerfile="RUN rm /opt/program/train")),
        tmp_path / "json",
    )
    done = run(image, "--train", channel, "--only", "train", "--json", report)
    found = {one["rule"]: one["outcome"] for one in json.loads(report.read_text("utf-8"))["rules"]}
    training = {outcome for rule, outcome in found.items() if rule.startswith("training.")}

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "no program train is on PATH" in done.stdout
    assert ["image.programs"] == [rule for rule in found if found[rule] == "failed"]
    assert {"not applicable"} == training


@pytest.mark.docker
def test_a_model_may_be_given(bad_image: Callable[[Bad], str], tmp_path: Path) -> None:
    """As the model.tar.gz that an endpoint gets, to an image that makes none."""
    model, payload = tmp_path / "model.tar.gz", tmp_path / "payload.csv"
    with tarfile.open(model, "w:gz") as archive:
        (tmp_path / "model.json").write_text("[2.0, 3.0]", "utf-8")
        archive.add(tmp_path / "model.json", "./model.json")
    payload.write_text("1.5,2.5\n0,1\n", "utf-8")
    done = run(
        *(bad_image(Bad("", "", dockerfile="RUN rm /opt/program/train")), "--only", "batch"),
        *("--model", model, "--payload", payload, "--content-type", "text/csv"),
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "ok   batch.one_line_for_each" in done.stdout
    assert "ok   image.programs" in done.stdout


@pytest.mark.docker
def test_an_entry_point_that_cannot_serve_fails_where_it_is_to(
    bad_image: Callable[[Bad], str],
) -> None:
    """It does not know the argument `serve`, which is the one failure."""
    done = run(bad_image(Bad("", "", dockerfile=ONLY_TRAIN)), "--only", "batch")

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "does not know the argument `serve`" in done.stdout
    assert " 1 failed" in done.stdout


@pytest.mark.docker
def test_a_run_that_is_stopped_leaves_nothing(good_image: str, channel: Path) -> None:
    """Neither container nor volume: SIGTERM is heard in the midst of an endless job."""
    command: list[str | Path] = [CHECK, good_image, "--train", channel]
    command += ["--hyperparameter", "epochs=1000000", "--only", "train"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        engine.wait_until(
            lambda: engine.docker("ps", "--quiet", "--filter", f"ancestor={good_image}"),
            "the job runs",
        )
        process.send_signal(signal.SIGTERM)
        code = process.wait()

    assert 3 == code
    assert [] == left_behind(good_image)


@pytest.mark.docker
def test_a_reader_that_has_enough_ends_the_run(good_image: str) -> None:
    """As `head` does: quietly, and with nothing left in Docker."""
    command: list[str | Path] = [CHECK, good_image, "--only", "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert first.startswith(b"ok   image.architecture")
    assert b"" == said
    assert 3 == process.returncode
    assert [] == left_behind(good_image)


@pytest.mark.docker
def test_an_image_that_is_not_there_cannot_be_checked() -> None:
    """Exit code 3, and Docker's own words."""
    done = run("no-such-image:at-all")

    assert 3 == done.returncode
    assert "No such image: no-such-image:at-all" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "required: IMAGE"),
        (["x", "--payload", "y"], "--payload and --content-type belong together"),
        (["x", "--train", "/no/such"], "--train /no/such is no directory with files"),
        (["x", "--endless", "epochs"], "'epochs' is no NAME=VALUE"),
        (["x", "--only", "nothing"], "invalid choice: 'nothing'"),
        (["x", "--model", "/no/such"], "No such file or directory: '/no/such'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], sentence: str) -> None:
    """Exit code 2, before anything is started."""
    done = run(*arguments)

    assert 2 == done.returncode
    assert sentence in done.stderr


@pytest.mark.parametrize("name", ["conformance/__init__.py", "json.py", "uuid.py"])
def test_what_lies_in_the_users_directory_is_not_run(tmp_path: Path, name: str) -> None:
    """Nor in one that PYTHONPATH names: modules are the script's own, or Python's."""
    there = tmp_path / name
    there.parent.mkdir(exist_ok=True)
    there.write_text("raise SystemExit('a module of the user')\n", "utf-8")
    done = subprocess.run(
        [CHECK, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert done.stdout.startswith("usage: check.sh [-h]")
