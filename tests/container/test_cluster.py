"""What a host knows of the others before it meets them; `tests/programs` has them meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from simplenet.channel import Channel
from simplenet.cluster import Cluster
from simplenet.meeting import ClusterError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 450])
def test_every_row_of_a_replicated_channel_is_one_hosts_to_evaluate(rows: int) -> None:
    """None is left out, and none counts twice (T30)."""
    hosts = ("algo-1", "algo-2", "algo-3")
    data = Channel("test", 1, 0, np.arange(2 * rows, dtype=np.float32).reshape(rows, 2))
    parts = [Cluster(hosts, rank).part(data) for rank in range(len(hosts))]

    np.testing.assert_array_equal(data.rows, np.concatenate(parts))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "{}",
        '{"current_host": "algo-1", "hosts": "algo-1"}',
        '{"current_host": "algo-2", "hosts": ["algo-1"]}',
    ],
)
def test_a_resource_config_that_does_not_name_this_host_is_refused(
    tmp_path: Path, text: str
) -> None:
    """With what it ought to hold (T12, T23)."""
    file = tmp_path / "resourceconfig.json"
    file.write_text(text)
    with pytest.raises(ClusterError) as refused:
        Cluster.read(file, torch.device("cpu"))

    assert str(refused.value).startswith(f"{file} does not say which of the job's hosts this is; ")
    assert '{"current_host": "algo-1", "hosts": ["algo-1", ...]}' in str(refused.value)
