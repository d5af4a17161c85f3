"""The whole story: `python -m client demo`, which is `make demo`."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from matplotlib import image as pictures

from client.__main__ import cli
from tests.client.conftest import WITHOUT_DOCKER, Told, tell
from tests.conftest import IMAGE, PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def accuracy(told: Told) -> float:
    """Return the accuracy that the demo printed."""
    found = re.search(r"^Accuracy: +(\d\.\d{3})$", told.said, re.MULTILINE)
    assert found, told.said
    return float(found[1])


def check(told: Told) -> None:
    """Hold one telling of the story against what its user is promised."""
    assert 0 == told.code, told.said
    steps = re.findall(r"^==> (\d)/7 ", told.said, re.MULTILINE)
    assert ["1", "2", "3", "4", "5", "6", "7"] == steps
    assert 0.9 < accuracy(told) <= 1
    assert 80 == len(re.findall(r"^epoch=", told.said, re.MULTILINE))
    assert f"curl --data-binary @{shlex.quote(str(told.output / 'payload.csv'))}" in told.said
    assert 3 == len((told.output / "payload.csv").read_text().splitlines())
    card = json.loads((told.output / "model_card.json").read_text("utf-8"))
    assert round(card["evaluation"]["figures"]["Accuracy"], 3) == accuracy(told)
    assert 450 == card["training"]["channels"][0]["rows"]
    assert (told.output / "model_card.md").read_text("utf-8").startswith("# Model card")
    for name in ("data", "history", "boundary", "roc", "calibration"):
        picture = pictures.imread(told.output / f"{name}.png")
        assert min(picture.shape[:2]) > 400
        assert picture.std() > 0.05, f"{name}.png is blank"
    assert (told.output / "model.tar.gz").exists()


def test_the_story_is_told_without_docker(told: Told) -> None:
    """The same `train` and `serve` run from the virtual environment, and it says so in a line."""
    assert told.said.startswith("No Docker engine answers: train and serve run from .venv instead.")
    check(told)


@pytest.mark.docker
def test_the_story_is_told_in_containers(image: str, tmp_path: Path) -> None:
    """Image, training job and endpoint; no container and no file of root's is left behind."""
    told = tell(tmp_path / "with, a comma", os.environ, "--image", image)

    check(told)
    assert "==> 3/7 Training" in told.said
    assert {os.getuid()} == {path.stat().st_uid for path in tmp_path.rglob("*")}
    assert not containers()


def test_your_own_data_takes_the_same_way(tmp_path: Path) -> None:
    """Real data of 30 features: two commands, and not a line of code to change."""
    cli.main(["data", "--name=breast-cancer", f"--output={tmp_path}"], standalone_mode=False)
    files = ("--train", tmp_path / "train/train.csv", "--test", tmp_path / "test/test.csv")
    told = tell(tmp_path / "story", WITHOUT_DOCKER, *map(str, files))

    assert 0 == told.code, told.said
    assert "426 rows of a label and 30 features" in told.said
    assert 0.95 < accuracy(told)
    assert "boundary.png" not in told.said


def test_a_failing_job_is_told_in_one_sentence(tmp_path: Path) -> None:
    """The reason is the job's own; the exit code says that the story did not end well."""
    one_class = tmp_path / "rows.csv"
    one_class.write_text("1,2,3\n1,4,5\n")
    files = (f"--train={one_class}", f"--test={one_class}")
    told = tell(tmp_path / "story", WITHOUT_DOCKER, *files)

    assert 1 == told.code
    assert "ended with exit code 1: Every one of the 2 labels in channel 'train' is 1" in told.said
    assert "Traceback" not in told.said


def test_what_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    """A directory with files in it that no demo made is refused, and a demo's own is reused."""
    (tmp_path / "opt_ml").mkdir()
    (tmp_path / "opt_ml" / "precious.csv").write_text("1,2\n")
    told = tell(tmp_path, WITHOUT_DOCKER)

    assert 1 == told.code
    assert "holds files that are not the demo's" in told.said
    assert "1,2\n" == (tmp_path / "opt_ml" / "precious.csv").read_text()


def interrupt(output: Path, environment: Mapping[str, str], step: str, *options: str) -> str:
    """Press Ctrl-C once the demo prints `step`; return all that it printed."""
    said = []
    with subprocess.Popen(
        [sys.executable, "-m", "client", "demo", "--output", str(output), *options],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            said.append(line)
            if line.startswith(step):
                process.send_signal(signal.SIGINT)
    assert 130 == process.returncode, "".join(said)
    return "".join(said)


def containers() -> str:
    """Return the names of the demo's containers that are still there."""
    command = ["docker", "ps", "--all", "--filter=name=simplenet-demo-", "--format={{.Names}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def programs(output: Path) -> list[int]:
    """Return the processes whose `/opt/ml` tree is below `output`."""
    command = ["pgrep", "--full", "gunicorn|simplenet.training"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    wanted = f"SAGEMAKER_BASE_DIR={output}".encode()
    return [pid for pid in map(int, found) if wanted in environment_of(pid)]


def environment_of(pid: int) -> bytes:
    """Return a process's environment; a process that has ended has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="asks Linux for processes")  # noqa: PTH112
@pytest.mark.parametrize("step", ["epoch=1;", "==> 5/7", "==> 6/7"])
def test_ctrl_c_stops_what_was_started_without_docker(tmp_path: Path, step: str) -> None:
    """While it trains, while the server starts and while it serves."""
    said = interrupt(tmp_path, WITHOUT_DOCKER, step)

    assert said.endswith("Interrupted; what was started has been stopped.\n")
    assert [] == programs(tmp_path)


@pytest.mark.docker
@pytest.mark.parametrize("step", ["==> 3/7", "epoch=1;", "==> 6/7"])
def test_ctrl_c_stops_what_was_started_in_containers(image: str, tmp_path: Path, step: str) -> None:
    """Also where the container has not been made yet."""
    said = interrupt(tmp_path, os.environ, step, "--image", image)

    assert said.endswith("Interrupted; what was started has been stopped.\n")
    assert not containers()


def test_the_image_has_the_name_that_make_gives_it() -> None:
    """`make demo` and the local scripts mean the same image by default."""
    makefile = (PROJECT / "Makefile").read_text()

    assert "IMAGE ?= simplenet-sagemaker" in makefile
    assert "default_image=simplenet-sagemaker" in (PROJECT / "local_test/docker.sh").read_text()
    assert IMAGE
