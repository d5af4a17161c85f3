"""Ctrl-C at each step of what costs: nothing is left that runs, or that was made for it."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.engine import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws

ROLE = ("--role", "SageMakerRole")
MODEL = ("--model-data", "s3://sagemaker-x/simplenet/model.tar.gz")
NOTHING: dict[str, list[str]] = {
    "endpoints": [],
    "configurations": [],
    "models": [],
    "running jobs": [],
}

#: What does not come to its end by itself.
RUNNING = {
    "CreateTrainingJob": {"training_job_status": "InProgress", "secondary_status": "Training"},
    "CreateHyperParameterTuningJob": {"hyper_parameter_tuning_job_status": "InProgress"},
    "CreateEndpoint": {"endpoint_status": "Creating"},
}


@pytest.mark.parametrize("action", ["DescribeImages", "CreateTrainingJob", "DescribeLogStreams"])
def test_an_interrupted_train_stops_its_job(stored: Aws, action: str) -> None:
    """Before it was made, while it is being made, and while its log is shown."""
    stored.settle("CreateTrainingJob", **RUNNING["CreateTrainingJob"])

    done = stored.interrupt(action, "train", *ROLE)

    assert 130 == done.returncode, done.stderr
    assert "Interrupted; what was started has been stopped." in done.stderr
    assert "Traceback" not in done.stderr
    assert NOTHING == stored.left()


@pytest.mark.parametrize(
    "action", ["CreateHyperParameterTuningJob", "DescribeHyperParameterTuningJob"]
)
def test_an_interrupted_tune_stops_all_its_jobs(stored: Aws, action: str) -> None:
    """While it is being made, and while it is waited for."""
    stored.settle("CreateHyperParameterTuningJob", **RUNNING["CreateHyperParameterTuningJob"])

    done = stored.interrupt(action, "tune", *ROLE)

    assert 130 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert NOTHING == stored.left()
    assert 1 == len(stored.asked("StopHyperParameterTuningJob"))


@pytest.mark.parametrize("action", ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"])
def test_an_interrupted_deploy_deletes_what_it_made(aws: Aws, action: str) -> None:
    """While each of its three things is being made; a closed terminal is like Ctrl-C."""
    aws.settle("CreateEndpoint", **RUNNING["CreateEndpoint"])

    done = aws.interrupt(action, "deploy", *ROLE, *MODEL, number=signal.SIGHUP)

    assert 130 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert NOTHING == aws.left()


@pytest.mark.parametrize(
    "action",
    [
        "PutObject",
        "CreateTrainingJob",
        "DescribeLogStreams",
        "CreateModel",
        "CreateEndpoint",
        "InvokeEndpoint",
    ],
)
def test_an_interrupted_run_leaves_nothing(aws: Aws, tmp_path: Path, action: str) -> None:
    """At every step of the story, and to a polite kill as well."""
    if action == "CreateTrainingJob":
        aws.settle(action, **RUNNING[action])

    done = aws.interrupt(action, "run", *ROLE, "--output", tmp_path / "run", number=signal.SIGTERM)

    assert 130 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert NOTHING == aws.left()


def fail_at_the_end(aws: Aws, output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the story, which cannot write its last file."""
    with aws.started("run", *ROLE, "--output", output, *words) as process:
        wait_until((output / "data.png").exists, "the story has begun")
        (output / "model_card.md").mkdir()
        said, log = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, log)


def test_a_story_that_ends_badly_keeps_no_endpoint(aws: Aws, tmp_path: Path) -> None:
    """Nobody would be told its name, and it would cost."""
    done = fail_at_the_end(aws, tmp_path / "run", "--keep")

    assert 1 == done.returncode
    assert "model_card.md" in done.stderr.splitlines()[-1]
    assert NOTHING == aws.left()


def test_what_a_failed_clean_up_leaves_is_named(aws: Aws, tmp_path: Path) -> None:
    """Beside the first reason, and not in its place."""
    aws.refuse("DeleteEndpoint", "AccessDeniedException", "Not you")

    done = fail_at_the_end(aws, tmp_path / "run")

    assert 1 == done.returncode
    assert "model_card.md" in done.stderr.splitlines()[-1]
    (left,) = aws.left()["endpoints"]
    assert f"The endpoint {left} may be left, and cost: AWS denies DeleteEndpoint" in done.stderr


def test_a_job_is_stopped_where_aws_refuses_to_tell_of_it(stored: Aws) -> None:
    """It was made all the same, and nobody would follow it."""
    stored.settle("CreateTrainingJob", **RUNNING["CreateTrainingJob"])
    stored.refuse("DescribeTrainingJob", "ThrottlingException", "Rate exceeded", times=1)

    done = stored.run("train", *ROLE, "--no-wait", AWS_MAX_ATTEMPTS="1")

    assert 1 == done.returncode
    assert "AWS refuses DescribeTrainingJob" in done.stderr
    assert NOTHING == stored.left()


def test_a_clean_up_is_not_interrupted(aws: Aws, tmp_path: Path) -> None:
    """A second Ctrl-C, while the first one is cleaned up after, changes nothing."""
    done = aws.interrupt("DeleteEndpoint", "run", *ROLE, "--output", tmp_path / "run")

    assert "Traceback" not in done.stderr
    assert NOTHING == aws.left()


def test_the_whole_story_leaves_no_endpoint(aws: Aws, tmp_path: Path) -> None:
    """Data, upload, training, endpoint, evaluation; and nothing is left that costs."""
    done = aws.run("run", *ROLE, "-p", "epochs=9", "--json", "--output", tmp_path / "run")

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert 150 == sum(found[name] for name in ("TP", "FP", "FN", "TN"))
    (job,) = aws.asked("CreateTrainingJob")
    assert found["job"] == job["TrainingJobName"]
    assert {"epochs": "9"} == job["HyperParameters"]
    (model,) = aws.asked("CreateModel")
    assert found["model"] == model["PrimaryContainer"]["ModelDataUrl"]
    assert "endpoint" not in found
    assert NOTHING == aws.left()
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"data.png", "boundary.png", "model_card.md", "model_card.json"} <= left
    card = (tmp_path / "run" / "model_card.md").read_text("utf-8")
    assert found["job"] in card
    assert "on ml.t2.medium" in card


def test_the_endpoint_is_kept_on_request(aws: Aws, tmp_path: Path) -> None:
    """And deleted by its name, with all that belongs to it."""
    kept = aws.run("run", *ROLE, "--keep", "--json", "--output", tmp_path / "run")
    name = json.loads(kept.stdout)["endpoint"]
    assert [name] == aws.left()["endpoints"]
    assert f"python -m client delete --endpoint {name}" in kept.stderr

    done = aws.run("delete", "--endpoint", name)

    assert 0 == done.returncode, done.stderr
    assert NOTHING == aws.left()
