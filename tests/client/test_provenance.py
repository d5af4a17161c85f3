"""Where a model comes from, read from what jobs leave behind."""

from __future__ import annotations

import gzip
import io
import tarfile
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from client import provenance
from client.provenance import ProvenanceError
from client.training_job import TrainingJob

if TYPE_CHECKING:
    from pathlib import Path


def test_rows_are_those_that_the_jobs_log_tells() -> None:
    """All hosts read all rows, or each of them a part."""
    line = "channel {}: 2 files, 90 bytes, {} rows of a label and 2 features{}"
    part = " (this host's part)"
    log = [
        *(line.format("train", 30, part), line.format("train", 20, part)),
        *(line.format("test", 9, ""), line.format("test", 9, "")),
        "epoch=1; train_loss=0.5;",
    ]

    assert {"train": 50, "test": 9} == provenance.logged_rows(log)


def test_a_history_has_the_columns_that_the_job_wrote() -> None:
    """Without the epochs' numbers, and without what was not measured."""
    text = "epoch,train_loss,validation_loss\n1,0.5,\n2,0.25,\n"

    assert {"train_loss": [0.5, 0.25]} == provenance.read_history(text)
    assert {} == provenance.read_history("")


@pytest.mark.docker
def test_a_job_of_local_mode_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was given, its rows, and what it left in output.tar.gz."""
    monkeypatch.chdir(tmp_path)
    train = tmp_path / "data" / "train"
    train.mkdir(parents=True)
    (train / "one.csv").write_text("1,2\n\n0,3\n")
    (train / "two.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    (train / ".hidden").write_text("1,2\n")
    job = TrainingJob(
        name="moons-1",
        image="simplenet-that-is-not-there",
        role="none",
        channels={"train": train.as_uri()},
        output="none",
        hyperparameters={"epochs": "2"},
        instance_type="local",
    )
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    description = {
        "TrainingStartTime": began,
        "TrainingEndTime": began + timedelta(seconds=7),
        "ModelArtifacts": {"S3ModelArtifacts": "file:///model.tar.gz"},
    }
    provenance.note_local_job(job, description)
    archive = tmp_path / "sagemaker_local" / "moons-1" / "output.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        text = b"epoch,train_loss\n1,0.5\n"
        member = tarfile.TarInfo("data/history.csv")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))

    assert provenance.is_local("moons-1")
    found = provenance.of_local_job("moons-1")
    assert [("train", 3)] == [(channel.name, channel.rows) for channel in found.channels]
    assert {"epochs": "2"} == found.hyperparameters
    assert ("2026-01-02T03:04:05+00:00", 7) == (found.began, found.seconds)
    assert {"train_loss": [0.5]} == found.history


def test_a_job_that_is_not_there_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was expected."""
    monkeypatch.chdir(tmp_path)

    assert not provenance.is_local("moons-1")
    with pytest.raises(ProvenanceError, match="sagemaker_local has no job 'moons-1'"):
        provenance.of_local_job("moons-1")
