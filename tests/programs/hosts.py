"""The hosts of a training job as processes of this machine; `tests/image` has containers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.host import Trained

if TYPE_CHECKING:
    from tests.programs.program import Program


@dataclass(frozen=True)
class Host(Trained):
    """One process and its `/opt/ml`."""

    program: Program


def codes(*hosts: Host) -> list[int]:
    """Return the exit codes of all hosts."""
    return [host.program.code() for host in hosts]


def logs(*hosts: Host) -> str:
    """Return what all hosts printed, for a test that fails."""
    return "\n".join(f"--- {host.paths.root.name}\n{host.program.output()}" for host in hosts)
