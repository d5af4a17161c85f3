"""Kill a training job at random moments; what is left must always be of use to a restart.

    PYTHONPATH=container .venv/bin/python benchmarks/kill9.py [KILLS [SEED]]

There are 100 kills and the seed is 0 by default; the exit code is 1 on a fault.
Each round starts `train` on the same `/opt/ml`, kills it with SIGKILL at a random moment, four
times in five after training has begun, and looks at every file that is left, but for those of
temporary names that the next write takes again: each must be whole. At the end a last job runs
through, and its weights must equal, bit for bit, those of a job that was never killed. The program
is started as `python -m simplenet.training`, so no container is needed; the files are the same.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np
from safetensors import safe_open
from simplenet.atomic import IGNORED
from simplenet.paths import Paths
from sklearn.datasets import make_moons

EARLY = 0.2  # of the kills, before training has begun
CONTAINER = Path(__file__).parents[1] / "container"


def make(root: Path) -> Paths:
    """Make an `/opt/ml` whose job writes a checkpoint after every step that it can."""
    paths = Paths(root)
    features, labels = make_moons(450, noise=0.25, random_state=0)
    for channel in ("train", "validation"):
        (paths.channels / channel).mkdir(parents=True)
        rows = np.column_stack([labels, features])
        np.savetxt(paths.channels / channel / "data.csv", rows, delimiter=",")
    paths.hyperparameters.parent.mkdir()
    settings = {"epochs": "40", "batch_size": "64", "checkpoint_seconds": "0"}
    paths.hyperparameters.write_text(json.dumps(settings))
    paths.checkpoints.mkdir()
    return paths


def start(paths: Paths, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the program."""
    return subprocess.Popen(
        [sys.executable, "-m", "simplenet.training"],
        env={**os.environ, "PYTHONPATH": str(CONTAINER), "SAGEMAKER_BASE_DIR": str(paths.root)},
        stdout=log,  # a file, for a full pipe would hold the job up
    )


def begun(job: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Return when training has begun, or the job has ended."""
    while job.poll() is None and b"checkpoints in" not in _read(log):
        time.sleep(0.01)


def _read(log: IO[bytes]) -> bytes:
    return os.pread(log.fileno(), 1 << 24, 0)


def run(paths: Paths) -> tuple[float, float]:
    """Run a job to its end; return the seconds before training began, and those after."""
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        job = start(paths, log)
        begun(job, log)
        middle = time.perf_counter()
        if job.wait():
            sys.exit(f"a job failed: {_read(log).decode()}")
        return middle - started, time.perf_counter() - middle


def faults(paths: Paths) -> list[str]:
    """Return what is wrong with the files that are left."""
    found = []
    for path in [*paths.checkpoints.glob("*"), *paths.model.glob("*")]:
        if path.suffix == IGNORED:
            continue
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118  # it is no dict
                    file.get_tensor(name)
        except Exception as error:  # noqa: BLE001  # any is the fault looked for
            found.append(f"{path.name}: {error}")
    return found


def weights(paths: Paths) -> dict[str, bytes]:
    """Return the bits of a model's weights."""
    with safe_open(paths.model_file, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def main() -> int:
    """Kill, look, and finish; return the exit code."""
    kills, seed = [*map(int, sys.argv[1:]), *(100, 0)[len(sys.argv) - 1 :]]
    chance = random.Random(seed)  # noqa: S311  # repeatable on purpose
    root = Path(tempfile.mkdtemp())
    whole, killed = make(root / "whole"), make(root / "killed")
    before, after = run(whole)
    wrong: list[str] = []
    finished = resumed = 0
    for number in range(1, kills + 1):
        with tempfile.TemporaryFile() as file:
            job = start(killed, file)
            early = chance.random() < EARLY
            if not early:
                begun(job, file)
            try:
                job.wait(chance.uniform(0, before if early else after))
                finished += 1
            except subprocess.TimeoutExpired:
                job.kill()
                job.wait()
            log = _read(file).decode()
        resumed += "going on from" in log
        wrong += [f"kill {number}: {fault}" for fault in faults(killed)]
        if "passed over" in log:
            wrong.append(f"kill {number}: a restart passed over a checkpoint:\n{log}")
        if killed.model_file.exists():  # the next job begins anew
            wrong += (
                [] if weights(killed) == weights(whole) else [f"kill {number}: the model differs"]
            )
            shutil.rmtree(killed.model)
            shutil.rmtree(killed.checkpoints)
            killed.checkpoints.mkdir()
    run(killed)
    if weights(killed) != weights(whole):
        wrong.append("the last job's model differs from that of a job never killed")
    shutil.rmtree(root)
    for fault in wrong:
        sys.stdout.write(f"{fault}\n")
    sys.stdout.write(
        f"{kills} kills, seed {seed}, of jobs of {before:.1f} + {after:.1f} s: {resumed} restarts "
        f"went on from a checkpoint, {finished} jobs ended first, {len(wrong)} faults\n"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
