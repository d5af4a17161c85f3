"""`--local` with the real image, the SDK's local mode, and no AWS: a dead address in its place."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from client.endpoint import Endpoint
from tests.client import sagemaker_runtime
from tests.client.conftest import local_mode
from tests.conftest import PROJECT
from tests.engine import docker, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("in_local_mode")]

ROWS = "0.5,0.25\n1,-0.5\n"


@dataclass(frozen=True)
class Laptop:
    """A directory to work in, on a machine that knows no AWS."""

    directory: Path
    image: str

    @contextmanager
    def started(
        self, command: str, *words: str | Path, **environment: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command; it ends with the context."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}
        process = subprocess.Popen(
            [sys.executable, "-m", "client", command, *map(str, words)],
            cwd=self.directory,
            env=kept
            | nowhere
            | {"HOME": str(self.directory), "PYTHONPATH": str(PROJECT)}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with process:
                yield process
        finally:
            process.kill()

    def run(
        self, command: str, *words: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.started(command, *words, **environment) as process:
            said, log = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, log)

    def local(self, command: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in local mode, and expect that nothing of it is left."""
        done = self.run(command, "--local", "--image", self.image, *words)
        self.expect_nothing_left()
        assert "Traceback" not in done.stderr
        return done

    def expect_nothing_left(self) -> None:
        """Expect no container of local mode, and no working directory."""
        assert [] == self.containers()
        assert [] == list(self.directory.glob("sagemaker_local/.run-*"))

    def containers(self) -> list[str]:
        """Return where each container was started that local mode has started from here."""
        label = "com.docker.compose.project.working_dir"
        shown = ("--filter", f"label={label}", "--format", f'{{{{.Label "{label}"}}}}')
        places = docker("ps", "--all", *shown).splitlines()
        return [place for place in places if Path(place).is_relative_to(self.directory)]

    def models(self) -> list[Path]:
        """Return what jobs have left."""
        return sorted(self.directory.glob("sagemaker_local/*"))


@pytest.fixture(scope="module")
def laptop(
    image: str, moons_with_validation: Path, tmp_path_factory: pytest.TempPathFactory
) -> Laptop:
    """A directory, with a space in its name, that holds the moon data and a model of two hosts."""
    directory = tmp_path_factory.mktemp("a laptop")
    shutil.copytree(moons_with_validation, directory / "data")
    own = f"{image}-local-mode"
    docker("tag", image, own)
    found = Laptop(directory, own)
    with local_mode():
        done = found.local("train", "--instance-count", "2", "-p", "epochs=9", "--json")
    assert 0 == done.returncode, done.stderr
    said = json.loads(done.stdout)
    assert "Completed" == said["status"]
    assert f"file://{found.models()[0]}/model.tar.gz" == said["model"]
    assert done.stderr.count("exited with code 0") >= 1
    return found


def test_a_job_of_one_host_leaves_a_model(laptop: Laptop) -> None:
    """As one of two does; and its log is on stderr, with the metrics."""
    done = laptop.local("train", "-p", "epochs=2", "--json")

    assert 0 == done.returncode, done.stderr
    model = Path(json.loads(done.stdout)["model"].removeprefix("file://"))
    with tarfile.open(model) as archive:
        assert ["model.safetensors"] == archive.getnames()
    assert "validation_loss=" in done.stderr
    shutil.rmtree(model.parent)


def test_the_whole_story_runs_without_aws(laptop: Laptop) -> None:
    """Data, training, endpoint, evaluation, pictures and card, by the real image; nothing stays."""
    done = laptop.local("run", "--json", "--output", laptop.directory / "run")

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert 150 == sum(found[name] for name in ("TP", "FP", "FN", "TN"))
    assert found["TP"] + found["TN"] >= 135
    left = {path.name for path in (laptop.directory / "run").iterdir()}
    assert {"boundary.png", "history.png", "roc.png", "model_card.json"} <= left
    card = json.loads((laptop.directory / "run" / "model_card.json").read_text("utf-8"))
    assert found["job"] == card["training"]["job"]
    shutil.rmtree(Path(found["model"].removeprefix("file://")).parent)


def test_a_failed_job_says_so_in_its_own_words_and_leaves_no_model(
    laptop: Laptop, tmp_path: Path
) -> None:
    """`deploy --local` would otherwise serve the empty archive that local mode packs."""
    before = laptop.models()
    train = tmp_path / "data" / "train"
    train.mkdir(parents=True)
    (train / "train.csv").write_text("1,0.5,0.25\n0,x,0.5\n", "utf-8")

    done = laptop.local("train", "--data", tmp_path / "data")

    assert 1 == done.returncode
    assert "failed: train/train.csv, line 2, column 2 is 'x'" in done.stderr.splitlines()[-1]
    assert "" == done.stdout
    assert before == laptop.models()


def test_a_container_that_dies_at_once_is_heard(laptop: Laptop, tmp_path: Path) -> None:
    """Its own sentence comes back, instead of a thread's traceback and two minutes of silence."""
    (tmp_path / "weights").write_text("none", "utf-8")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "weights", "weights")
    port = str(free_port())

    done = laptop.local("deploy", "--port", port, "--model-data", tmp_path / "model.tar.gz")

    assert 1 == done.returncode
    said = done.stderr.splitlines()[-1]
    assert "The container ended: serve: There is no model: /opt/ml/model holds weights;" in said


@pytest.fixture
def served(laptop: Laptop) -> Iterator[Endpoint]:
    """The model at an endpoint until Ctrl-C, after which nothing of it is left."""
    port = free_port()
    local = ("--local", "--image", laptop.image, "--port", str(port), "--json")
    archives = {path: path.stat().st_mtime_ns for path in laptop.directory.rglob("*.tar.gz")}
    with laptop.started("deploy", *local) as process:
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        assert {"endpoint": "simplenet", "status": "InService"} == json.loads(line or "{}"), (
            process.stderr.read()
        )
        yield Endpoint(f"http://127.0.0.1:{port}")
        process.send_signal(signal.SIGINT)
        said, log = process.communicate()
    assert 0 == process.returncode, log
    assert "" == said
    assert "Traceback" not in log
    laptop.expect_nothing_left()
    left = {path: path.stat().st_mtime_ns for path in laptop.directory.rglob("*.tar.gz")}
    assert archives == left
    assert [] == list(laptop.directory.rglob("model.safetensors"))


def test_what_is_deployed_scores_every_format(
    laptop: Laptop, served: Endpoint, tmp_path: Path
) -> None:
    """`predict --local`, and boto3's own client of SageMaker's runtime before the same container.

    There a refusal is a ModelError, as in an account, of which the container's sentence is left.
    """
    npy = io.BytesIO()
    np.save(npy, np.loadtxt(ROWS.splitlines(), delimiter=","), allow_pickle=False)
    files = {
        "rows.csv": ROWS.encode(),
        "rows.json": b'{"instances": [[0.5, 0.25], [1, -0.5]]}',
        "rows.jsonl": b'{"features": [0.5, 0.25]}\n{"features": [1, -0.5]}\n',
        "rows.npy": npy.getvalue(),
        "bad.csv": b"0.5,x\n",
    }
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    credentials = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    csv = ("--accept", "text/csv")
    port = served.url.rpartition(":")[2]
    local = laptop.run("predict", "--local", "--port", port, tmp_path / "rows.csv")
    assert 2 == len(local.stdout.splitlines()), local.stderr

    with sagemaker_runtime.serve(served.url) as runtime:
        cloud = credentials | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime.url}
        scored = [laptop.run("predict", *csv, tmp_path / name, **cloud) for name in files]

    *replies, refused = scored
    assert [local.stdout] * 4 == [reply.stdout for reply in replies]
    assert ["text/csv", "application/json", "application/jsonlines", "application/x-npy"] == [
        asked["type"] for asked in runtime.asked[:4]
    ]
    assert 1 == refused.returncode
    assert "simplenet answers HTTP 400" in refused.stderr
    assert "line 1, column 2 is 'x'; expected a number" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_port_that_is_in_use_is_said_so(laptop: Laptop) -> None:
    """Before a container is started."""
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        done = laptop.local("deploy", "--port", str(port))

    assert 1 == done.returncode
    assert f"Port {port} is not free" in done.stderr


def test_a_batch_is_filtered_and_joined_as_sagemaker_does(laptop: Laptop, tmp_path: Path) -> None:
    """One line a row: the label and the features, which the model does not see the first of."""
    words = ("--input-filter", "$[1:]", "--join", "--output", tmp_path / "scores")

    done = laptop.local("transform", *words, "data/test", "--json")

    assert 0 == done.returncode, done.stderr
    (scores,) = json.loads(done.stdout)["scores"]
    given = (laptop.directory / "data" / "test" / "test.csv").read_text("utf-8").splitlines()
    joined = [line.rpartition(",") for line in Path(scores).read_text("utf-8").splitlines()]
    assert given == [row for row, _, _ in joined]
    assert all(0 <= float(score) <= 1 for _, _, score in joined)


def test_a_row_that_is_refused_fails_the_batch(laptop: Laptop, tmp_path: Path) -> None:
    """Local mode by itself would write the refusal where the scores belong."""
    rows = tmp_path / "rows.csv"
    rows.write_text("0.5,0.25\n0.5,x\n", "utf-8")

    done = laptop.local("transform", rows, "--output", tmp_path / "scores")

    assert 1 == done.returncode
    assert "line 2, column 2 is 'x'; expected a number" in done.stderr
    assert not (tmp_path / "scores").exists()


def test_an_interrupted_job_leaves_nothing(laptop: Laptop) -> None:
    """Neither containers nor the beginning of a model."""
    before = laptop.models()
    local = ("--local", "--image", laptop.image)

    with laptop.started("train", *local, "-p", "epochs=100000") as process:
        wait_until(laptop.containers, "it trains")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate()

    assert 130 == process.returncode, log
    assert "Interrupted; what was started has been stopped." in log
    laptop.expect_nothing_left()
    assert before == laptop.models()
