"""Kill a training job at random moments; what is left must always be of use to a restart.

    python benchmarks/kill9.py [KILLS]    # 100 by default, 5 to 10 minutes; exit code 1 on a fault

Each round starts `train` on the same `/opt/ml`, kills it with SIGKILL after a random part of the
time that a whole job takes, and looks at every file that is left under a final name: each must be
whole. At the end a last job runs through, and its weights must equal, bit for bit, those of a job
that was never killed. The program is started as `python -m simplenet.training`, so no container
is needed; the files are the same.
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

import numpy as np
from safetensors import safe_open
from simplenet.paths import Paths
from sklearn.datasets import make_moons

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
    settings = {"epochs": "40", "checkpoint_seconds": "0"}
    paths.hyperparameters.write_text(json.dumps(settings))
    paths.checkpoints.mkdir()
    return paths


def start(paths: Paths) -> subprocess.Popen[bytes]:
    """Start the program."""
    return subprocess.Popen(
        [sys.executable, "-m", "simplenet.training"],
        env={**os.environ, "PYTHONPATH": str(CONTAINER), "SAGEMAKER_BASE_DIR": str(paths.root)},
        stdout=subprocess.PIPE,
    )


def run(paths: Paths) -> tuple[str, float]:
    """Run a job to its end; return its log and the seconds it took."""
    began = time.perf_counter()
    job = start(paths)
    log = job.communicate()[0].decode()
    if job.returncode:
        sys.exit(f"a job failed: {log}")
    return log, time.perf_counter() - began


def faults(paths: Paths) -> list[str]:
    """Return what is wrong with the files under final names."""
    found = []
    for path in [*paths.checkpoints.glob("checkpoint-*"), *paths.model.glob("[!.]*")]:
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118  # it is no dict
                    file.get_tensor(name)
        except Exception as error:  # noqa: BLE001, PERF203  # any is the fault looked for
            found.append(f"{path.name}: {error}")
    return found


def main() -> int:
    """Kill, look, and finish; return the exit code."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    chance = random.Random(0)  # noqa: S311  # repeatable on purpose
    root = Path(tempfile.mkdtemp())
    whole, killed = make(root / "whole"), make(root / "killed")
    _, seconds = run(whole)
    wrong: list[str] = []
    finished = resumed = 0
    for number in range(1, kills + 1):
        job = start(killed)
        try:
            job.wait(chance.uniform(0, seconds))
            finished += 1
        except subprocess.TimeoutExpired:
            job.kill()
        log = job.communicate()[0].decode()
        resumed += "going on from" in log
        wrong += [f"kill {number}: {fault}" for fault in faults(killed)]
        if "passed over" in log:
            wrong.append(f"kill {number}: a restart passed over a checkpoint:\n{log}")
        if killed.model_file.exists():  # the next job begins anew
            same = killed.model_file.read_bytes() == whole.model_file.read_bytes()
            wrong += [] if same else [f"kill {number}: the model differs"]
            shutil.rmtree(killed.model)
            shutil.rmtree(killed.checkpoints)
            killed.checkpoints.mkdir()
    run(killed)
    if killed.model_file.read_bytes() != whole.model_file.read_bytes():
        wrong.append("the last job's model differs from that of a job never killed")
    shutil.rmtree(root)
    for fault in wrong:
        sys.stdout.write(f"{fault}\n")
    sys.stdout.write(
        f"{kills} kills, each within {seconds:.1f} s of the start: {resumed} restarts went on from "
        f"a checkpoint, {finished} jobs ended first, {len(wrong)} faults\n"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
