"""Several containers as the hosts of one training job, on a Docker network of their own."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from simplenet.cluster import PORT
from simplenet.model import SimpleNet
from simplenet.paths import Paths

from tests import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.docker

# More than any of these jobs needs before it is stopped.
ENDLESS = 1_000_000


@dataclass(frozen=True)
class Host:
    """One container and its `/opt/ml`."""

    name: str
    paths: Paths

    def wait(self) -> int:
        """Return the exit code, once there is one."""
        return int(engine.docker("wait", self.name))

    def log(self) -> str:
        """Return what it printed so far."""
        return engine.logs(self.name)

    def wait_for(self, text: str) -> None:
        """Return when it has printed `text`."""
        engine.wait_until(lambda: text in self.log(), f"{text!r} in the log")

    @property
    def failure(self) -> str:
        """Why the job failed (T12)."""
        return self.paths.failure.read_text()

    def take_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of the model that it left; nothing is left of the job then."""
        weights = SimpleNet.load(self.paths.model_file).state_dict()
        for directory in (self.paths.model, self.paths.checkpoints):
            shutil.rmtree(directory)
        return weights


@pytest.fixture
def start(tmp_path: Path, image: str) -> Iterator[Callable[..., list[Host]]]:
    """Starts a job of several hosts, one for each of the given parts of its rows.

    Started again, a job finds what it left. `named` is how many hosts the job should have, if they
    are more than are started; `commands` are what hosts run instead of `train`.
    """
    with ExitStack() as stack:
        network = engine.unique_name()
        engine.docker("network", "create", network)
        stack.callback(engine.docker, "network", "rm", network)

        def run(
            *parts: np.ndarray,
            sharded: bool = False,
            named: int | None = None,
            validation: np.ndarray | None = None,
            commands: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
            **settings: float,
        ) -> list[Host]:
            names = [f"algo-{number}" for number in range(1, (named or len(parts)) + 1)]
            given = {name: str(value) for name, value in settings.items()}
            distribution = "ShardedByS3Key" if sharded else "FullyReplicated"
            hosts = []
            for name, rows in zip(names, parts, strict=False):
                paths = Paths(tmp_path / name)
                train = paths.channels / "train"
                for directory in (train, paths.hyperparameters.parent, paths.checkpoints):
                    directory.mkdir(parents=True, exist_ok=True)
                if len(rows):
                    np.savetxt(train / "a.csv", rows, delimiter=",")
                resources = {"current_host": name, "hosts": names, "network_interface_name": "eth0"}
                if validation is not None:
                    (paths.channels / "validation").mkdir(exist_ok=True)
                    np.savetxt(paths.channels / "validation" / "a.csv", validation, delimiter=",")
                channels = {"train": {"S3DistributionType": distribution}}
                paths.hyperparameters.write_text(json.dumps(given))
                paths.resource_config.write_text(json.dumps(resources))
                paths.input_data_config.write_text(json.dumps(channels))
                options = ("--network", network, "--network-alias", name)
                tree = ("--volume", f"{paths.root}:/opt/ml")
                container = engine.container(
                    *options, *tree, image, *commands.get(name, ("train",))
                )
                hosts.append(Host(stack.enter_context(container), paths))
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
    (alone,) = start(moon_rows, epochs=5, batch_size=64)
    assert 0 == alone.wait(), alone.log()
    weights = alone.take_weights()
    first, second = start(moon_rows, moon_rows, epochs=5, batch_size=64)

    assert [0, 0] == codes(first, second), logs(first, second)
    assert not second.paths.model.exists()
    assert not second.paths.output_data.exists()
    assert [] == list(second.paths.checkpoints.iterdir())
    for name, weight in first.take_weights().items():
        torch.testing.assert_close(weight, weights[name], atol=1e-4, rtol=1e-4)


def test_shards_may_be_uneven_and_even_empty(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """Each host trains on what S3 gave it, be it nothing (T30); the scale is that of all rows."""
    hosts = start(moon_rows[:60], moon_rows[60:], moon_rows[:0], epochs=10, sharded=True)

    assert [0, 0, 0] == codes(*hosts), logs(*hosts)
    net = SimpleNet.load(hosts[0].paths.model_file)
    np.testing.assert_allclose(net.mean, moon_rows[:, 1:].mean(axis=0), atol=1e-5)
    right = np.round(net.score(moon_rows[:, 1:].astype(np.float32))) == moon_rows[:, 0]
    assert right.mean() > 0.9


def test_parts_of_one_size_are_no_replicas(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """Also where nothing says that a channel is sharded (T30), every row counts, by its weight."""
    settings = {"epochs": 5, "batch_size": len(moon_rows), "positive_weight": 3}
    (alone,) = start(moon_rows, **settings)
    assert 0 == alone.wait(), alone.log()
    weights = alone.take_weights()
    middle = len(moon_rows) // 2
    hosts = start(moon_rows[:middle], moon_rows[middle:], **settings)

    assert [0, 0] == codes(*hosts), logs(*hosts)
    for name, weight in hosts[0].take_weights().items():
        torch.testing.assert_close(weight, weights[name], atol=1e-4, rtol=1e-4)


def test_all_hosts_lose_patience_together(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """They measure the validation channel together, so that none goes on alone (T51)."""
    train, validation = moon_rows[:300], moon_rows[300:]
    hosts = start(train, train, validation=validation, epochs=ENDLESS, patience=3)

    assert [0, 0] == codes(*hosts), logs(*hosts)
    net = SimpleNet.load(hosts[0].paths.model_file)
    right = np.round(net.score(validation[:, 1:].astype(np.float32))) == validation[:, 0]
    assert right.mean() > 0.9


def test_sigterm_to_a_host_that_reads_ends_them_all(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """The other, which has long read its part, is told (T8)."""
    endless = (
        "import os, pathlib\n"
        "path = pathlib.Path('/opt/ml/input/data/train/b.csv')\n"
        "path.touch()\n"
        "os.truncate(path, 1 << 40)\n"  # a hole: no line end ever
        "os.execvp('train', ['train'])"
    )
    commands = {"algo-2": ("python", "-c", endless)}
    first, second = start(moon_rows, moon_rows, sharded=True, commands=commands)
    first.wait_for("channel train: 1 file")
    second.wait_for("device")
    engine.docker("kill", "--signal", "TERM", second.name)

    assert [0, 0] == codes(first, second), logs(first, second)
    assert "SIGTERM: stopped before training began; there is no model yet." in first.log()
    assert "SIGTERM: stopped before training began." in second.log()


@pytest.mark.parametrize("sharded", [False, True], ids=["replicated", "sharded"])
def test_a_job_of_several_hosts_goes_on_from_its_checkpoint(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, *, sharded: bool
) -> None:
    """SIGTERM to one stops all at the same step, with a model (T8); started again they go on in
    the midst of an epoch, and end with the weights of hosts that were never stopped (T37, T39).
    """
    parts = [moon_rows[:150], moon_rows[150:], moon_rows[:0]] if sharded else [moon_rows] * 2
    settings = {"epochs": 60, "batch_size": 16}
    hosts = start(*parts, sharded=sharded, **settings)
    assert {0} == {*codes(*hosts)}, logs(*hosts)
    whole = hosts[0].take_weights()

    hosts = start(*parts, sharded=sharded, **settings)
    hosts[0].wait_for("epoch=2;")
    engine.docker("kill", "--signal", "TERM", hosts[1].name)
    assert {0} == {*codes(*hosts)}, logs(*hosts)
    assert "SIGTERM: stopped early; the best model so far is kept." in hosts[0].log()
    assert hosts[0].paths.model_file.exists()
    hosts = start(*parts, sharded=sharded, **settings)
    assert {0} == {*codes(*hosts)}, logs(*hosts)
    assert "going on from checkpoint-" in hosts[0].log()
    resumed = hosts[0].take_weights()
    assert [] == [name for name in whole if not whole[name].equal(resumed[name])]


@pytest.mark.parametrize("fate", ["kill", "pause"])
def test_a_host_that_is_lost_ends_the_others_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, fate: str
) -> None:
    """They do not wait for it for ever (T50), and say which it was (T12); the connection of one
    that falls silent stays, as that of a machine which is gone does.
    """
    first, second = start(moon_rows, moon_rows, epochs=ENDLESS)
    first.wait_for("epoch=1;")
    engine.docker(fate, second.name)

    assert 1 == first.wait(), first.log()
    assert first.failure.startswith("Lost contact with algo-2: it ended, or was silent for 50 s.")


def test_a_host_that_never_comes_ends_the_others_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """Its name is waited for (T50), as long as the job says; the sentence has the cure (T12)."""
    hosts = start(moon_rows, moon_rows, named=3, wait_seconds=1)

    assert [1, 1] == codes(*hosts), logs(*hosts)
    for host in hosts:
        assert "waiting up to 1 s for the names of algo-3" in host.log()
        assert host.failure.startswith("After 1 s there is still no algo-3; expected all hosts")


@pytest.mark.parametrize("idle", ["algo-1", "algo-2"])
def test_a_host_whose_program_never_comes_ends_the_others_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray, idle: str
) -> None:
    """Its name is there, but it does not answer (T12, T50)."""
    hosts = start(moon_rows, moon_rows, commands={idle: ("sleep", "600")}, wait_seconds=1)
    (other,) = (host for host in hosts if host.paths.root.name != idle)

    assert 1 == other.wait(), other.log()
    assert other.failure.startswith(f"After 1 s there is still no {idle}; expected all hosts")


def test_a_port_that_is_taken_is_named(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """By the first host, at which the others would meet (T12)."""
    taken = (
        "import os, socket\n"
        f"server = socket.create_server(('', {PORT}))\n"
        "server.set_inheritable(True)\n"
        "os.execvp('train', ['train'])"
    )
    commands = {"algo-1": ("python", "-c", taken), "algo-2": ("sleep", "600")}
    first, _ = start(moon_rows, moon_rows, commands=commands)

    assert 1 == first.wait(), first.log()
    assert first.failure.startswith(f"Port {PORT}, at which the hosts of a job meet, cannot be")


def test_bad_data_on_one_host_ends_them_all_with_a_sentence(
    start: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """The host that has it says where; the other says who (T12)."""
    bad = moon_rows.copy()
    bad[7, 0] = 5
    first, second = start(moon_rows, bad, epochs=ENDLESS, sharded=True)

    assert [1, 1] == codes(first, second), logs(first, second)
    assert "train/a.csv, line 8, column 1 is 5" in second.failure
    assert "algo-2 failed; its own log" in first.failure
