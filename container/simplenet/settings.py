"""What the environment says of serving: each variable once. docs/serving.md lists them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTROL_GROUPS = Path("/sys/fs/cgroup")


class SettingsError(ValueError):
    """A variable that cannot be obeyed; the message names it, and says what it may be."""


@dataclass(frozen=True)
class Settings:
    """How the server runs."""

    port: int = 8080
    workers: int = 1
    threads: int = 4
    timeout: int = 60
    max_payload_mb: int = 100
    bodies_mb: int = 400
    connections: int = 1000
    default_accept: str = ""
    multi_model: bool = False
    bad_records: str = "fail"
    models_mb: int = 512
    metrics: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read every variable.

        Raises:
            SettingsError: for the first that cannot be obeyed.
        """

        def number(name: str, default: int, least: int, most: int) -> int:
            text = environment.get(name, "").strip()
            if not text:
                return default
            # A number of more digits is out of range, and takes int() long.
            if not (text.isdecimal() and len(text) < 10 and least <= int(text) <= most):  # noqa: PLR2004
                raise SettingsError(
                    f"{name} is {text[:40]!r}; expected a whole number from {least} to {most}."
                )
            return int(text)

        def choice(name: str, default: str, *names: str) -> str:
            text = environment.get(name, "").strip().lower() or default
            if text not in names:
                raise SettingsError(f"{name} is {text[:40]!r}; expected {' or '.join(names)}.")
            return text

        # CreateTransformJob's 0 means "a stream of any length": as much as asynchronous inference
        # sends at most.
        payload = number("SAGEMAKER_MAX_PAYLOAD_IN_MB", cls.max_payload_mb, 0, 1024) or 1024
        return cls(
            port=number("SAGEMAKER_BIND_TO_PORT", cls.port, 1, 65535),
            workers=number(
                "SAGEMAKER_MODEL_SERVER_WORKERS",
                number("MODEL_SERVER_WORKERS", cores(), 1, 512),
                1,
                512,
            ),
            threads=number("SIMPLENET_THREADS", cls.threads, 1, 64),
            # A worker beats once a second: with less it would be killed while it is well.
            timeout=number(
                "SAGEMAKER_MODEL_SERVER_TIMEOUT",
                number("MODEL_SERVER_TIMEOUT", cls.timeout, 3, 3600),
                3,
                3600,
            ),
            max_payload_mb=payload,
            # With less than one of the largest, such a body would always be refused.
            bodies_mb=number("SIMPLENET_BODIES_MB", 4 * payload, payload, 1_000_000),
            connections=number("SIMPLENET_CONNECTIONS", cls.connections, 1, 100_000),
            default_accept=environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "").strip(),
            multi_model=choice("SAGEMAKER_MULTI_MODEL", "false", "true", "false") == "true",
            bad_records=choice("SIMPLENET_BAD_RECORDS", cls.bad_records, "fail", "mark"),
            models_mb=number("SIMPLENET_MODELS_MB", cls.models_mb, 1, 1_000_000),
            metrics=choice("SIMPLENET_METRICS", "false", "true", "false") == "true",
        )


def cores(control_groups: Path = _CONTROL_GROUPS) -> int:
    """Return the cores this container may use: its affinity, and its share by the control group."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, when run without a container
        found = os.cpu_count() or 1
    for read in (_quota_v2, _quota_v1):
        try:
            quota, period = read(control_groups)
        except (OSError, ValueError):  # no control group of this version, or "max": no limit
            continue
        if quota > 0 and period > 0:  # version 1 writes -1 for no limit
            found = min(found, max(1, round(quota / period)))
    return found


def _quota_v2(root: Path) -> tuple[int, int]:
    quota, period = (root / "cpu.max").read_text(encoding="ascii").split()
    return int(quota), int(period)


def _quota_v1(root: Path) -> tuple[int, int]:
    files = (root / "cpu" / "cpu.cfs_quota_us", root / "cpu" / "cpu.cfs_period_us")
    quota, period = (int(file.read_text(encoding="ascii")) for file in files)
    return quota, period
