"""Ctrl-C at each step of what costs: nothing is left that runs, or that was made for it."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.client.aws import NOTHING
from tests.engine import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws

ROLE = ("--role", "SageMakerRole")
MODEL = ("--model-data", "s3://sagemaker-x/simplenet/model.tar.gz")

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


#: With which words SageMaker refuses to delete an endpoint that it is busy with.
BUSY = ("DeleteEndpoint", "ValidationException", "Cannot update in-progress endpoint")


@pytest.mark.parametrize("action", ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"])
def test_an_interrupted_deploy_deletes_what_it_made(aws: Aws, action: str) -> None:
    """While each of its three things is being made; a closed terminal is like Ctrl-C."""
    aws.settle("CreateEndpoint", **RUNNING["CreateEndpoint"])

    done = aws.interrupt(action, "deploy", *ROLE, *MODEL, number=signal.SIGHUP)

    assert 130 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert NOTHING == aws.left()


def test_a_second_interrupt_ends_the_wait_and_names_what_is_left(aws: Aws) -> None:
    """With the command that deletes it later; nothing is said to have been stopped."""
    aws.settle("CreateEndpoint", **RUNNING["CreateEndpoint"])
    aws.refuse(*BUSY)
    deploy = ("deploy", *ROLE, *MODEL)

    done = aws.interrupt_at(["simplenet: Creating", "can be deleted only when that ends"], *deploy)

    last = done.stderr.splitlines()[-1]
    assert 130 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert "has been stopped" not in done.stderr
    assert last.startswith("Interrupted. The endpoint simplenet is left, and costs: ")
    assert "it is still Creating" in last
    assert last.endswith("python -m client delete --endpoint simplenet")
    assert ["simplenet"] == aws.left()["endpoints"]

    aws.refuse("Nothing", "", "")
    assert 0 == aws.run(*last.partition("python -m client ")[2].split()).returncode
    assert NOTHING == aws.left()


def test_a_second_interrupt_of_a_run_names_its_endpoint(aws: Aws, tmp_path: Path) -> None:
    """And ends the run then, which does not begin to wait once more."""
    aws.settle("CreateEndpoint", **RUNNING["CreateEndpoint"])
    aws.refuse(*BUSY)
    run = ("run", *ROLE, "--output", tmp_path / "run")

    done = aws.interrupt_at([": Creating", "can be deleted only when that ends"], *run)

    (left,) = aws.left()["endpoints"]
    last = done.stderr.splitlines()[-1]
    assert 130 == done.returncode, done.stderr
    assert last.startswith(f"Interrupted. The endpoint {left} is left, and costs: ")
    assert last.endswith(f"python -m client delete --endpoint {left}")


@pytest.mark.parametrize(
    ("status", "has_new", "said", "kept"),
    [
        ("InService", False, "serves on, with its old model, and costs", 1),
        ("InService", True, "serves on, with its new model, and costs", 2),
        ("Updating", False, "is Updating, which nobody can stop", 2),
    ],
    ids=["rolled back", "done", "under way"],
)
def test_an_interrupted_update_says_what_serves_on(
    aws: Aws,
    status: str,
    has_new: bool,  # noqa: FBT001  # a column of the table
    said: str,
    kept: int,
) -> None:
    """The endpoint was there before, and so it stays, with whatever it may need."""
    assert 0 == aws.run("deploy", *ROLE, *MODEL).returncode
    (old,) = aws.left()["configurations"]
    has = {} if has_new else {"endpoint_config_name": old}
    aws.settle("UpdateEndpoint", endpoint_status=status, **has)

    done = aws.interrupt("UpdateEndpoint", "deploy", *ROLE, *MODEL)

    last = done.stderr.splitlines()[-1]
    assert 130 == done.returncode, done.stderr
    assert last.startswith("Interrupted. The endpoint simplenet ")
    assert said in last
    assert "delete --endpoint simplenet deletes it" in last
    left = aws.left()
    assert ["simplenet"] == left["endpoints"]
    assert kept == len(left["configurations"]) == len(left["models"])
    serving = aws.client("sagemaker").describe_endpoint(EndpointName="simplenet")
    assert (old != serving["EndpointConfigName"]) == has_new
    assert serving["EndpointConfigName"] in left["configurations"]


def test_an_update_that_aws_refuses_says_what_serves_on(aws: Aws) -> None:
    """Beside the reason, and what was made for it is deleted again."""
    assert 0 == aws.run("deploy", *ROLE, *MODEL).returncode
    before = aws.left()
    aws.refuse("UpdateEndpoint", "ResourceLimitExceeded", "The limit is 1 Instances")

    done = aws.run("deploy", *ROLE, *MODEL, AWS_MAX_ATTEMPTS="1")

    assert 1 == done.returncode
    first, last = done.stderr.splitlines()[-2:]
    assert first.startswith("The endpoint simplenet serves on, with its old model, and costs.")
    assert last.startswith("Error: AWS refuses UpdateEndpoint")
    assert before == aws.left()


def test_an_interrupt_after_which_aws_stops_nothing_is_not_said_to_have_stopped(
    stored: Aws,
) -> None:
    """The job's name, why it may run on, and where that is seen."""
    stored.settle("CreateTrainingJob", **RUNNING["CreateTrainingJob"])
    stored.refuse("StopTrainingJob", "AccessDeniedException", "Not you")

    done = stored.interrupt("DescribeLogStreams", "train", *ROLE)

    (job,) = stored.asked("CreateTrainingJob")
    last = done.stderr.splitlines()[-1]
    assert 130 == done.returncode, done.stderr
    assert last.startswith(f"Interrupted. The job {job['TrainingJobName']} may be left, and cost: ")
    assert "AWS denies StopTrainingJob: Not you" in last
    assert "has been stopped" not in done.stderr


@pytest.mark.parametrize(
    ("action", "kept"),
    [
        ("PutObject", False),
        ("CreateTrainingJob", False),
        ("DescribeLogStreams", False),
        ("CreateModel", True),
        ("CreateEndpoint", True),
        ("InvokeEndpoint", True),
    ],
)
def test_an_interrupted_run_leaves_nothing(
    aws: Aws,
    tmp_path: Path,
    action: str,
    kept: bool,  # noqa: FBT001  # a column of the table
) -> None:
    """At every step of the story, and to a polite kill as well.

    Once there is a model in S3, so is the data that it comes from.
    """
    if action == "CreateTrainingJob":
        aws.settle(action, **RUNNING[action])

    done = aws.interrupt(action, "run", *ROLE, "--output", tmp_path / "run", number=signal.SIGTERM)

    assert 130 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    left = aws.left()
    assert kept == bool(left["objects"])
    assert all(key.startswith("simplenet/runs/") for key in left["objects"])
    assert NOTHING == left | {"objects": []}


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
    assert NOTHING == aws.left() | {"objects": []}


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
    assert NOTHING == aws.left() | {"objects": []}


def test_the_whole_story_leaves_no_endpoint(aws: Aws, tmp_path: Path) -> None:
    """Data, upload, training, endpoint, evaluation; and nothing is left that costs."""
    words = ("-p", "epochs=9", "--instance-count", "2", "--json", "--output", tmp_path / "run")
    done = aws.run("run", *ROLE, *words)

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert 150 == sum(found[name] for name in ("TP", "FP", "FN", "TN"))
    (job,) = aws.asked("CreateTrainingJob")
    assert found["job"] == job["TrainingJobName"]
    assert {"epochs": "9"} == job["HyperParameters"]
    assert 2 == job["ResourceConfig"]["InstanceCount"]
    (model,) = aws.asked("CreateModel")
    assert found["model"] == model["PrimaryContainer"]["ModelDataUrl"]
    assert "endpoint" not in found
    assert NOTHING == aws.left() | {"objects": []}
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
    assert NOTHING == aws.left() | {"objects": []}
