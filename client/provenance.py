"""Where a model comes from: the record of its job, on SageMaker or in local mode's directory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import tarfile
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from client.files import replacing
from client.names import LOCAL_OUTPUT
from client.refusal import Refusal
from client.storage import Prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from client.account import Account
    from client.training_job import TrainingJob

# Next to model.tar.gz, since local mode remembers nothing.
_NOTE = "job.json"

# The group of CloudWatch that jobs log to, a stream for each host.
_LOG = "/aws/sagemaker/TrainingJobs"

_ROWS = re.compile(r"channel (\S+): .*?(\d+) rows of a label and \d+ features(.*)")


@dataclass(frozen=True)
class Channel:
    """What a job read under one name."""

    name: str
    address: str
    rows: int | None = None  #: None where nobody counted them


@dataclass(frozen=True)
class Training:
    """What is known of the job that a model comes from."""

    job: str
    image: str  #: with its digest, where it is known
    model: str  #: the address of model.tar.gz
    machines: str  #: such as 1 x ml.c4.xlarge
    hyperparameters: Mapping[str, str]  #: those that were given
    channels: Sequence[Channel]
    began: str | None = None  #: ISO 8601, UTC
    seconds: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)  #: what the job itself found
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)  #: one number an epoch


class ProvenanceError(Refusal):
    """A job of which nothing is known here; the message says where it was looked for."""


def is_local(job: str) -> bool:
    """Tell whether a job ran in local mode, in this directory."""
    return (LOCAL_OUTPUT / job / _NOTE).exists()


def of_local_job(job: str) -> Training:
    """Return what local mode's directory holds of a job.

    Raises:
        ProvenanceError: if it holds no such job.
    """
    directory = LOCAL_OUTPUT / job
    try:
        found = json.loads((directory / _NOTE).read_text("utf-8"))
    except FileNotFoundError:
        raise ProvenanceError(
            f"{LOCAL_OUTPUT} has no job {job!r} that ended well; expected a name that "
            "python -m client train --local has printed."
        ) from None
    channels = [Channel(**channel) for channel in found.pop("channels")]
    training = Training(**found, channels=channels)
    archive = directory / "output.tar.gz"
    return _with_output(training, archive.read_bytes()) if archive.exists() else training


def note_local_job(job: TrainingJob, description: Mapping[str, Any]) -> None:
    """Write down what local mode would forget of a job, next to its model."""
    inspected = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Id}}", job.image],
        capture_output=True,
        text=True,
        check=False,
    )
    began, ended = description.get("TrainingStartTime"), description.get("TrainingEndTime")
    training = Training(
        job=job.name,
        image="@".join(filter(None, [job.image, inspected.stdout.strip()])),
        model=description["ModelArtifacts"]["S3ModelArtifacts"],
        machines=f"{job.instance_count} x local",
        hyperparameters=dict(job.hyperparameters),
        channels=[
            Channel(name, address, count(_files(address)))
            for name, address in job.channels.items()
            if name != "model"
        ],
        began=_utc(began),
        seconds=round((ended - began).total_seconds()) if began and ended else None,
    )
    with replacing(LOCAL_OUTPUT / job.name / _NOTE) as temporary:
        temporary.write_text(json.dumps(asdict(training), indent=2), "utf-8")


def job_of_endpoint(sagemaker: Any, endpoint: str) -> str | None:
    """Return the name of the job whose model an endpoint serves; None if it tells no such name."""
    configuration = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    found = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)
    model = sagemaker.describe_model(ModelName=found["ProductionVariants"][0]["ModelName"])
    container = model.get("PrimaryContainer") or model["Containers"][0]
    # SageMaker itself puts the job's name there.
    job = re.search(r"/([^/]+)/output/model\.tar\.gz$", container.get("ModelDataUrl", ""))
    return job[1] if job else None


def of_job(account: Account, job: str) -> Training:
    """Return what SageMaker, its log and S3 know of a job."""
    found = account.client("sagemaker").describe_training_job(TrainingJobName=job)
    resources = found["ResourceConfig"]
    rows = _logged_rows(account.client("logs"), job)
    model = (found.get("ModelArtifacts") or {}).get("S3ModelArtifacts", "none")
    training = Training(
        job=job,
        image=found["AlgorithmSpecification"]["TrainingImage"],
        model=model,
        machines=f"{resources['InstanceCount']} x {resources['InstanceType']}",
        hyperparameters=found.get("HyperParameters", {}),
        channels=[
            Channel(
                channel["ChannelName"],
                channel["DataSource"]["S3DataSource"]["S3Uri"],
                rows.get(channel["ChannelName"]),
            )
            for channel in found.get("InputDataConfig", [])
        ],
        began=_utc(found.get("TrainingStartTime") or found.get("CreationTime")),
        seconds=found.get("TrainingTimeInSeconds"),
    )
    output = _object(account.client("s3"), re.sub(r"model\.tar\.gz$", "output.tar.gz", model))
    return _with_output(training, output) if output else training


def count(files: Iterable[Path]) -> int:
    """Count the rows of CSV files, packed by gzip or not."""
    rows = 0
    for path in files:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            rows += sum(1 for line in file if line.strip())
    return rows


def logged_rows(log: Iterable[str]) -> dict[str, int]:
    """Return how many rows each channel had, as the job's log says it.

    >>> logged_rows(["channel train: 1 file, 9 bytes, 3 rows of a label and 2 features"])
    {'train': 3}
    """
    rows: dict[str, int] = {}
    for line in log:
        if found := _ROWS.search(line):
            name, number, part = found[1], int(found[2]), found[3]
            # Hosts have all rows each, or a part each.
            rows[name] = rows.get(name, 0) + number if part else number
    return rows


def _logged_rows(logs: Any, job: str) -> dict[str, int]:
    """Ask CloudWatch for the first lines of each host; nothing where they are gone, or secret."""
    try:
        streams = logs.describe_log_streams(logGroupName=_LOG, logStreamNamePrefix=f"{job}/")
        lines = [
            event["message"]
            for stream in streams["logStreams"]
            for event in logs.get_log_events(
                logGroupName=_LOG, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]
    except logs.exceptions.ClientError:
        return {}
    return logged_rows(lines)


def _object(s3: Any, address: str) -> bytes | None:
    """Return an object of S3; None where there is none, or it may not be read."""
    if not address.startswith("s3://"):
        return None
    place = Prefix.of(address)
    try:
        body: bytes = s3.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()
    except s3.exceptions.ClientError:
        return None
    return body


def _with_output(training: Training, archive: bytes) -> Training:
    """Add what the job itself left in output.tar.gz: its metrics and their history."""
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            name = member.name.rsplit("/", 1)[-1]
            if name in {"metrics.json", "history.csv"} and (file := tar.extractfile(member)):
                members[name] = file.read()
    return replace(
        training,
        metrics=json.loads(members.get("metrics.json", b"{}")),
        history=read_history(members.get("history.csv", b"").decode()),
    )


def read_history(text: str) -> dict[str, list[float]]:
    """Return the columns of history.csv, one number an epoch, without the empty ones."""
    rows = list(csv.DictReader(io.StringIO(text)))
    columns = {
        name: [float(row[name]) for row in rows if row[name]] for name in (rows[0] if rows else {})
    }
    return {name: numbers for name, numbers in columns.items() if numbers and name != "epoch"}


def _files(address: str) -> Sequence[Path]:
    path = Path(url2pathname(urlsplit(address).path))
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file() and not file.name.startswith((".", "_"))]


def _utc(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(timezone.utc).isoformat(timespec="seconds")
