"""`evaluate` of an endpoint: the account is moto, the container behind the endpoint is real."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest
from matplotlib import image

from client.runtime import VirtualEnvironment
from tests.client import sagemaker_runtime
from tests.client.aws import ACCOUNT, REGION
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.client.aws import Aws
    from tests.client.conftest import Told
    from tests.client.sagemaker_runtime import Runtime

BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"
JOB = "simplenet-2026-01-01-00-00-00-000"
MODEL = f"s3://{BUCKET}/simplenet/jobs/{JOB}/output/model.tar.gz"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/SageMakerRole"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/simplenet-sagemaker@sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def runtime(told: Told) -> Iterator[Runtime]:
    """SageMaker's runtime, with the demo's model at every endpoint."""
    log = told.output / "runtime.log"
    with (
        VirtualEnvironment().serve(told.output / "serving", log) as container,
        sagemaker_runtime.serve(container.url) as found,
    ):
        yield found


@pytest.fixture
def account(aws: Aws) -> Aws:
    """An account in which a job has ended, and an endpoint serves its model."""
    sagemaker = aws.client("sagemaker")
    channel = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/simplenet/data/train"}
    sagemaker.create_training_job(
        TrainingJobName=JOB,
        RoleArn=ROLE,
        AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": channel}}],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/simplenet/jobs"},
        ResourceConfig={"InstanceType": "ml.c4.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
        HyperParameters={"epochs": "2"},
    )
    sagemaker.create_model(
        ModelName="model",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": MODEL},
    )
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "model",
        "InstanceType": "ml.t2.medium",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="one", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="moons", EndpointConfigName="one")
    logs = aws.client("logs")
    place: dict[str, Any] = {
        "logGroupName": "/aws/sagemaker/TrainingJobs",
        "logStreamName": f"{JOB}/algo-1-1",
    }
    logs.create_log_group(logGroupName=place["logGroupName"])
    logs.create_log_stream(**place)
    line = "channel train: 1 file, 18479 bytes, 450 rows of a label and 2 features"
    logs.put_log_events(
        **place, logEvents=[{"timestamp": int(1000 * time.time()), "message": line}]
    )
    aws.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    aws.client("s3").put_object(Bucket=BUCKET, Key=output_key(), Body=output_archive())
    return aws


def output_key() -> str:
    """Return where SageMaker puts what a job leaves in /opt/ml/output/data."""
    return f"simplenet/jobs/{JOB}/output/output.tar.gz"


def output_archive() -> bytes:
    """Return it, of a job of two epochs."""
    packed = io.BytesIO()
    texts = {
        "metrics.json": '{"epoch": 2, "train_loss": 0.25}',
        "history.csv": "epoch,train_loss,train_accuracy\n1,0.5,0.8\n2,0.25,0.9\n",
    }
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def test_an_endpoint_is_evaluated_with_its_card_and_pictures(
    account: Aws, runtime: Runtime, tmp_path: Path
) -> None:
    """The SDK's Predictor asks in npy; the card knows the job that the model comes from."""
    runtime.asked.clear()
    done = account.run(
        *("evaluate", PROJECT / "local_test/test.csv", "--endpoint", "moons", "--json"),
        *("--card", tmp_path / "card.md", "--pictures", tmp_path),
        AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=runtime.url,
    )

    assert 0 == done.returncode, done.stderr
    figures = json.loads(done.stdout)
    assert 150 == sum(figures[name] for name in ("TP", "FP", "FN", "TN"))
    first = runtime.asked[0]
    assert ("/endpoints/moons/invocations", "application/x-npy") == (first["path"], first["type"])
    card = json.loads((tmp_path / "card.json").read_text("utf-8"))
    training = card["training"]
    assert (JOB, IMAGE, MODEL) == (training["job"], training["image"], training["model"])
    assert "1 x ml.c4.xlarge" == training["machines"]
    assert {"epochs": "2"} == training["hyperparameters"]["given"]
    assert 16 == training["hyperparameters"]["default"]["batch_size"]
    train = {"name": "train", "address": f"s3://{BUCKET}/simplenet/data/train", "rows": 450}
    assert [train] == training["channels"]
    assert {"epoch": 2, "train_loss": 0.25} == training["metrics"]
    assert figures == card["evaluation"]["figures"]
    assert f"| {JOB} |" in (tmp_path / "card.md").read_text("utf-8")
    for name in ("roc", "calibration", "boundary", "history"):
        assert image.imread(tmp_path / f"{name}.png").std() > 0.05, name


def test_what_is_gone_is_not_known_to_the_card(
    account: Aws, runtime: Runtime, tmp_path: Path
) -> None:
    """Without the log and the outputs the card is written all the same, and says so."""
    account.client("s3").delete_object(Bucket=BUCKET, Key=output_key())
    account.client("logs").delete_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
    done = account.run(
        *("evaluate", PROJECT / "local_test/test.csv", "--endpoint", "moons"),
        *("--card", tmp_path / "card.md"),
        AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=runtime.url,
    )

    assert 0 == done.returncode, done.stderr
    (train,) = json.loads((tmp_path / "card.json").read_text("utf-8"))["training"]["channels"]
    assert train["rows"] is None
    assert f"| s3://{BUCKET}/simplenet/data/train | not counted |" in (
        (tmp_path / "card.md").read_text("utf-8")
    )


def test_an_endpoint_that_refuses_gets_a_sentence(
    account: Aws, runtime: Runtime, tmp_path: Path
) -> None:
    """The container's own, as SageMaker passes it on."""
    (tmp_path / "rows.csv").write_text("1,2,3,4\n0,5,6,7\n")
    done = account.run(
        "evaluate",
        tmp_path / "rows.csv",
        "--endpoint",
        "moons",
        AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=runtime.url,
    )

    assert 1 == done.returncode
    assert done.stderr.startswith("Error: The endpoint answers HTTP 400: ")
    assert "expected 2" in done.stderr
    assert "Traceback" not in done.stderr
