"""`transform` against an AWS that is moto: the batch job that it was asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.client.aws import ACCOUNT, NOTHING, REGION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws

BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"
TRANSFORM = ("transform", "--role", "SageMakerRole", "--json")
MODEL = ("--model-data", f"s3://{BUCKET}/simplenet/jobs/job-1/output/model.tar.gz")


def test_a_name_in_use_is_refused(stored: Aws, moons_with_validation: Path, tmp_path: Path) -> None:
    """Or another model would score, and be deleted in the end."""
    stored.client("sagemaker").create_model(
        ModelName="taken", ExecutionRoleArn="arn:aws:iam::1:role/x"
    )
    rows = moons_with_validation / "test" / "test.csv"

    done = stored.run(*TRANSFORM, *MODEL, "--name", "taken", rows, "--output", tmp_path / "scores")

    assert 1 == done.returncode
    assert "There is a model taken already" in done.stderr
    assert NOTHING | {"models": ["taken"]} == stored.left()  # nor are its rows overwritten
    assert [] == stored.asked("CreateTransformJob")


def test_a_file_is_scored_by_line_and_joined(
    stored: Aws, moons_with_validation: Path, tmp_path: Path
) -> None:
    """The rows go up; CSV is cut into many lines a request and put together by line again."""
    words = ("--input-filter", "$[1:]", "--join", moons_with_validation / "test" / "test.csv")

    done = stored.run(*TRANSFORM, *MODEL, *words, "--output", tmp_path / "scores")

    # moto's job writes nothing, and a job that has left nothing is not taken for a good one.
    assert (1, True) == (done.returncode, "is empty" in done.stderr), done.stderr
    (job,) = stored.asked("CreateTransformJob")
    home = f"s3://{BUCKET}/simplenet/batch/{job['TransformJobName']}"
    assert {
        "TransformJobName": job["TransformJobName"],
        "ModelName": job["TransformJobName"],
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": 6,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{home}/input"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": f"{home}/output",
            "Accept": "text/csv",
            "AssembleWith": "Line",
        },
        "TransformResources": {"InstanceType": "ml.c4.xlarge", "InstanceCount": 1},
        "DataProcessing": {"InputFilter": "$[1:]", "JoinSource": "Input"},
        "Tags": [{"Key": "simplenet:project", "Value": "simplenet"}],
    } == job
    key = f"simplenet/batch/{job['TransformJobName']}/input/test.csv"
    assert NOTHING | {"objects": [key]} == stored.left()


def test_scores_are_downloaded_as_one_line_a_row(stored: Aws, tmp_path: Path) -> None:
    """Rows that are in S3 already are read there, and the empty lines of "Line" are dropped."""
    scores = {"Body": b"0.5\n\n0.25\n\n", "Bucket": BUCKET}
    name = "simplenet-fixed"
    stored.client("s3").put_object(Key=f"simplenet/batch/{name}/output/test.csv.out", **scores)
    address = f"s3://{BUCKET}/simplenet/data/test"

    done = stored.run(*TRANSFORM, *MODEL, address, "--name", name, "--output", tmp_path / "scores")

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)["scores"]
    assert [str(tmp_path / "scores" / "test.csv.out")] == found
    assert "0.5\n0.25\n" == (tmp_path / "scores" / "test.csv.out").read_text("utf-8")
    (job,) = stored.asked("CreateTransformJob")
    assert address == job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]


def test_a_failed_job_says_why_and_leaves_no_model(stored: Aws, tmp_path: Path) -> None:
    """In SageMaker's words, and where the log is."""
    why = "ClientError: See job logs for more information"
    stored.settle("CreateTransformJob", transform_job_status="Failed", failure_reason=why)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"features": [0.5, 0.25]}\n', "utf-8")

    done = stored.run(*TRANSFORM, *MODEL, rows)

    assert 1 == done.returncode
    assert why in done.stderr
    assert "/aws/sagemaker/TransformJobs" in done.stderr
    (job,) = stored.asked("CreateTransformJob")
    assert "application/jsonlines" == job["TransformInput"]["ContentType"]
    assert NOTHING == stored.left()


@pytest.mark.parametrize("moment", ["PutObject", "CreateModel", "CreateTransformJob", ""])
def test_an_interrupted_job_is_stopped(stored: Aws, tmp_path: Path, moment: str) -> None:
    """While its rows go up, its model and it are made, and it is waited for; model and rows go."""
    stored.settle("CreateTransformJob", transform_job_status="InProgress")
    rows = tmp_path / "rows.csv"
    rows.write_text("0.5,0.25\n", "utf-8")
    words = (*TRANSFORM, *MODEL, rows)

    done = (
        stored.interrupt(moment, *words)
        if moment
        else stored.interrupt_at([": InProgress"], *words)
    )

    assert 130 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert len(stored.asked("CreateTransformJob")) == len(stored.asked("StopTransformJob"))
    assert NOTHING == stored.left()
