"""Training as SageMaker runs it: real containers, stopped, killed, restricted, and several at once.

Each test makes its own `/opt/ml`; the hosts of a job share a Docker network of their own.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from simplenet.model import SimpleNet
from simplenet.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

# More than any of these jobs needs before it is stopped.
ENDLESS = {"epochs": "1000000"}


def docker(*arguments: str) -> str:
    """Run a docker command to its end; return what it printed."""
    return subprocess.run(
        ["docker", *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout.decode()


@dataclass(frozen=True)
class Host:
    """One container and its `/opt/ml`."""

    name: str
    paths: Paths

    def wait(self) -> int:
        """Return the exit code, once there is one."""
        return int(docker("wait", self.name))

    def log(self) -> str:
        """Return what it printed so far."""
        return docker("logs", self.name)

    def wait_for(self, text: str) -> None:
        """Return when it has printed `text`; that it never does is an error."""
        command = ["docker", "logs", "--follow", self.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as follow:
            assert follow.stdout is not None
            found = any(text in line.decode() for line in follow.stdout)
            follow.kill()
        assert found, self.log()

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of the model that it left."""
        return SimpleNet.load(self.paths.model_file).state_dict()


@pytest.fixture
def start(tmp_path: Path, image: str) -> Iterator[Callable[..., Host]]:
    """Start a container with the given rows and hyperparameters; all are removed at the end."""
    with ExitStack() as stack:

        def run(
            rows: np.ndarray | None,
            *options: str,
            settings: dict[str, str] | None = None,
            resources: dict[str, object] | None = None,
            sharded: bool = False,
            name: str = "algo-1",
            command: tuple[str, ...] = ("train",),
        ) -> Host:
            paths = Paths(tmp_path / name)
            (paths.channels / "train").mkdir(parents=True, exist_ok=True)
            paths.hyperparameters.parent.mkdir(exist_ok=True)
            for directory in (paths.model, paths.output_data, paths.checkpoints):
                directory.mkdir(parents=True, exist_ok=True)
            # The containers of some tests run as another user than the tests.
            for directory in (paths.model, paths.failure.parent, paths.output_data):
                directory.chmod(0o777)
            paths.checkpoints.chmod(0o777)
            if rows is not None and len(rows):
                np.savetxt(paths.channels / "train" / "a.csv", rows, delimiter=",")
            paths.hyperparameters.write_text(json.dumps(settings or {}))
            if resources:
                paths.resource_config.write_text(json.dumps({**resources, "current_host": name}))
            distribution = "ShardedByS3Key" if sharded else "FullyReplicated"
            paths.input_data_config.write_text(
                json.dumps({"train": {"S3DistributionType": distribution}})
            )
            host = Host(f"simplenet-test-{uuid.uuid4().hex[:12]}", paths)
            stack.callback(
                subprocess.run, ["docker", "rm", "--force", host.name], capture_output=True
            )
            mount = f"type=bind,source={paths.root},target=/opt/ml"
            docker(
                "run", "--detach", "--name", host.name, *options, "--mount", mount, image, *command
            )
            return host

        yield run


@contextmanager
def network() -> Iterator[str]:
    """Make a Docker network for the hosts of one job."""
    name = f"simplenet-test-{uuid.uuid4().hex[:12]}"
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


@pytest.fixture
def start_hosts(start: Callable[..., Host]) -> Iterator[Callable[..., list[Host]]]:
    """Start a job of several hosts, one for each of the given parts of its rows."""
    with ExitStack() as stack:

        def run(parts: list[np.ndarray], **more: object) -> list[Host]:
            net = stack.enter_context(network())
            names = [f"algo-{number}" for number in range(1, len(parts) + 1)]
            resources = {"hosts": names, "network_interface_name": "eth0"}
            hosts = [
                start(
                    *(rows, "--network", net, "--network-alias", name),
                    name=name,
                    resources=resources,
                    **more,
                )
                for name, rows in zip(names, parts, strict=True)
            ]
            # Before the network goes, its containers must.
            for host in hosts:
                stack.callback(
                    subprocess.run, ["docker", "rm", "--force", host.name], capture_output=True
                )
            return hosts

        yield run


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL"],  # noqa: S108
        ["--user", "12345:54321", "--read-only", "--tmpfs", "/tmp"],  # noqa: S108
    ],
    ids=["as-is", "read-only-without-network-or-capabilities", "any-user"],
)
def test_a_job_needs_nothing_but_its_own_tree(
    start: Callable[..., Host], moon_rows: np.ndarray, options: list[str]
) -> None:
    """Any user, a read-only root, no network (T33), no capabilities, no credentials."""
    host = start(moon_rows, *options, settings={"epochs": "2"})

    assert 0 == host.wait(), host.log()
    assert 2 == SimpleNet.load(host.paths.model_file).input_dim
    assert (host.paths.output_data / "metrics.json").is_file()


def test_sigterm_ends_a_job_with_a_model_and_a_checkpoint(
    start: Callable[..., Host], moon_rows: np.ndarray
) -> None:
    """As PID 1, with exit code 0 well before SIGKILL, which would give 137 (T8)."""
    host = start(moon_rows, settings=ENDLESS)
    host.wait_for("epoch=3;")
    docker("stop", "--time", "5", host.name)

    assert 0 == host.wait(), host.log()
    assert "SIGTERM: stopped early; the best model so far is kept." in host.log()
    assert 2 == SimpleNet.load(host.paths.model_file).input_dim
    assert 1 == len(list(host.paths.checkpoints.iterdir()))


def test_sigterm_is_heard_while_the_program_still_loads(
    start: Callable[..., Host], moon_rows: np.ndarray
) -> None:
    """Even one that came before Python could hear it (T4, T8)."""
    script = "kill -TERM $$ & exec env --block-signal=TERM sh -c 'wait; exec train'"
    host = start(moon_rows, command=("env", "--block-signal=TERM", "sh", "-c", script))

    assert 0 == host.wait(), host.log()
    assert "SIGTERM: stopped before the job began" in host.log()


def test_sigterm_is_heard_while_data_is_read(start: Callable[..., Host], tmp_path: Path) -> None:
    """At once, not after the data (T8); a file that never ends stands for a long one."""
    train = tmp_path / "algo-1" / "input" / "data" / "train"
    train.mkdir(parents=True)
    with (train / "a.csv").open("wb") as file:
        file.truncate(1 << 40)  # a hole: nothing on the disk, and no line end ever
    host = start(None)
    host.wait_for("checkpoint_epochs")
    docker("stop", "--time", "5", host.name)

    assert 0 == host.wait(), host.log()
    assert "SIGTERM: stopped before training began" in host.log()
    assert not host.paths.model_file.exists()


def test_two_hosts_give_the_weights_of_one(
    start: Callable[..., Host], start_hosts: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """A batch is one batch, whoever computes which part of it; only the first writes (T36, T50)."""
    settings = {"epochs": "5", "batch_size": "64"}
    alone = start(moon_rows, settings=settings, name="alone")
    first, second = start_hosts([moon_rows, moon_rows], settings=settings)

    assert [0, 0, 0] == [host.wait() for host in (alone, first, second)], first.log()
    for name, weight in alone.weights.items():
        torch.testing.assert_close(weight, first.weights[name], atol=1e-4, rtol=1e-4)
    assert not second.paths.model_file.exists()
    assert [] == list(second.paths.output_data.iterdir())


def test_shards_may_be_uneven_and_even_empty(
    start_hosts: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """Each host trains on what S3 gave it, be it nothing (T30); the scale is that of all rows."""
    parts = [moon_rows[:60], moon_rows[60:], moon_rows[:0]]
    hosts = start_hosts(parts, settings={"epochs": "10"}, sharded=True)

    assert [0, 0, 0] == [host.wait() for host in hosts], hosts[0].log()
    net = SimpleNet.load(hosts[0].paths.model_file)
    np.testing.assert_allclose(net.mean, moon_rows[:, 1:].mean(axis=0), atol=1e-5)
    right = np.round(net.score(moon_rows[:, 1:].astype(np.float32))) == moon_rows[:, 0]
    assert right.mean() > 0.9


def test_sigterm_to_one_host_stops_all(
    start_hosts: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """At the same step, with the model on the first (T8)."""
    first, second = start_hosts([moon_rows, moon_rows], settings=ENDLESS)
    first.wait_for("epoch=1;")
    docker("kill", "--signal", "TERM", second.name)

    assert [0, 0] == [first.wait(), second.wait()], first.log() + second.log()
    assert first.paths.model_file.exists()


def test_a_host_that_dies_ends_the_others_with_a_sentence(
    start_hosts: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """They do not wait for it for ever (T50), and say which it was (T12)."""
    first, second = start_hosts([moon_rows, moon_rows], settings=ENDLESS)
    first.wait_for("epoch=1;")
    docker("kill", second.name)

    assert 1 == first.wait(), first.log()
    assert first.paths.failure.read_text().startswith("Lost contact with algo-2: it ended, or was")


def test_bad_data_on_one_host_ends_them_all_with_a_sentence(
    start_hosts: Callable[..., list[Host]], moon_rows: np.ndarray
) -> None:
    """The host that has it says where; the other says who (T12)."""
    bad = moon_rows.copy()
    bad[7, 0] = 5
    first, second = start_hosts([moon_rows, bad], settings=ENDLESS, sharded=True)

    assert [1, 1] == [first.wait(), second.wait()], first.log() + second.log()
    assert "train/a.csv, line 8, column 1 is 5" in second.paths.failure.read_text()
    assert "algo-2 failed; its own log" in first.paths.failure.read_text()
