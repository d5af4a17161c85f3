"""`docker run IMAGE train`, the way SageMaker runs a training job."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from simplenet.model import SimpleNet

from tests import engine

if TYPE_CHECKING:
    import subprocess

    from tests.conftest import Moons
    from tests.image.conftest import OptMl

pytestmark = pytest.mark.docker

METRICS = re.compile(r"^epoch=(\d+); train_loss=\d+\.\d+; train_accuracy=[01]\.\d+;", re.MULTILINE)


def train(image: str, opt_ml: OptMl, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run one job to its end, with `opt_ml` as its `/opt/ml`."""
    return engine.run("--volume", f"{opt_ml.root}:/opt/ml", *flags, image, "train")


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), id="root"),
        pytest.param((*engine.HARDENED, "--network", "none"), id="hardened"),
        pytest.param(("--read-only", "--network", "none", "--cap-drop", "ALL"), id="root-hardened"),
    ],
)
def test_a_job_leaves_a_model(
    image: str, opt_ml: OptMl, moons: Moons, flags: tuple[str, ...]
) -> None:
    """Root or any user, without network, capabilities or a writable image (T10, T33, H50): exit
    code 0, the model at the root of what is packed (T34), and a metric line an epoch on stdout.
    """
    opt_ml.settings(input_dim=2, hidden_dim=20, output_dim=1, epochs=80)
    job = train(image, opt_ml, *flags)

    assert 0 == job.returncode, job.stdout + job.stderr
    assert ["model.safetensors"] == opt_ml.models
    assert not opt_ml.failure.exists()
    assert list(map(str, range(1, 81))) == METRICS.findall(job.stdout)
    scores = SimpleNet.load(opt_ml.root / "model" / "model.safetensors").score(
        moons.test_features.astype("float32")
    )
    assert 0.9 <= (scores.round() == moons.test_labels).mean()


ROWS = b"0,1,2\n1,3,4\n"


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (None, ["no channel 'train'", "fit("]),
        ({}, ["'train' holds no files", "prefix"]),
        ({"a.csv": b""}, ["'train' holds no rows", "1 file is empty"]),
        ({"a.csv": b"label,x0,x1\n" + ROWS}, ["a.csv, line 1", "column 1", "'label'", "header"]),
        ({"a.csv": ROWS + b"1,2\n"}, ["a.csv, line 3", "2 columns", "expected 3"]),
        ({"a.csv": ROWS + b"1,2,x\n"}, ["a.csv, line 3, column 3", "'x'", "expected a number"]),
        ({"a.csv": ROWS + b"1,,2\n"}, ["a.csv, line 3, column 2", "empty", "expected a number"]),
        ({"a.csv": ROWS + b"1,nan,2\n"}, ["a.csv, line 3, column 2", "'nan'", "finite"]),
        ({"a.csv": ROWS + b"1,2,-inf\n"}, ["a.csv, line 3, column 3", "'-inf'", "finite"]),
        ({"b.csv": ROWS + b"3,1,2\n"}, ["b.csv, line 3, column 1", "3", "0 or 1"]),
        ({"a.csv": b"1,1,2\n1,3,4\n"}, ["labels", "'train'", "both classes, 0 and 1"]),
    ],
)
def test_bad_data_fails_the_job(
    image: str, opt_ml: OptMl, files: dict[str, bytes] | None, named: list[str]
) -> None:
    """Exit code not 0 (T10), one sentence that names place and cure (T12), and no model."""
    opt_ml.settings(epochs=1)
    (opt_ml.channel / "train.csv").unlink()
    if files is None:
        opt_ml.channel.rmdir()
    for name, content in (files or {}).items():
        (opt_ml.channel / name).write_bytes(content)

    assert_refused(train(image, opt_ml), opt_ml, named)


@pytest.mark.parametrize(
    ("hyperparameters", "named"),
    [
        ({"epoch": 1}, ["'epoch'", "Did you mean epochs"]),
        ({"epochs": "many"}, ["epochs", "'many'", "a whole number"]),
        ({"lr": -1}, ["lr", "'-1'", "a number from"]),
    ],
)
def test_bad_hyperparameters_fail_the_job(
    image: str, opt_ml: OptMl, hyperparameters: dict[str, object], named: list[str]
) -> None:
    """An unknown name, a wrong type and a value out of range are refused, not guessed at (T15)."""
    opt_ml.settings(**hyperparameters)

    assert_refused(train(image, opt_ml), opt_ml, named)


def test_a_full_disk_fails_the_job(image: str, opt_ml: OptMl) -> None:
    """A model that does not fit is said to be missing, and no part of it is left to be uploaded."""
    opt_ml.settings(epochs=1, hidden_dim=60_000)
    # Asked from within, since what is in a tmpfs goes with its container.
    job = engine.run(
        *("--volume", f"{opt_ml.root}:/opt/ml", "--tmpfs", "/opt/ml/model:size=64k", image),
        *("sh", "-c", "train; code=$?; echo left: $(ls -A /opt/ml/model); exit $code"),
    )

    assert "left:" == job.stdout.splitlines()[-1]
    assert_refused(job, opt_ml, ["model.safetensors could not be written", "No space left"])


def assert_refused(job: subprocess.CompletedProcess[str], opt_ml: OptMl, named: list[str]) -> None:
    """Check that the job failed with a sentence and left no model."""
    assert 0 != job.returncode
    sentence = opt_ml.failure.read_text()
    assert [] == [words for words in named if words not in sentence], sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert sentence in job.stdout + job.stderr
    assert "Traceback" not in job.stdout + job.stderr
    assert [] == opt_ml.models


def test_sigterm_stops_the_job_with_a_model(image: str, opt_ml: OptMl) -> None:
    """StopTrainingJob is `docker stop -t 120` (T8): as PID 1 (T4) the program hears it, keeps what
    has been learnt and exits with 0.
    """
    opt_ml.settings(epochs=1_000_000)
    with engine.container("--volume", f"{opt_ml.root}:/opt/ml", image, "train") as name:
        engine.wait_until(lambda: METRICS.search(engine.logs(name)), "an epoch is over")
        program = engine.docker("exec", name, "cat", "/proc/1/cmdline")
        engine.docker("stop", "--time", "120", name)
        code = engine.docker("inspect", "--format", "{{.State.ExitCode}}", name)

    assert program.startswith("python\0")
    assert "0" == code, f"{signal.SIGKILL + 128} is SIGKILL"
    assert ["model.safetensors"] == opt_ml.models
    assert 2 == SimpleNet.load(opt_ml.root / "model" / "model.safetensors").input_dim
