"""Several containers as the hosts of one training job, on a Docker network of their own.

`tests/programs` has the same without containers, and more of it.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from simplenet.paths import Paths

from tests import engine
from tests.host import Trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.docker

# More than any of these jobs needs before it is stopped.
ENDLESS = 1_000_000

# The program `train`, but with less patience.
IMPATIENT = """
from simplenet import meeting, training
meeting.SILENCE = 3
raise SystemExit(training.main())
"""


@dataclass(frozen=True)
class Host(Trained):
    """One container and its `/opt/ml`."""

    name: str

    def wait(self) -> int:
        """Return the exit code, once there is one."""
        return int(engine.docker("wait", self.name))

    def log(self) -> str:
        """Return what it printed so far."""
        return engine.logs(self.name)

    def wait_for(self, text: str) -> None:
        """Return when it has printed `text`."""
        engine.wait_until(lambda: text in self.log(), f"{text!r} in the log")


@pytest.fixture
def start(tmp_path: Path, image: str) -> Iterator[Callable[..., list[Host]]]:
    """Starts a job of so many hosts, all with the same rows; some may do something else."""
    with ExitStack() as stack:
        network = engine.unique_name()
        engine.docker("network", "create", network)
        stack.callback(engine.docker, "network", "rm", network)

        def run(
            count: int,
            rows: np.ndarray,
            commands: Sequence[tuple[str, ...]] = (("train",),),
            **settings: float,
        ) -> list[Host]:
            names = [f"algo-{number}" for number in range(1, count + 1)]
            given = {name: str(value) for name, value in settings.items()}
            hosts = []
            for name, command in zip(names, cycle(commands), strict=False):
                paths = Paths(tmp_path / name)
                train = paths.channels / "train"
                for directory in (train, paths.hyperparameters.parent, paths.checkpoints):
                    directory.mkdir(parents=True, exist_ok=True)
                np.savetxt(train / "a.csv", rows, delimiter=",")
                resources = {"current_host": name, "hosts": names, "network_interface_name": "eth0"}
                paths.hyperparameters.write_text(json.dumps(given))
                paths.resource_config.write_text(json.dumps(resources))
                options = ("--network", network, "--network-alias", name)
                container = engine.container(
                    *options, "--volume", f"{paths.root}:/opt/ml", image, *command
                )
                hosts.append(Host(paths, stack.enter_context(container)))
            return hosts

        yield run


def codes(*hosts: Host) -> list[int]:
    """Return the exit codes of all hosts."""
    return [host.wait() for host in hosts]


def logs(*hosts: Host) -> str:
    """Return what all hosts printed, for a test that fails."""
    return "\n".join(f"--- {host.paths.root.name}\n{host.log()}" for host in hosts)


def test_two_hosts_give_the_weights_of_one(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """A batch is one batch, whoever computes which part of it; only the first writes (T36, T50,
    T51).
    """
    (alone,) = start(1, moon_rows, epochs=5, batch_size=64)
    assert 0 == alone.wait(), alone.log()
    weights = alone.take_weights()
    first, second = start(2, moon_rows, epochs=5, batch_size=64)

    assert [0, 0] == codes(first, second), logs(first, second)
    assert not second.paths.model.exists()
    assert not second.paths.output_data.exists()
    assert [] == list(second.paths.checkpoints.iterdir())
    for name, weight in first.take_weights().items():
        torch.testing.assert_close(weight, weights[name], atol=1e-4, rtol=1e-4)


def test_a_host_that_falls_silent_ends_the_others_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """They do not wait for it for ever (T50), and say which it was (T12); its connection stays, as
    that of a machine which is gone does.
    """
    first, second = start(2, moon_rows, epochs=ENDLESS)
    first.wait_for("epoch=1;")
    engine.docker("pause", second.name)

    assert 1 == first.wait(), first.log()
    assert first.failure.startswith("Lost contact with algo-2: it ended, or was silent for 50 s.")


@pytest.mark.parametrize("gone", [1, 2])
def test_a_host_that_was_there_and_ended_before_they_met_ends_the_other(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, gone: int
) -> None:
    """Its name was known and is not any more, so it is not waited for as long as for one that has
    not come yet (T12, T50).
    """
    commands = [
        ("sleep", "1000") if number == gone else ("python", "-c", IMPATIENT) for number in (1, 2)
    ]
    hosts = start(2, moon_rows, commands)
    ended = hosts.pop(gone - 1)
    hosts[0].wait_for(f" s for algo-{gone}")
    engine.docker("kill", ended.name)

    assert [1] == codes(*hosts), logs(*hosts)
    assert hosts[0].failure.startswith(f"Lost contact with algo-{gone}: it ended, or was silent")
