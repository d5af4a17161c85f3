"""What `gunicorn.conf.py` does to the process that reads it, and to its workers."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

CONTAINER = PROJECT / "container"

# gunicorn's master has a handler that only notes the signal; so has a worker before it makes its
# own.
FORK = """
import os, runpy, signal, sys
runpy.run_path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: None)
worker = os.fork()
if not worker:
    signal.pause()
os.kill(worker, signal.SIGTERM)
print(os.WTERMSIG(os.waitpid(worker, 0)[1]))
signal.raise_signal(signal.SIGTERM)
"""


def read(program: str, tmp_path: Path, **environment: str) -> str:
    """Return what a program prints that has the file's path as its argument."""
    return subprocess.run(
        [sys.executable, "-c", program, CONTAINER / "gunicorn.conf.py"],
        env={"PYTHONPATH": str(CONTAINER), "TMPDIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_a_worker_hears_sigterm_from_its_first_moment(tmp_path: Path) -> None:
    """The master waits for its workers: one that missed the signal took all of the 30 s (H3)."""
    assert int(signal.SIGTERM) == int(read(FORK, tmp_path))


def test_nothing_is_left_in_tmp(tmp_path: Path) -> None:
    """The directory of the metrics goes with the master, and not with a worker (X14)."""
    program = """
import os, runpy, sys
runpy.run_path(sys.argv[1])
if not os.fork():
    sys.exit(0)
os.wait()
print(os.listdir(os.environ["TMPDIR"]))
"""
    while_it_runs = read(program, tmp_path, SIMPLENET_METRICS="true")

    assert "simplenet-metrics-" in while_it_runs
    assert [] == [*tmp_path.iterdir()]
