"""How fast training is, and how much memory it takes.

What is compared alternates, and times are medians, since machines are noisy; peaks are the highest
of all rounds. Whatever is looked at for its peak memory is a process of its own, for a peak never
falls.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from simplenet import channel, fitting, training
from simplenet.channel import Channel
from simplenet.hyperparameters import Hyperparameters
from simplenet.model import SimpleNet
from simplenet.paths import Paths
from simplenet.state import State
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.report import Row
from benchmarks.server import exported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[1]
IMAGE = os.environ.get("IMAGE", "simplenet-sagemaker")
ROUNDS = 5
READ_ROUNDS = 11  # of half a second each: the ratio strays by a tenth in five
RANDOM = np.random.default_rng(0)


def draw(rows: int, features: int) -> np.ndarray:
    """Draw rows with the label first: (rows, 1 + features)."""
    x = RANDOM.normal(size=(rows, features)).astype(np.float32).round(4)
    y = x[:, 0] + RANDOM.normal(size=rows) > 0
    return np.column_stack([y.astype(np.float32), x])


def write(rows: np.ndarray, directory: Path) -> Path:
    """Write rows as a channel's one file."""
    directory.mkdir(parents=True)
    frame = pd.DataFrame(rows).astype({0: int})
    frame.to_csv(directory / "data.csv", header=False, index=False)
    os.sync()  # else the system writes while a benchmark measures
    return directory


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def epochs(_: Path) -> Iterator[Row]:
    """An epoch of ours against the loops that one would write instead, all in one thread."""
    torch.set_num_threads(1)
    for batch_size, rows in ((64, draw(100_000, 2)), (1024, draw(1_000_000, 2))):
        data = Channel("train", 1, 0, rows)
        settings = Hyperparameters(epochs=1, batch_size=batch_size)

        def ours(data: Channel = data, settings: Hyperparameters = settings) -> None:
            net = SimpleNet(2)
            net.draw_weights(torch.Generator().manual_seed(0))
            list(fitting.fit(State(net), data, settings))

        def bare(rows: np.ndarray = rows, size: int = batch_size) -> None:
            table = torch.from_numpy(rows)
            order = torch.randperm(len(table))
            step = _usual()
            for first in range(0, len(table), size):
                batch = table[order[first : first + size]]
                step(batch[:, 1:], batch[:, 0])

        def loader(rows: np.ndarray = rows[::10], size: int = batch_size) -> None:
            table = torch.from_numpy(rows)
            step = _usual()
            for x, y in DataLoader(TensorDataset(table[:, 1:], table[:, 0]), size, shuffle=True):
                step(x, y)

        bare()  # imports what an Optimizer needs
        taken = [(seconds(ours), seconds(bare), 10 * seconds(loader)) for _ in range(ROUNDS)]
        mine, slices, usual = (statistics.median(column) for column in zip(*taken, strict=True))
        title = f"epoch of {len(rows):,} rows, batch {batch_size}"
        yield Row(
            f"{title}, time against tensor slices",
            mine / slices,
            1.3,
            figures=f"{mine:.2f} : {slices:.2f} s",
        )
        yield Row(
            f"{title}, time against a DataLoader",
            mine / usual,
            None,
            figures=f"{mine:.2f} : {usual:.2f} s",
        )


def _usual() -> Callable[[torch.Tensor, torch.Tensor], None]:
    net = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 1))
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    loss_of = nn.BCEWithLogitsLoss()

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        optimiser.zero_grad()
        loss_of(net(x)[:, 0], y).backward()
        optimiser.step()

    return step


def alone(work: str, directory: Path) -> None:
    """Do one thing in a process of its own; print its seconds, and the bytes that it adds.

    The imports come before: they are not what is asked for.
    """
    before = _peak()
    began = time.perf_counter()
    match work:
        case "pandas":
            pd.read_csv(directory / "data.csv", header=None, dtype=np.float32)
        case "read":
            channel.read(directory)
        case "job":
            os.environ["SAGEMAKER_BASE_DIR"] = str(directory)
            if training.main():
                sys.exit("the job failed")
    found = {"seconds": time.perf_counter() - began, "bytes": _peak() - before}
    sys.stdout.write(f"\n{json.dumps(found)}")


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0


def _alone(work: str, directory: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training", work, str(directory)]
    path = os.pathsep.join(map(str, (PROJECT, PROJECT / "container")))
    environment = {**os.environ, "PYTHONPATH": path}
    if work != "pandas":
        environment |= exported("train")
    printed = subprocess.check_output(command, env=environment)
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def loads(scratch: Path) -> Iterator[Row]:
    """Read large channels, in time against pandas and in memory against the table itself."""
    for rows, features in ((10_000_000, 2), (1_000_000, 30)):
        root = Paths(scratch / f"{rows}x{features}")
        directory = write(draw(rows, features), root.channels / "train")
        runs = [
            [_alone(work, directory) for work in ("read", "pandas")] for _ in range(READ_ROUNDS)
        ]
        mine, peer = (
            statistics.median(run["seconds"] for run in column)
            for column in zip(*runs, strict=True)
        )
        title = f"{rows:,} x {features}"
        yield Row(
            f"CSV of {title}, time against pandas.read_csv",
            mine / peer,
            1.5,
            figures=f"{mine:.2f} : {peer:.2f} s",
        )
        yield _memory(f"reading {title}", max(run["bytes"] for run, _ in runs), rows, features)
        root.hyperparameters.parent.mkdir()
        root.hyperparameters.write_text('{"epochs": "2", "batch_size": "10000"}')
        jobs = [_alone("job", root.root)["bytes"] for _ in range(ROUNDS)]
        yield _memory(f"a job of {title}", max(jobs), rows, features)


def _memory(title: str, peak: float, rows: int, features: int) -> Row:
    table = 4 * rows * (1 + features)
    return Row(
        f"{title}, peak memory above the imports against the float32 table",
        peak / table,
        2.0,
        figures=f"{peak / 1e6:.0f} : {table / 1e6:.0f} MB",
    )


#: Runs inside the image, so that neither side has the start of a container in its time.
_ALTERNATE = """
import json, subprocess, sys, time
taken = []
for _ in range(7):
    for command in (["train"], ["python", "-c", "import torch"]):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
print(json.dumps([taken[::2], taken[1::2]]))
"""


def small_job(scratch: Path) -> Iterator[Row]:
    """The seed's 450 rows, the whole program, against what importing torch takes in the image."""
    write(draw(450, 2), Paths(scratch).channels / "train")
    command = ["docker", "run", "--rm", "--volume", f"{scratch}:/opt/ml", IMAGE]
    found = subprocess.check_output([*command, "python", "-c", _ALTERNATE])
    mine, torch_alone = (statistics.median(taken) for taken in json.loads(found))
    yield Row(
        "a job of 450 rows in the image, time against import torch",
        mine / torch_alone,
        1.6,
        figures=f"{mine:.2f} : {torch_alone:.2f} s",
    )


def hosts(scratch: Path) -> Iterator[Row]:
    """Two hosts on one core each against one host on one core, in rows a second.

    Beside it two jobs of one host each, at the same time: what the cores have to give.
    """
    table = write(draw(5_000_000, 2), scratch / "rows" / "train")
    network = f"simplenet-bench-{os.getpid()}"
    one, two, both = [["algo-1"]], [["algo-1", "algo-2"]], [["algo-1"], ["algo-2"]]
    subprocess.run(["docker", "network", "create", network], check=True, stdout=subprocess.DEVNULL)
    try:
        for batch_size, bar in ((500_000, 1.7), (100_000, None)):
            taken = [
                [_speed(network, table, scratch, jobs, batch_size) for jobs in (two, both, one)]
                for _ in range(ROUNDS)
            ]
            pair, apart, alone = (statistics.median(column) for column in zip(*taken, strict=True))
            for what, speed, least in (("two hosts", pair, bar), ("two jobs apart", apart, None)):
                yield Row(
                    f"{what} against one, a core each, 5,000,000 rows, batch {batch_size:,}, speed",
                    speed / alone,
                    least,
                    least=True,
                    figures=f"{speed:,.0f} : {alone:,.0f} rows/s",
                )
    finally:
        subprocess.run(["docker", "network", "rm", network], check=True, stdout=subprocess.DEVNULL)


def _speed(network: str, table: Path, root: Path, jobs: list[list[str]], batch_size: int) -> float:
    """Run jobs at the same time, each host on a core of its own; return their rows a second.

    Of each job that is its fastest epoch: hosts wait for each other, so that other work on either
    core would count twice.
    """
    containers = []
    try:
        for core, name in enumerate(name for names in jobs for name in names):
            paths = Paths(root / name)
            paths.hyperparameters.parent.mkdir(parents=True, exist_ok=True)
            paths.channels.mkdir(exist_ok=True)
            settings = {"epochs": "15", "batch_size": str(batch_size)}
            paths.hyperparameters.write_text(json.dumps(settings))
            (names,) = (names for names in jobs if name in names)
            paths.resource_config.write_text(json.dumps({"current_host": name, "hosts": names}))
            options = ["--network", network, "--network-alias", name, "--cpuset-cpus", str(core)]
            options += ["--volume", f"{paths.root}:/opt/ml"]
            options += ["--volume", f"{table}:/opt/ml/input/data/train:ro"]
            command = ["docker", "run", "--detach", *options, IMAGE, "train"]
            containers.append(subprocess.check_output(command).decode().strip())
        codes = subprocess.check_output(["docker", "wait", *containers]).split()
        if {*codes} != {b"0"}:
            sys.exit(f"jobs of the benchmark exited with {codes}")
        histories = [Paths(root / first).output_data / "history.csv" for first, *_ in jobs]
        return sum(float(pd.read_csv(path)["rows_per_second"].max()) for path in histories)
    finally:
        subprocess.run(
            ["docker", "rm", "--force", *containers], check=True, stdout=subprocess.DEVNULL
        )


PARTS = {"epochs": epochs, "loads": loads, "small_job": small_job, "hosts": hosts}

if __name__ == "__main__":
    alone(sys.argv[1], Path(sys.argv[2]))
