"""`upload` and `train` against an AWS that is moto: what it was asked for, in its own words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from client import metrics
from tests.client.aws import ACCOUNT, REGION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws

BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"


@pytest.fixture
def uploaded(aws: Aws, tmp_path: Path) -> Aws:
    """An account with the moon data in its bucket."""
    assert aws.run("data", "--output", tmp_path / "data").returncode == 0
    done = aws.run("upload", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    return aws


def test_upload_copies_each_channel_and_lists_it(uploaded: Aws) -> None:
    """Under the project's prefix of the default bucket, which is made where it is missing."""
    found = uploaded.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]

    keys = {item["Key"] for item in found}
    assert {"simplenet/data/train/train.csv", "simplenet/data/test/test.csv"} <= keys


def test_upload_names_what_was_there_before(uploaded: Aws, tmp_path: Path) -> None:
    """A channel of an earlier time is a channel of the next job, too."""
    put = uploaded.client("s3").put_object
    for key in ("simplenet/data/model/model.tar.gz", "simplenet/jobs/a/model.tar.gz"):
        put(Bucket=BUCKET, Key=key, Body=b"x")

    done = uploaded.run("upload", tmp_path / "data")

    assert 0 == done.returncode, done.stderr
    address = f"s3://{BUCKET}/simplenet/data"
    assert f"1 more from before, such as {address}/model/model.tar.gz: " in done.stderr
    assert f"aws s3 rm --recursive {address}\n" in done.stderr


@pytest.mark.parametrize(("given", "sent"), [(".1", "0.1"), ("1", "1.0"), ("1e-3", "0.001")])
def test_a_number_is_sent_as_the_container_reads_it(uploaded: Aws, given: str, sent: str) -> None:
    """However it is spelt here: a job that refuses it has cost already (T15)."""
    words = ("train", "--role", "SageMakerRole", "-p", f"lr={given}", "-p", "epochs=+7")
    done = uploaded.run(*words, "--no-wait")

    assert 0 == done.returncode, done.stderr
    (job,) = uploaded.asked("CreateTrainingJob")
    assert {"lr": sent, "epochs": "7"}.items() <= job["HyperParameters"].items()


def test_a_dry_upload_tells_a_script_what_would_be_there(aws: Aws, tmp_path: Path) -> None:
    """As the upload itself does, and nothing is made."""
    told = json.loads(aws.run("data", "--output", tmp_path / "data", "--json").stdout)
    assert {"train", "test", "picture"} == set(told)

    done = aws.run("upload", tmp_path / "data", "--dry-run", "--json")

    assert 0 == done.returncode, done.stderr
    assert {"data": f"s3://{BUCKET}/simplenet/data", "files": 3} == json.loads(done.stdout)
    assert [] == aws.client("s3").list_buckets()["Buckets"]


def test_each_option_of_train_is_a_field_of_the_request(uploaded: Aws) -> None:
    """Spot with its limits and checkpoints, several hosts with a part of the files each, tags."""
    words = ("--spot", "--max-minutes", "5", "--instance-count", "3", "--sharded")
    more = ("--instance-type", "ml.m5.large", "-p", "epochs=20")

    done = uploaded.run("train", "--role", "SageMakerRole", *words, *more, "--no-wait")

    assert 0 == done.returncode, done.stderr
    (job,) = uploaded.asked("CreateTrainingJob")
    name = job["TrainingJobName"]
    algorithm = job.pop("AlgorithmSpecification")
    home = f"s3://{BUCKET}/simplenet"
    assert {
        "TrainingJobName": name,
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/SageMakerRole",
        "HyperParameters": {"epochs": "20"},
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "ContentType": "text/csv",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"{home}/data/{channel}",
                        "S3DataDistributionType": "ShardedByS3Key",
                    }
                },
            }
            for channel in ("train", "test")
        ],
        "OutputDataConfig": {"S3OutputPath": f"{home}/jobs"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 3,
            "VolumeSizeInGB": 30,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 600},
        "Environment": {},
        # What the SDK asks for by itself; no profiler, which costs time.
        "ProfilerConfig": {"DisableProfiler": True},
        "DebugHookConfig": {"CollectionConfigurations": [], "S3OutputPath": f"{home}/jobs"},
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": f"{home}/checkpoints/{name}"},
        "Tags": [{"Key": "simplenet:project", "Value": "simplenet"}],
    } == job
    assert "File" == algorithm["TrainingInputMode"]
    assert algorithm["TrainingImage"].startswith(f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/")


def test_train_asks_for_what_the_notebook_asked_for(uploaded: Aws) -> None:
    """One ml.c4.xlarge, the channels, the metrics that the log has, and tags to find it by."""
    done = uploaded.run("train", "--role", "SageMakerRole", "-p", "epochs=20", "--json")

    assert 0 == done.returncode, done.stderr
    (job,) = uploaded.asked("CreateTrainingJob")
    assert json.loads(done.stdout)["job"] == job["TrainingJobName"]
    assert "ml.c4.xlarge" == job["ResourceConfig"]["InstanceType"]
    assert {"epochs": "20"} == job["HyperParameters"]
    assert metrics.DEFINITIONS == job["AlgorithmSpecification"]["MetricDefinitions"]
    channels = {channel["ChannelName"]: channel for channel in job["InputDataConfig"]}
    assert {"train", "test"} == set(channels)
    assert "text/csv" == channels["train"]["ContentType"]
    source = channels["train"]["DataSource"]["S3DataSource"]
    assert f"s3://{BUCKET}/simplenet/data/train" == source["S3Uri"]
    assert f"s3://{BUCKET}/simplenet/jobs" == job["OutputDataConfig"]["S3OutputPath"]
