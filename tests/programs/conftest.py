"""Jobs of several hosts, each a process of this machine."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simplenet import meeting
from simplenet.paths import Paths

from tests import engine
from tests.programs.hosts import Host
from tests.programs.program import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# Names that are all this machine's.
LOCAL = ("127.0.0.1", "127.0.0.2", "127.0.0.3")

# The program `train`, but at a port that no other job of this machine meets at, and with less
# patience, if it is to be tried.
TRAIN = """
import runpy, sys
from simplenet import meeting
meeting.PORT, meeting.SILENCE = map(int, sys.argv[1:])
runpy.run_module("simplenet.training", run_name="__main__")
"""


@pytest.fixture
def port() -> int:
    """Where the hosts of a job meet."""
    return engine.free_port()


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Callable[..., list[Host]]]:
    """Starts a job of several hosts, one for each of the given parts of its rows.

    Started again, a job finds what it left. A host whose part is None never comes, and none of the
    `strangers`, which are names.
    """
    with ExitStack() as stack:

        def run(
            *parts: np.ndarray | None,
            sharded: bool = False,
            strangers: tuple[str, ...] = (),
            validation: np.ndarray | None = None,
            names: Sequence[str] = LOCAL,
            silence: int = meeting.SILENCE,
            **settings: float | str,
        ) -> list[Host]:
            given = {name: str(value) for name, value in settings.items()}
            distribution = "ShardedByS3Key" if sharded else "FullyReplicated"
            hosts = []
            for name, rows in zip(names, parts, strict=False):
                if rows is None:
                    continue
                paths = Paths(tmp_path / name)
                train = paths.channels / "train"
                for directory in (train, paths.hyperparameters.parent, paths.checkpoints):
                    directory.mkdir(parents=True, exist_ok=True)
                if len(rows):
                    np.savetxt(train / "a.csv", rows, delimiter=",")
                resources = {
                    "current_host": name,
                    "hosts": [*names[: len(parts)], *strangers],
                    "network_interface_name": "lo",
                }
                if validation is not None:
                    (paths.channels / "validation").mkdir(exist_ok=True)
                    np.savetxt(paths.channels / "validation" / "a.csv", validation, delimiter=",")
                channels = {"train": {"S3DistributionType": distribution}}
                paths.hyperparameters.write_text(json.dumps(given))
                paths.resource_config.write_text(json.dumps(resources))
                paths.input_data_config.write_text(json.dumps(channels))
                command = [sys.executable, "-c", TRAIN, str(port), str(silence)]
                hosts.append(Host(paths, stack.enter_context(started(command, paths))))
            return hosts

        yield run
