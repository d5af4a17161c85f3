"""The channels of a job: which there are, what is in them, and whether they fit together."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simplenet import channel
from simplenet.channel import Channel, ChannelError

if TYPE_CHECKING:
    from simplenet.cluster import Cluster
    from simplenet.paths import Paths
    from simplenet.stop import Stop

log = logging.getLogger("train")


@dataclass(frozen=True)
class Channels:
    """What one job trains on, and what it is measured by."""

    train: Channel
    validation: Channel | None
    test: Channel | None

    def given(self) -> dict[str, Channel]:
        """Return those that there are, by what they are for."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: data for name, data in every.items() if data is not None}


def read(paths: Paths) -> Channels:
    """Read `train` (or `training`), and `validation` and `test` where there are such channels."""
    # A Pipe channel is no directory, so that the refusal must come first; a host that got no object
    # of a sharded channel may have no directory either.
    config = paths.input_data_config
    parts = [
        name
        for name in ("train", "training", "validation", "test", "model")
        if channel.is_sharded(config, name)
    ]
    both = [paths.channels / name for name in ("train", "training")]
    there = (path for path in both if path.name in parts or path.is_dir())
    found = next(there, None) or channel.find(paths.channels, *(path.name for path in both))
    known = {found.name, "validation", "test", "model"}
    for entry in sorted(paths.channels.glob("*/")):
        if entry.is_dir() and entry.name not in known:
            log.info("channel %s is not used; known are %s", entry.name, ", ".join(sorted(known)))

    def read_one(name: str) -> Channel:
        sharded = name in parts
        data = channel.read(paths.channels / name, sharded=sharded)
        log.info(
            "channel %s: %s %s, %s bytes, %s rows of a label and %s features%s",
            *(data.name, data.files, "file" if data.files == 1 else "files", data.size),
            *(len(data.rows), max(0, data.rows.shape[1] - 1)),
            " (this host's part)" if sharded else "",
        )
        return data

    def read_if_there(name: str) -> Channel | None:
        return read_one(name) if (paths.channels / name).is_dir() else None

    return Channels(read_one(found.name), read_if_there("validation"), read_if_there("test"))


def agree(channels: Channels, cluster: Cluster, stop: Stop) -> Channels:
    """Check that the channels fit together on all hosts, so that all do the same with them."""
    columns = max(cluster.each(channels.train.rows.shape[1]))

    def check(data: Channel | None, name: str) -> Channel | None:
        if not any(cluster.each(data is not None)):
            return None
        # A host that got no object of a channel may not even have its directory.
        data = data or Channel(name, 0, 0, np.empty((0, 0), dtype=np.float32), sharded=True)
        for host, width in zip(cluster.hosts, cluster.each(data.rows.shape[1]), strict=True):
            if width not in {0, columns}:
                raise ChannelError(
                    f"Channel {name!r} has {width} columns on {host}; expected {columns}, "
                    f"as channel {channels.train.name!r} has."
                )
        counts = cluster.each(len(data.rows))
        if not any(counts):
            raise ChannelError(f"Channel {name!r} holds no rows on any host.")
        # The SDK's local mode does not say that a channel is sharded: rows that differ are.
        sharded = any(cluster.each(data.sharded)) or len(set(counts)) > 1
        if not sharded and cluster.size > 1:
            sharded = len(set(cluster.each(cluster.together(data.checksum, stop)))) > 1
        rows = data.rows if data.rows.size else np.empty((0, columns), dtype=np.float32)
        return replace(data, rows=rows, sharded=sharded)

    train = check(channels.train, channels.train.name) or channels.train
    return Channels(train, check(channels.validation, "validation"), check(channels.test, "test"))
