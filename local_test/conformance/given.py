"""What the user of a run says of the image, and how long the run waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conformance.server import Payload


@dataclass(frozen=True)
class Limits:
    """How long the run waits, in seconds, and other limits; the service's own where it has one."""

    image_bytes: int = 10_000_000_000  #: of a serverless endpoint's image (H42)
    job: float = 3600
    refusal: float = 600  #: until a job has ended that cannot do what it is asked
    word: float = 20  #: until an entry point has ended that does not know its argument
    hosts: float = 600  #: until every host of a small job has ended
    lost_host: float = 120  #: until a host has ended that lost another
    start: float = 480  #: until `/ping` answers 200 (H14)
    train_stop: float = 120  #: from SIGTERM to SIGKILL (T8)
    serve_stop: float = 30  #: the same for servers (H3)
    reply: float = 60  #: until a request has its reply (H17)
    often: float = 15  #: in which a server gets many requests
    memory_bytes: int = 640 * 2**20  #: of a multi-model endpoint's container that is to be full


@dataclass(frozen=True)
class Given:
    """What the user of the run says of the image."""

    image: str
    channel: Path | None = None
    payload: Payload | None = None
    model: bytes | None = None  #: a `model.tar.gz`, instead of that of a job
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    endless: Mapping[str, str] = field(default_factory=dict)  #: those that make a job long
    only: str | None = None
    limits: Limits = field(default_factory=Limits)
