"""An AWS that is moto, behind a proxy: the commands under test know nothing of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import moto
import requests
from botocore.config import Config

from tests.conftest import PROJECT
from tests.engine import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REGION = "eu-west-1"
ACCOUNT = "123456789012"

#: What `Aws.left` finds where nothing is left.
NOTHING: dict[str, list[str]] = {
    "endpoints": [],
    "configurations": [],
    "models": [],
    "running jobs": [],
    "objects": [],
}
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@dataclass(frozen=True)
class Aws:
    """The fake account, and how programs reach it."""

    proxy: str
    home: Path  #: without any AWS configuration of the user's
    client_program: Sequence[str | Path]  #: begins a command line of `python -m client`

    @property
    def environment(self) -> dict[str, str]:
        """What a program is given to believe that this is AWS."""
        certificate = str(Path(moto.__file__).parent / "moto_proxy" / "ca.crt")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(("AWS_", "SIMPLENET_", "HTTP_PROXY", "HTTPS_PROXY"))
        }
        return {
            **kept,
            "HOME": str(self.home),
            "HTTP_PROXY": self.proxy,
            "HTTPS_PROXY": self.proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            "AWS_CA_BUNDLE": certificate,
            "REQUESTS_CA_BUNDLE": certificate,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str, key: str = "inspector", region: str = REGION) -> Any:
        """Return boto3's client of a service, to prepare the account or to look at it.

        With its own key it may do everything, and what it asks is not recorded.
        """
        return boto3.Session(key, key, region_name=region).client(
            service,
            verify=self.environment["AWS_CA_BUNDLE"],
            config=Config(proxies={"https": self.proxy, "http": self.proxy}),
        )

    def call(self, method: str, path: str, **body: Any) -> requests.Response:
        """Ask moto itself for something, such as to forget everything."""
        return requests.request(
            method,
            f"http://motoapi.amazonaws.com/moto-api/{path}",
            json=body or None,
            proxies={"http": self.proxy},
            timeout=30,
        )

    def requests(self) -> list[dict[str, Any]]:
        """Return all that was sent since the account was prepared."""
        recording = self.home / "requests.jsonl"
        written = recording.read_text("utf-8") if recording.exists() else ""
        # The last line may be only half there, while the proxy writes it.
        return [json.loads(line) for line in written.splitlines(keepends=True) if line[-1] == "\n"]

    def asked(self, action: str) -> list[dict[str, Any]]:
        """Return what was sent for an action, such as CreateTrainingJob."""
        return [json.loads(entry["body"]) for entry in self.requests() if entry["action"] == action]

    def refuse(self, action: str, code: str, message: str, times: int = 1_000_000) -> None:
        """Let AWS refuse an action so many times from now on."""
        refusals = {action: {"code": code, "message": message, "times": times}}
        (self.home / "refusals.json").write_text(json.dumps(refusals), "utf-8")

    def settle(self, action: str, **attributes: Any) -> None:
        """Let what an action makes have these of moto's attributes from now on, such as a state."""
        path = self.home / "outcomes.json"
        outcomes = json.loads(path.read_text("utf-8")) if path.exists() else {}
        # Renamed, for the proxy may be about to read what was settled before.
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps({**outcomes, action: attributes}), "utf-8")
        draft.replace(path)

    def prepare(self) -> None:
        """Begin anew: an account with nothing but an execution role and a pushed image."""
        told = [self.home / name for name in ("refusals.json", "outcomes.json")]
        for file in (*told, *self.home.glob("*.gate")):
            file.unlink(missing_ok=True)
        self.call("POST", "reset")
        self.client("iam").create_role(
            RoleName="SageMakerRole", AssumeRolePolicyDocument=json.dumps(_TRUST)
        )
        ecr = self.client("ecr")
        ecr.create_repository(repositoryName="simplenet-sagemaker")
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "x", "size": 1, "digest": f"sha256:{'0' * 64}"},
            "layers": [],
        }
        ecr.put_image(
            repositoryName="simplenet-sagemaker",
            imageManifest=json.dumps(manifest),
            imageTag="latest",
        )
        (self.home / "requests.jsonl").unlink(missing_ok=True)

    def run(
        self, *words: str | Path, directory: Path = PROJECT, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m client` with the words, in a directory, against this account."""
        with self.started(*words, directory=directory, environment=environment) as process:
            said, log = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, log)

    def interrupt(
        self, action: str, *words: str | Path, number: signal.Signals = signal.SIGINT
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m client`, and send it a signal before an action of it is answered."""
        gate = self.home / f"{action}.gate"
        os.mkfifo(gate)
        with self.started(*words, anew=True) as process:
            wait_until(
                lambda: action in {entry["action"] for entry in self.requests()},
                f"it asks {action}",
            )
            with gate.open("wb"):
                gate.unlink()
                process.send_signal(number)
            said, log = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, log)

    def interrupt_at(
        self, sentences: Sequence[str], *words: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m client`, and press Ctrl-C each time it says one of these, in turn."""
        with self.started(*words, anew=True) as process:
            assert process.stdout
            assert process.stderr
            log = ""
            for sentence in sentences:
                for line in process.stderr:
                    log += line
                    if sentence in line:
                        break
                process.send_signal(signal.SIGINT)
            log += process.stderr.read()
            said = process.stdout.read()
        return subprocess.CompletedProcess(process.args, process.returncode, said, log)

    @contextmanager
    def started(
        self,
        *words: str | Path,
        directory: Path = PROJECT,
        anew: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start `python -m client`; it ends with the context.

        It imports everything anew if it is to hear signals at once, or has its own environment.
        """
        cold = anew or environment
        program = [sys.executable, "-m", "client"] if cold else self.client_program
        process = subprocess.Popen(
            [*program, *words],
            cwd=directory,
            env={**self.environment, "PYTHONPATH": str(PROJECT), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def left(self) -> dict[str, list[str]]:
        """Name what is there on SageMaker, or runs, by kind, and in S3 but for the user's data."""
        sagemaker, s3 = self.client("sagemaker"), self.client("s3")
        jobs = [
            *sagemaker.list_training_jobs()["TrainingJobSummaries"],
            *sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"],
            *sagemaker.list_transform_jobs()["TransformJobSummaries"],
        ]
        states = ("TrainingJobStatus", "HyperParameterTuningJobStatus", "TransformJobStatus")
        objects = [
            found["Key"]
            for bucket in s3.list_buckets()["Buckets"]
            for found in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", [])
        ]
        return {
            "endpoints": [one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]],
            "configurations": [
                one["EndpointConfigName"]
                for one in sagemaker.list_endpoint_configs()["EndpointConfigs"]
            ],
            "models": [one["ModelName"] for one in sagemaker.list_models()["Models"]],
            "running jobs": [
                str(job)
                for job in jobs
                if not {"Completed", "Failed", "Stopped"} & {job.get(state) for state in states}
            ],
            "objects": [key for key in objects if not key.startswith("simplenet/data/")],
        }


@contextmanager
def serve(home: Path, client_program: Sequence[str | Path]) -> Iterator[Aws]:
    """Run moto's proxy until the context ends."""
    port = free_port()
    aws = Aws(f"http://127.0.0.1:{port}", home, client_program)
    proxy = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("recording_proxy.py"), home, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(aws), "moto's proxy answers")
        yield aws
    finally:
        proxy.terminate()
        proxy.wait()


def _answers(aws: Aws) -> bool:
    try:
        return aws.call("POST", "reset").ok
    except requests.RequestException:
        return False
