"""The environment of serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simplenet.settings import Settings, SettingsError, cores

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from pathlib import Path


def test_each_variable_is_obeyed() -> None:
    """The names are SageMaker's where it has one; AWS's sample's own are understood too (H36)."""
    settings = Settings.from_environment(
        {
            "SAGEMAKER_BIND_TO_PORT": "21000",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
            "MODEL_SERVER_WORKERS": "9",
            "MODEL_SERVER_TIMEOUT": "90",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0",
            "SIMPLENET_CONNECTIONS": "9",
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json",
            "SAGEMAKER_MULTI_MODEL": "true",
            "SIMPLENET_BAD_RECORDS": "mark",
            "SIMPLENET_METRICS": "true",
            "SIMPLENET_MODELS_MB": "7",
            "SIMPLENET_THREADS": "2",
        }
    )

    assert settings == Settings(
        port=21000,
        workers=3,
        threads=2,
        timeout=90,
        max_payload_mb=1024,
        bodies_mb=4096,
        connections=9,
        default_accept="application/json",
        multi_model=True,
        bad_records="mark",
        models_mb=7,
        metrics=True,
    )


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http", "is 'http'; expected a whole number from 1 to 65535."),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "0", "is '0'; expected a whole number from 1 to 512."),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "2", "is '2'; expected a whole number from 3 to 3600."),
        ("MODEL_SERVER_TIMEOUT", "1", "is '1'; expected a whole number from 3 to 3600."),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "-1", "is '-1'; expected a whole number from 0 to 1024."),
        ("SIMPLENET_BODIES_MB", "99", "is '99'; expected a whole number from 100 to 1000000."),
        ("SIMPLENET_CONNECTIONS", "0", "is '0'; expected a whole number from 1 to 100000."),
        ("SIMPLENET_BAD_RECORDS", "skip", "is 'skip'; expected fail or mark."),
        ("SIMPLENET_METRICS", "yes", "is 'yes'; expected true or false."),
    ],
)
def test_a_variable_that_cannot_be_obeyed_is_a_sentence(
    name: str, text: str, sentence: str
) -> None:
    """No value is guessed, and none is ignored."""
    with pytest.raises(SettingsError, match=f"{name} {sentence}"):
        Settings.from_environment({name: text})


def test_what_nobody_set_has_its_default() -> None:
    """As docs/serving.md has it: a worker a core, and room for four of the largest bodies."""
    assert Settings(workers=cores(), bodies_mb=400) == Settings.from_environment({})


@pytest.mark.parametrize(
    ("name", "field", "least", "most"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "port", 1, 65_535),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "workers", 1, 512),
        ("MODEL_SERVER_WORKERS", "workers", 1, 512),
        ("SIMPLENET_THREADS", "threads", 1, 64),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "timeout", 3, 3600),
        ("MODEL_SERVER_TIMEOUT", "timeout", 3, 3600),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "max_payload_mb", 1, 1024),
        ("SIMPLENET_BODIES_MB", "bodies_mb", 100, 1_000_000),
        ("SIMPLENET_CONNECTIONS", "connections", 1, 100_000),
        ("SIMPLENET_MODELS_MB", "models_mb", 1, 1_000_000),
    ],
)
def test_the_ends_of_a_range_are_in_it(name: str, field: str, least: int, most: int) -> None:
    """What is beyond is refused, and a blank around the number does not matter."""
    for value in (least, most):
        assert value == getattr(Settings.from_environment({name: f" {value} "}), field)
    for value in (least - 1, most + 1):
        if (name, value) == ("SAGEMAKER_MAX_PAYLOAD_IN_MB", 0):
            continue  # a stream of any length
        with pytest.raises(SettingsError, match=f"{name} is '{value}'; expected a whole number"):
            Settings.from_environment({name: str(value)})


@pytest.mark.parametrize("text", ["65536", "1" * 5_000, "1.0", "²"])
def test_what_is_no_number_of_the_range_is_refused(text: str) -> None:
    """And the sentence stays short."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"SAGEMAKER_BIND_TO_PORT": text})

    assert str(refused.value) == (
        f"SAGEMAKER_BIND_TO_PORT is {text[:40]!r}; expected a whole number from 1 to 65535."
    )


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_cores_are_those_of_the_container(
    tmp_path: Path, files: dict[str, str], found: int | None
) -> None:
    """The host may have 96, and the container half of one (H49, X15), by either cgroups."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    assert (found or cores(tmp_path / "none")) == cores(tmp_path)


def test_every_variable_is_documented() -> None:
    """Whoever runs the image finds each in one table, with its default."""
    table = (PROJECT / "docs" / "serving.md").read_text(encoding="utf-8")
    asked: list[str] = []

    class Asked(dict[str, str]):
        def get(self, key: str, default: object = None) -> str:
            asked.append(key)
            return str(default or "")

    Settings.from_environment(Asked())

    assert [] == [name for name in asked if f"| `{name}` |" not in table]
