"""`tune` against an AWS that is moto, and the table of hyperparameters that it searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from simplenet.hyperparameters import json_table

from client import hyperparameters, metrics
from client.hyperparameters import HyperparameterError
from tests.client.test_interruption import ROLE

if TYPE_CHECKING:
    from tests.client.aws import Aws


def test_the_clients_table_is_the_containers() -> None:
    """`make client/hyperparameters.json` has been run."""
    written = Path(hyperparameters.__file__).with_suffix(".json").read_text("utf-8")

    assert json_table() == written


def test_what_is_searched_lies_within_what_is_allowed() -> None:
    """And the default lies within what is searched: where tuning starts from is where one is."""
    for name, span in hyperparameters.SEARCH.items():
        knob = hyperparameters.TABLE[name]
        assert knob["low"] <= span.low < knob["default"] < span.high <= knob["high"]
        assert span.scale in {"Linear", "Logarithmic"}
        assert span.scale == "Linear" or span.low > 0


@pytest.mark.parametrize(
    ("given", "fixed", "sentence"),
    [
        (["lr"], [], "'lr' sets nothing; expected NAME=LOW:HIGH."),
        (["epoch=1:2"], [], "did you mean epochs?"),
        (["lr=0.1"], [], "Hyperparameter lr is ''; expected a number from"),
        (["lr=0.5:0.1"], [], "'lr=0.5:0.1' is no range"),
        (["epochs=1.5:3"], [], "epochs is '1.5'; expected a whole number"),
        (["lr=0.1:0.2"], ["lr"], "lr is given twice"),
        ([], [*hyperparameters.SEARCH], "Nothing is left to search"),
    ],
)
def test_a_range_that_is_none_gets_a_sentence(
    given: list[str], fixed: list[str], sentence: str
) -> None:
    """Before anything is asked of AWS."""
    with pytest.raises(HyperparameterError) as refused:
        hyperparameters.ranges(given, fixed)

    assert sentence in str(refused.value)


def settle_best(stored: Aws, **attributes: str) -> str:
    """Let a search end with a best job, and have these of moto's attributes; return its name."""
    assert 0 == stored.run("train", *ROLE, "--no-wait").returncode
    (job,) = stored.asked("CreateTrainingJob")
    name: str = job["TrainingJobName"]
    metric = {"MetricName": "validation_accuracy", "Value": 0.95, "Type": "Maximize"}
    stored.settle(
        "CreateHyperParameterTuningJob",
        best_training_job={
            "TrainingJobName": name,
            "TrainingJobArn": "arn:aws:sagemaker:eu-west-1:123456789012:training-job/x",
            "TrainingJobStatus": "Completed",
            "CreationTime": 0,
            "TunedHyperParameters": {"lr": "0.31", "hidden_dim": "24"},
            "FinalHyperParameterTuningJobObjectiveMetric": metric,
        },
        **attributes,
    )
    return name


def test_a_search_that_fails_shows_its_best_job_and_fails(stored: Aws) -> None:
    """It is the best of fewer jobs than were asked for, which a script must not miss."""
    why = "Too many of its training jobs failed"
    best = settle_best(stored, hyper_parameter_tuning_job_status="Failed", failure_reason=why)

    done = stored.run("tune", *ROLE, "--json")

    assert 1 == done.returncode
    found = json.loads(done.stdout)
    assert (best, "Failed") == (found["best job"], found["status"])
    last = done.stderr.splitlines()[-1]
    assert f"Error: The tuning job {found['tuning job']} is Failed: {why}." in last


def test_tune_asks_for_a_search_and_shows_the_best_job(stored: Aws) -> None:
    """Ranges, objective, limits, spot and tags; in the end what `train` and `deploy` can take."""
    best = settle_best(stored)
    search = ("--search", "lr=0.05:0.5", "--search", "hidden_dim=8:64", "-p", "epochs=40")
    options = ("--objective", "validation_accuracy", "--max-jobs", "9", "--parallel", "3", "--spot")

    done = stored.run("tune", *ROLE, *search, *options, "--json")

    assert 0 == done.returncode, done.stderr
    (asked,) = stored.asked("CreateHyperParameterTuningJob")
    found = json.loads(done.stdout)
    assert asked["HyperParameterTuningJobName"] == found["tuning job"]
    assert 32 >= len(found["tuning job"])
    config, definition = asked["HyperParameterTuningJobConfig"], asked["TrainingJobDefinition"]
    assert {"Type": "Maximize", "MetricName": "validation_accuracy"} == config[
        "HyperParameterTuningJobObjective"
    ]
    assert {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 3} == config["ResourceLimits"]
    ranges = config["ParameterRanges"]
    (lr,), (hidden_dim,) = ranges["ContinuousParameterRanges"], ranges["IntegerParameterRanges"]
    scale = {"ScalingType": "Logarithmic"}
    assert {"Name": "lr", "MinValue": "0.05", "MaxValue": "0.5", **scale} == lr
    assert {"Name": "hidden_dim", "MinValue": "8", "MaxValue": "64", **scale} == hidden_dim
    assert "40" == definition["StaticHyperParameters"]["epochs"].strip('"')
    assert metrics.DEFINITIONS == definition["AlgorithmSpecification"]["MetricDefinitions"]
    assert definition["EnableManagedSpotTraining"]
    assert definition["CheckpointConfig"]["S3Uri"].endswith(found["tuning job"])
    assert [{"Key": "simplenet:project", "Value": "simplenet"}] == asked["Tags"]
    channels = {channel["ChannelName"] for channel in definition["InputDataConfig"]}
    assert {"train", "validation", "test"} == channels
    assert 0.95 == found["validation_accuracy"]
    assert "-p hidden_dim=24 -p lr=0.31" == found["hyperparameters"]
    assert found["model"].endswith(f"{best}/output/model.tar.gz")
    assert "python -m client train -p hidden_dim=24 -p lr=0.31" in done.stderr


def test_nothing_is_tuned_without_rows_to_judge_by(stored: Aws) -> None:
    """What learns the training rows by heart would be the best job; nor is anything asked dry."""
    dry = stored.run("tune", *ROLE, "--dry-run", "--json")
    bucket = stored.client("s3").list_buckets()["Buckets"][0]["Name"]
    stored.client("s3").delete_object(Bucket=bucket, Key="simplenet/data/validation/validation.csv")
    refused = stored.run("tune", *ROLE)

    assert set(hyperparameters.SEARCH) == set(json.loads(dry.stdout)["ranges"])
    assert 1 == refused.returncode
    assert "python -m client data --validation 0.2 writes one" in refused.stderr
    assert [] == stored.asked("CreateHyperParameterTuningJob")
