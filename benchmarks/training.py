"""How fast training is, and how much memory it takes: ratios, each measured in one run.

    python benchmarks/training.py          # five minutes on two cores; exit code 1 below a bar
    IMAGE=simplenet-sagemaker python benchmarks/training.py hosts    # needs Docker and two cores

One part alone: add its name, which is epochs, loads, small_job or hosts.

What is compared alternates, and each number is a median, since machines are noisy. Every reading is
done in a process of its own, for peak memory never falls.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from simplenet import channel, fitting
from simplenet.channel import Channel
from simplenet.hyperparameters import Hyperparameters
from simplenet.model import SimpleNet
from simplenet.paths import Paths
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from collections.abc import Callable

CONTAINER = Path(__file__).parents[1] / "container"
ROUNDS = 3
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
    return directory


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(what: str, ratio: float, bar: float | None, *, least: bool = False) -> bool:
    """Print a ratio and its bar; return whether it is met."""
    met = bar is None or (ratio >= bar if least else ratio <= bar)
    limit = "" if bar is None else f" (bar: {'at least' if least else 'at most'} {bar})"
    sys.stdout.write(f"{what}: {ratio:.2f}{limit}{'' if met else '  MISSED'}\n")
    sys.stdout.flush()
    return met


def epochs(_: Path) -> list[bool]:
    """An epoch of ours against the loops that one would write instead."""
    met = []
    for batch_size, rows in ((64, draw(100_000, 2)), (1024, draw(1_000_000, 2))):
        data = Channel("train", 1, 0, rows)
        settings = Hyperparameters(epochs=1, batch_size=batch_size)

        def ours(data: Channel = data, settings: Hyperparameters = settings) -> None:
            net = SimpleNet(2)
            net.draw_weights(torch.Generator().manual_seed(0))
            list(fitting.fit(fitting.State(net), data, settings))

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
        met.append(report(f"{title}, against tensor slices", mine / slices, 1.3))
        met.append(report(f"{title}, against a DataLoader", mine / usual, None))
    return met


def _usual() -> Callable[[torch.Tensor, torch.Tensor], None]:
    net = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 1))
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    loss_of = nn.BCEWithLogitsLoss()

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        optimiser.zero_grad()
        loss_of(net(x)[:, 0], y).backward()
        optimiser.step()

    return step


def load_alone(reader: str, directory: Path) -> None:
    """Read a channel and print the seconds it took and the bytes at its peak; for `loads`."""
    before = _peak()
    began = time.perf_counter()
    if reader == "pandas":
        pd.read_csv(directory / "data.csv", header=None, dtype=np.float32)
    else:
        channel.read(directory)
    found = {"seconds": time.perf_counter() - began, "bytes": _peak() - before}
    sys.stdout.write(json.dumps(found))


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0


def loads(scratch: Path) -> list[bool]:
    """Read large channels, in time against pandas and in memory against the table itself."""
    met = []
    for rows, features in ((10_000_000, 2), (1_000_000, 30)):
        directory = write(draw(rows, features), scratch / f"{rows}x{features}" / "train")
        taken: dict[str, list[dict[str, float]]] = {"pandas": [], "ours": []}
        for _ in range(ROUNDS):
            for reader, found in taken.items():
                command = [sys.executable, __file__, "load", reader, str(directory)]
                found.append(json.loads(subprocess.check_output(command)))
        mine, peer = (
            statistics.median(run["seconds"] for run in taken[reader])
            for reader in ("ours", "pandas")
        )
        memory = max(run["bytes"] for run in taken["ours"]) / (4 * rows * (1 + features))
        title = f"CSV of {rows:,} x {features}"
        met += [
            report(f"{title}, time against pandas.read_csv", mine / peer, 1.5),
            report(f"{title}, peak memory against the table", memory, 2.0),
        ]
    return met


def small_job(scratch: Path) -> list[bool]:
    """The seed's 450 rows, the whole program, against what importing torch takes."""
    write(draw(450, 2), scratch / "small" / "input" / "data" / "train")
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(scratch / "small")}
    commands = (["-m", "simplenet.training"], ["-c", "import torch"])
    taken = [
        [
            seconds(
                lambda command=command: subprocess.run(  # type: ignore[misc]
                    [sys.executable, *command],
                    env=environment,
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            )
            for command in commands
        ]
        for _ in range(5)
    ]
    mine, torch_alone = (statistics.median(column) for column in zip(*taken, strict=True))
    return [report("a job of 450 rows, against import torch", mine / torch_alone, 1.6)]


def hosts(scratch: Path) -> list[bool]:
    """Two hosts on one core each against one host on one core, in rows a second."""
    image = os.environ.get("IMAGE", "simplenet-sagemaker")
    table = write(draw(5_000_000, 2), scratch / "rows" / "train")
    network = f"simplenet-bench-{os.getpid()}"
    subprocess.run(["docker", "network", "create", network], check=True, stdout=subprocess.DEVNULL)
    try:
        taken = [
            [
                _speed(image, network, table, scratch / f"{number}-{count}", count)
                for count in (2, 1)
            ]
            for number in range(ROUNDS)
        ]
    finally:
        subprocess.run(["docker", "network", "rm", network], check=True, stdout=subprocess.DEVNULL)
    two, one = (statistics.median(column) for column in zip(*taken, strict=True))
    return [report("two hosts against one, 5,000,000 rows", two / one, 1.7, least=True)]


def _speed(image: str, network: str, table: Path, root: Path, count: int) -> float:
    names = [f"algo-{number}" for number in range(1, count + 1)]
    containers = []
    try:
        for core, name in enumerate(names):
            paths = Paths(root / name)
            paths.hyperparameters.parent.mkdir(parents=True)
            paths.channels.mkdir()
            settings = {"epochs": "5", "batch_size": "100000"}
            paths.hyperparameters.write_text(json.dumps(settings))
            paths.resource_config.write_text(json.dumps({"current_host": name, "hosts": names}))
            options = ["--network", network, "--network-alias", name, "--cpuset-cpus", str(core)]
            options += ["--volume", f"{paths.root}:/opt/ml"]
            options += ["--volume", f"{table}:/opt/ml/input/data/train:ro"]
            command = ["docker", "run", "--detach", *options, image, "train"]
            containers.append(subprocess.check_output(command).decode().strip())
        subprocess.run(["docker", "wait", *containers], check=True, stdout=subprocess.DEVNULL)
        found = json.loads((Paths(root / names[0]).output_data / "metrics.json").read_bytes())
        return float(found["rows_per_second"])
    finally:
        subprocess.run(
            ["docker", "rm", "--force", *containers], check=True, stdout=subprocess.DEVNULL
        )


def main() -> int:
    """Run what is asked for; return the exit code."""
    match sys.argv[1:]:
        case ["load", reader, directory]:
            load_alone(reader, Path(directory))
            return 0
        case []:
            parts: list[Callable[[Path], list[bool]]] = [epochs, loads, small_job]
        case [name] if name in {"epochs", "loads", "small_job", "hosts"}:
            parts = [globals()[name]]
        case _:
            sys.exit(__doc__)
    os.environ["PYTHONPATH"] = str(CONTAINER)
    with tempfile.TemporaryDirectory() as scratch:
        return int(not all([all(part(Path(scratch))) for part in parts]))  # noqa: C419  # run all


if __name__ == "__main__":
    sys.exit(main())
