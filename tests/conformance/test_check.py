"""`check.sh`, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from conformance.check import AREAS, rules

from tests import engine
from tests.conformance.bad import BAD, ONLY_TRAIN, PATIENT, Bad
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCAL_TEST = PROJECT / "local_test"
CHECK = LOCAL_TEST / "check.sh"


def run(
    *arguments: str | Path, path: Path | None = None, script: Path = CHECK
) -> subprocess.CompletedProcess[str]:
    """Run the script to its end, with the commands of a directory before all others."""
    environment = dict(os.environ)
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        [script, *arguments], capture_output=True, text=True, check=False, env=environment
    )


def tried(report: Path) -> dict[str, str]:
    """Return what came of each rule, by a report in JSON."""
    return {one["rule"]: one["outcome"] for one in json.loads(report.read_text("utf-8"))["rules"]}


def scored(channel: Path, tmp_path: Path) -> list[str | Path]:
    """Return the arguments that let a good image be trained and its model be asked."""
    payload = tmp_path / "payload.csv"
    zeros = "0" * 400  # so that even 25 MB are few rows, soon scored on a busy machine
    payload.write_text(f"1.5{zeros},2.5{zeros}\n0,1\n", "utf-8")
    return [
        *("--train", channel, "--payload", payload, "--content-type", "text/csv"),
        *("--hyperparameter", "epochs=2", "--endless", "epochs=1000000"),
    ]


def make_command(directory: Path, name: str, text: str) -> Path:
    """Make a command of a shell script; return its directory."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    (directory / name).chmod(0o755)
    return directory


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
    found = tried(report)
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


#: Bad images of all kinds, each with the `--only` of its run.
WHOLE_RUNS = [
    ("image.no_package_caches", "train"),
    ("serving.errors_say_why", "serve"),
    ("batch.starts", "batch"),
    ("multi_model.unloads_a_model", "multi-model"),
    ("training.failure_file", None),
    ("serving.starts", None),
]


@pytest.mark.docker
@pytest.mark.parametrize(("rule", "only"), WHOLE_RUNS)
def test_a_run_over_a_bad_image_finds_one_fault(
    rule: str, only: str | None, bad_image: Callable[[Bad], str], channel: Path, tmp_path: Path
) -> None:
    """One fault, one finding: other rules pass, or cannot be tried where it is in their way."""
    bad = next(one for one in BAD if one.rule == rule and one.limits == PATIENT)
    report = tmp_path / "report.json"
    area = ("--only", only) if only else ()
    done = run(bad_image(bad), *scored(channel, tmp_path), *area, "--json", report)
    found = tried(report)
    kinds = {"image"} | ({AREAS[only]} if only else set(AREAS.values()))

    assert [rule] == [key for key in found if found[key] in {"failed", "warned"}], done.stdout
    assert "not tried" not in found.values(), done.stdout
    assert (1 if found[rule] == "failed" else 0) == done.returncode
    assert kinds == {key.partition(".")[0] for key in found}


@pytest.mark.docker
@pytest.mark.parametrize("only", ["batch", "multi-model"])
def test_one_kind_of_use_is_checked_alone(
    only: str, good_image: str, channel: Path, tmp_path: Path
) -> None:
    """Each of its rules is tried, though those of an ordinary endpoint are not."""
    report = tmp_path / "report.json"
    done = run(good_image, *scored(channel, tmp_path), "--only", only, "--json", report)
    found = {key: what for key, what in tried(report).items() if not key.startswith("image.")}

    assert 0 == done.returncode, done.stdout + done.stderr
    assert {rule.key for rule in rules(only) if rule.area != "image"} == set(found)
    assert {"passed"} == set(found.values()), done.stdout


@pytest.mark.docker
@pytest.mark.parametrize(
    ("only", "rule"),
    [
        ("train", "training.ends_with_0"),
        ("serve", "serving.starts"),
        ("batch", "batch.starts"),
        ("multi-model", "multi_model.starts"),
    ],
)
def test_what_was_asked_for_and_cannot_be_tried_is_a_failure(
    only: str, rule: str, bad_image: Callable[[Bad], str], channel: Path, tmp_path: Path
) -> None:
    """No model can be trained here: a run in which nothing could be tried is no good news."""
    report = tmp_path / "report.json"
    image = bad_image(Bad("", "", train=("    train()\n", "    sys.exit(3)\n")))
    done = run(image, *scored(channel, tmp_path), "--only", only, "--json", report)

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "failed" == tried(report)[rule]
    assert "the job exits with 3" in done.stdout


@pytest.mark.docker
def test_a_job_that_was_asked_for_needs_a_channel(good_image: str, tmp_path: Path) -> None:
    """The rules of the image are tried all the same, and say nothing of it."""
    report = tmp_path / "report.json"
    done = run(good_image, "--only", "train", "--json", report)
    found = tried(report)

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "there is no channel to train on; give one with --train" in done.stdout
    assert "passed" == found["image.programs"]
    assert ["training.ends_with_0"] == [key for key in found if found[key] == "failed"]


@pytest.mark.docker
def test_a_model_that_is_given_is_served_as_it_is(good_image: str, tmp_path: Path) -> None:
    """Without a job, whatever its archive calls the root."""
    (tmp_path / "model.json").write_text("[0.5, 1.5]", "utf-8")
    archive, report = tmp_path / "model.tar.gz", tmp_path / "report.json"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "model.json", "./model.json")
    payload = scored(tmp_path, tmp_path)[2:6]
    done = run(good_image, "--model", archive, "--only", "batch", *payload, "--json", report)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "passed" == tried(report)["batch.one_line_for_each"]


@pytest.mark.docker
def test_a_rule_that_docker_fails_is_the_only_one_that_is_not_tried(
    good_image: str, channel: Path, tmp_path: Path
) -> None:
    """The report goes on; the exit code says that it is not complete."""
    broken = 'test "$1" != history || { echo "out of order" >&2; exit 1; }'
    docker = make_command(
        tmp_path / "bin", "docker", f'{broken}\nexec {shutil.which("docker")} "$@"'
    )
    report, junit = tmp_path / "report.json", tmp_path / "report.xml"
    reports = ("--json", report, "--junit", junit)
    done = run(good_image, *scored(channel, tmp_path), "--only", "batch", *reports, path=docker)
    found = tried(report)
    (error,) = ET.parse(junit).getroot().iter("error")  # noqa: S314 - our own

    assert 3 == done.returncode, done.stdout + done.stderr
    assert ["image.no_secrets_in_history"] == [key for key in found if found[key] == "not tried"]
    assert [rule.key for rule in rules("batch")] == list(found)
    assert "failed" not in found.values(), done.stdout
    assert "ERR  image.no_secrets_in_history" in done.stdout
    assert "docker history exits with 1: out of order" == error.get("message")


@pytest.mark.docker
def test_what_cannot_be_removed_is_named_with_a_command_that_removes_it(
    good_image: str, channel: Path
) -> None:
    """Here a volume that a container of somebody else's uses when the run is stopped."""
    ours = ("--quiet", "--filter", f"label=conformance.image={good_image}")
    command: list[str | Path] = [CHECK, good_image, "--train", channel, "--only", "train"]
    command += ["--hyperparameter", "epochs=1000000"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        engine.wait_until(
            lambda: engine.docker("ps", "--quiet", "--filter", f"ancestor={good_image}"),
            "the job runs",
        )
        volume = engine.docker("volume", "ls", *ours).split()[0]
        holder = engine.docker("create", "--volume", f"{volume}:/held", good_image)
        try:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate()
            remains = left_behind(good_image)
        finally:
            engine.docker("rm", holder)
    remedy = said.partition("Remove them: ")[2].strip()
    subprocess.run(["bash", "-c", remedy], check=True, stdout=subprocess.DEVNULL)

    assert 3 == process.returncode
    assert [volume] == remains
    assert f"{volume}" in said
    assert "volume is in use" in said
    assert "nothing of it is left" not in said
    assert [] == left_behind(good_image)


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
        (["x", "--json", "."], "name a file in a directory that is there"),
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


def test_a_link_to_the_script_is_followed_without_readlink(tmp_path: Path) -> None:
    """That of macOS before 12.3 knows no -f."""
    link = tmp_path / "check"
    link.symlink_to(CHECK)
    old = make_command(
        tmp_path / "bin", "readlink", "echo 'readlink: illegal option -- f' >&2; exit 1"
    )
    done = run("--help", path=old, script=link)

    assert 0 == done.returncode, done.stderr
    assert done.stdout.startswith("usage: check.sh [-h]")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'case "$1" in --version) echo Python 3.9.6;; *) exit 1;; esac',
            "python3 is Python 3.9.6, expected Python 3.10 or newer",
        ),
        (
            'case "$1" in --version) echo Python 2.7.18 >&2;; *) exit 1;; esac',
            "python3 is Python 2.7.18, expected Python 3.10 or newer",
        ),
    ],
)
def test_an_old_python_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """With a sentence that names it, and how another is named; macOS brings 3.9."""
    done = run("--help", path=make_command(tmp_path / "bin", "python3", text))

    assert 3 == done.returncode
    assert sentence in done.stderr
    assert "PYTHON=python3.12" in done.stderr
