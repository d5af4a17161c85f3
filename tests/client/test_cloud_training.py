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
