"""The SDK's local mode with the real image: no account, no network to AWS, and nothing left."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from client import artefact
from tests.conftest import PROJECT
from tests.engine import docker, free_port, healthy, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.docker

_LABEL = "com.docker.compose.project.working_dir"


def environment() -> dict[str, str]:
    """No credentials, no region, and an AWS that nobody answers for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "PYTHONPATH": str(PROJECT),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def client(directory: Path, *words: str | Path, stdin: bytes = b"") -> bytes:
    """Run a command with --local, and return what it prints on stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "client", *map(str, words), "--local"],
        cwd=directory,
        env=environment(),
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr.decode()
    return done.stdout


def left_below(directory: Path) -> list[str]:
    """Name the containers that Docker Compose has started from below a directory."""
    shown = f'{{{{.Label "{_LABEL}"}}}}'
    lines = docker("ps", "--all", "--filter", f"label={_LABEL}", "--format", shown).splitlines()
    return [line for line in lines if Path(line).is_relative_to(directory)]


@contextmanager
def deployed(directory: Path, port: int) -> Iterator[None]:
    """Serve the newest model as `deploy --local` does, until Ctrl-C."""
    command = [sys.executable, "-m", "client", "deploy", "--local", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=directory, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_until(lambda: healthy(port) or process.poll() is not None, "the endpoint answers")
        assert process.poll() is None, process.communicate()[0].decode()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0].decode()
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, image: str) -> Path:
    """A directory in which a job of two hosts has left its model."""
    directory = tmp_path_factory.mktemp("local")
    command = [sys.executable, "-m", "client", "data"]
    subprocess.run(command, cwd=directory, env=environment(), check=True, capture_output=True)
    said = client(directory, "train", "--image", image, "--instance-count", "2", "--json")
    assert "Completed" == json.loads(said)["status"]
    return directory


def test_two_hosts_leave_one_model(trained: Path, tmp_path: Path) -> None:
    """At the archive's root (T36); and no container is left."""
    (archive,) = (trained / "sagemaker_local").glob("*/model.tar.gz")

    artefact.unpack(archive, tmp_path)

    assert ["model.safetensors"] == [file.name for file in tmp_path.iterdir()]
    assert [] == left_below(trained)


def test_an_endpoint_answers_in_every_format_until_it_is_interrupted(trained: Path) -> None:
    """The same scores in each; then its container is gone."""
    port = free_port()
    npy = io.BytesIO()
    np.save(npy, np.array([[0.5, 0.25]], np.float32))
    bodies = {
        "text/csv": b"0.5,0.25\n",
        "application/json": b"[[0.5, 0.25]]",
        "application/jsonlines": b"[0.5, 0.25]\n",
        "application/x-npy": npy.getvalue(),
    }

    with deployed(trained, port):
        scores = {
            kind: client(
                trained,
                *("predict", "--port", str(port)),
                *("--content-type", kind, "--accept", "text/csv"),
                stdin=body,
            )
            for kind, body in bodies.items()
        }

    assert 1 == len(set(scores.values())), scores
    assert 0 < float(scores["text/csv"]) < 1
    assert [] == left_below(trained)


def test_a_batch_job_joins_each_row_and_its_score(trained: Path) -> None:
    """The model sees the features alone; as many rows come back; nothing is left."""
    client(trained, "transform", "data/test", "--input-filter", "$[1:]", "--join")

    rows = (trained / "data/test/test.csv").read_text().splitlines()
    joined = (trained / "transform_output/test.csv.out").read_text().splitlines()
    assert rows == [line.rpartition(",")[0] for line in joined]
    scores = np.array([float(line.rpartition(",")[2]) for line in joined])
    labels = np.array([float(line.partition(",")[0]) for line in rows])
    assert 0.9 < ((scores > 0.5) == labels).mean()
    assert [] == left_below(trained)


def test_a_job_that_fails_says_why_and_leaves_no_empty_model(trained: Path) -> None:
    """In the container's own sentence, with the exit code of a failure."""
    bad = trained / "bad" / "train"
    bad.mkdir(parents=True)
    (bad / "train.csv").write_text("0,1.0,2.0\n1,oops,3.0\n")

    done = subprocess.run(
        [sys.executable, "-m", "client", "train", "--local", "--data", bad.parent],
        cwd=trained,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == done.returncode
    assert "train.csv, line 2, column 2 is 'oops'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert 1 == len([*(trained / "sagemaker_local").glob("*/model.tar.gz")])
    assert [] == left_below(trained)
