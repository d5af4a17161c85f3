#!/usr/local/bin/python -u
"""A training program that keeps every rule, in the standard library alone.

Each bad image is this one with a line or two changed (see bad.py), so a line does one thing.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

INPUT = Path("/opt/ml/input")
FAILURE = Path("/opt/ml/output/failure")
MODEL = Path("/opt/ml/model/model.json")
CHECKPOINTS = Path("/opt/ml/checkpoints")

stopped: list[bool] = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))


def setting(name: str, default: str) -> str:
    """Return a hyperparameter, as it is or JSON-quoted."""
    file = INPUT / "config" / "hyperparameters.json"
    given = json.loads(file.read_text()) if file.exists() else {}
    return str(given.get(name, default)).strip('"')


def rows() -> list[list[float]]:
    """Read the channel: the label, then the features."""
    for name in ("train", "training"):
        files = [path for path in sorted((INPUT / "data" / name).rglob("*")) if path.is_file()]
        lines = [line for path in files for line in path.read_text().splitlines()]
        if lines:
            return [[float(cell) for cell in line.split(",")] for line in lines]
    raise ValueError("The channel 'train' holds no lines; put CSV files there.")


def first_epoch() -> int:
    """Return how many epochs an earlier job has done."""
    found = [json.loads(path.read_text()) for path in CHECKPOINTS.glob("*.json")]
    return max(found, default=0)


def meet() -> socket.socket | None:
    """Return the connection to the other host, if the job has two."""
    file = INPUT / "config" / "resourceconfig.json"
    resources = json.loads(file.read_text()) if file.is_file() else {"hosts": []}
    if len(resources["hosts"]) < 2:
        return None
    first = resources["hosts"][0]
    if resources["current_host"] == first:
        with socket.create_server(("", 7777)) as server:
            server.settimeout(60)
            return server.accept()[0]
    socket.setdefaulttimeout(60)
    while True:
        with contextlib.suppress(ConnectionRefusedError, socket.gaierror):
            return socket.create_connection((first, 7777))
        time.sleep(0.1)


def keep_step(other: socket.socket | None) -> None:
    """Wait until the other host has come as far."""
    here = b"alone"
    if other:
        try:
            other.sendall(b".")
            here = other.recv(1)
        except OSError:
            here = b""
    if not here:
        raise ValueError("The other host is gone; look at its log.")


def train() -> None:
    """Turn the channel into a model: the mean of each feature."""
    table = rows()
    other = meet()
    means = [sum(column) / len(table) for column in zip(*table, strict=True)][1:]
    for epoch in range(first_epoch(), int(setting("epochs", "2"))):
        keep_step(other)
        print(f"epoch={epoch}; train_loss={1 / (epoch + 1)};")
        time.sleep(0.01)  # an epoch takes a while, so that a job can be stopped in the midst
        if stopped:
            print("SIGTERM: stopped early")
            save(epoch + 1, CHECKPOINTS / "epochs.json")
            break
    save(means, MODEL)


def save(content: object, path: Path) -> None:
    """Write a file that is never seen half-written."""
    part = path.with_suffix(".sagemaker-ignore")
    part.write_text(json.dumps(content))
    os.replace(part, path)  # noqa: PTH105


try:
    train()
except (ValueError, OSError) as error:
    print(error, file=sys.stderr)
    FAILURE.write_text(str(error))
    sys.exit(1)
