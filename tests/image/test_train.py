"""`docker run IMAGE train`, the way SageMaker runs a training job."""

from __future__ import annotations

import io
import re
import tarfile
from typing import TYPE_CHECKING

import pytest
from simplenet.model import SimpleNet
from simplenet.paths import Paths

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
        pytest.param((*engine.HARDENED, "--network", "none", "--shm-size", "64k"), id="hardened"),
        pytest.param(("--read-only", "--network", "none", "--cap-drop", "ALL"), id="root-hardened"),
    ],
)
def test_a_job_leaves_a_model(
    image: str, opt_ml: OptMl, moons: Moons, flags: tuple[str, ...]
) -> None:
    """Root (T56) or any user, without network, capabilities, shared memory (X16), a writable image
    (T10, T33, H50) or any variable of SageMaker's or AWS's (T44, T45, X46): exit code 0, the model
    at the root of what is packed (T34, X31), and a metric line an epoch on stdout.
    """
    opt_ml.settings(input_dim=2, hidden_dim=20, output_dim=1, epochs=80)
    job = train(image, opt_ml, *flags)

    assert 0 == job.returncode, job.stdout + job.stderr
    assert ["model.safetensors"] == opt_ml.models
    assert not opt_ml.failure.exists()
    assert (Paths(opt_ml.root).output_data / "metrics.json").is_file()
    assert list(map(str, range(1, 81))) == METRICS.findall(job.stdout)
    scores = SimpleNet.load(opt_ml.root / "model" / "model.safetensors").score(
        moons.test_features.astype("float32")
    )
    assert 0.9 <= (scores.round() == moons.test_labels).mean()


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        pytest.param(("--entrypoint", "train"), (), id="entrypoint"),
        pytest.param((), ("python", "-m", "simplenet.training"), id="arguments"),
        pytest.param(("--entrypoint", "sh"), ("-c", "exec train"), id="both"),
    ],
)
def test_the_job_may_name_its_own_program(
    image: str, opt_ml: OptMl, flags: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    """ContainerEntrypoint, ContainerArguments, or both (T5): the image puts nothing before them."""
    opt_ml.settings(epochs=2)
    job = engine.run("--volume", f"{opt_ml.root}:/opt/ml", *flags, image, *arguments)

    assert 0 == job.returncode, job.stdout + job.stderr
    assert ["model.safetensors"] == opt_ml.models


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


def test_a_full_tmp_is_not_blamed_on_the_model(image: str, opt_ml: OptMl) -> None:
    """An archive is unpacked there (T32, T41), and is sound where it has no room."""
    model = opt_ml.channel.parent / "model"
    model.mkdir()
    with tarfile.open(model / "model.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("model.safetensors")
        member.size = 500_000
        archive.addfile(member, io.BytesIO(bytes(member.size)))

    job = train(image, opt_ml, "--tmpfs", "/tmp:size=64k")  # noqa: S108

    assert_refused(job, opt_ml, ["cannot be unpacked to /tmp/", "No space left"])
    assert "gzip-compressed tar archive" not in opt_ml.failure.read_text()


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


def stop(name: str) -> str:
    """Stop a container as StopTrainingJob does (T8), in 5 s instead of 120; return what it wrote.

    SIGKILL would have made its exit code 137.
    """
    engine.docker("stop", "--time", "5", name)
    assert "0" == engine.docker("inspect", "--format", "{{.State.ExitCode}}", name)
    return engine.logs(name)


def input_dim(opt_ml: OptMl) -> int:
    """Load the model that a job left; return how many features it wants."""
    return SimpleNet.load(Paths(opt_ml.root).model_file).input_dim


def test_sigterm_ends_the_job_with_a_model_and_a_checkpoint(image: str, opt_ml: OptMl) -> None:
    """As PID 1 (T3, T4) the program hears it, keeps what has been learnt, and exits with 0 (T8,
    T55, X24). Its log is there while it runs (T46).
    """
    opt_ml.settings(epochs=1_000_000)
    checkpoints = Paths(opt_ml.root).checkpoints
    checkpoints.mkdir()
    with engine.container("--volume", f"{opt_ml.root}:/opt/ml", image, "train") as name:
        engine.wait_until(lambda: METRICS.search(engine.logs(name)), "an epoch is over")
        program = engine.docker("exec", name, "cat", "/proc/1/cmdline")
        log = stop(name)

    assert program.startswith("python\0")
    assert "SIGTERM: stopped early; the best model so far is kept." in log
    assert ["model.safetensors"] == opt_ml.models
    assert 2 == input_dim(opt_ml)
    assert 1 == len(list(checkpoints.iterdir()))


def test_sigterm_is_heard_while_the_program_still_loads(image: str, opt_ml: OptMl) -> None:
    """Even one that came before Python could hear it (T4, T8)."""
    script = "kill -TERM $$ & exec env --block-signal=TERM sh -c 'wait; exec train'"
    flags = ("--volume", f"{opt_ml.root}:/opt/ml", image)
    job = engine.run(*flags, "env", "--block-signal=TERM", "sh", "-c", script)

    assert 0 == job.returncode, job.stdout + job.stderr
    assert "SIGTERM: stopped before training began" in job.stdout


def read_for_ever(opt_ml: OptMl) -> None:
    """Give a job a file that never ends: it stands for one that takes long to read."""
    with (opt_ml.channel / "train.csv").open("wb") as file:
        file.truncate(1 << 40)  # a hole: nothing on the disk, and no line end ever


def test_sigterm_is_heard_while_data_is_read(image: str, opt_ml: OptMl) -> None:
    """At once, not after the data (T8); there is no model yet."""
    read_for_ever(opt_ml)
    with engine.container("--volume", f"{opt_ml.root}:/opt/ml", image, "train") as name:
        engine.wait_until(lambda: "device" in engine.logs(name), "the data is read")
        log = stop(name)

    assert "SIGTERM: stopped before training began; there is no model yet." in log
    assert [] == opt_ml.models


def test_a_resumed_job_that_is_stopped_while_it_reads_leaves_its_model(
    image: str, opt_ml: OptMl
) -> None:
    """The best so far, as its checkpoint has it (T8, T39): a spot instance may be lost twice."""
    opt_ml.settings(checkpoint_epochs=1)
    Paths(opt_ml.root).checkpoints.mkdir()
    assert 0 == train(image, opt_ml).returncode
    best = SimpleNet.load(Paths(opt_ml.root).model_file).state_dict()
    Paths(opt_ml.root).model_file.unlink()
    read_for_ever(opt_ml)
    with engine.container("--volume", f"{opt_ml.root}:/opt/ml", image, "train") as name:
        engine.wait_until(lambda: "device" in engine.logs(name), "the data is read")
        log = stop(name)

    assert "SIGTERM: stopped before training went on from checkpoint-0000080-" in log
    kept = SimpleNet.load(Paths(opt_ml.root).model_file).state_dict()
    assert [] == [name for name, weight in best.items() if not weight.equal(kept[name])]
