"""A tuning job on SageMaker: many training jobs, and the best of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from client import aws_errors, interruption, sdk
from client.training_job import ENDED, JobError, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from client.hyperparameters import Range
    from client.training_job import TrainingJob

#: What may be searched for, and whether more of it is better.
OBJECTIVES = {
    "validation_loss": "Minimize",
    "validation_accuracy": "Maximize",
    "validation_roc_auc": "Maximize",
}

_POLL_SECONDS = 5


@dataclass(frozen=True)
class TuningJob:
    """What `CreateHyperParameterTuningJob` is asked for."""

    name: str  #: at most 32 characters
    job: TrainingJob  #: what all its jobs have in common
    ranges: Mapping[str, Range]  #: what differs, by hyperparameter
    objective: str
    max_jobs: int
    parallel: int

    @property
    def direction(self) -> str:
        """Minimize or Maximize."""
        return OBJECTIVES[self.objective]


def expect_validation(channels: Collection[str]) -> None:
    """Refuse to tune where nothing tells good hyperparameters from those that learn by heart.

    Raises:
        JobError: if there is no channel validation.
    """
    if "validation" not in channels:
        raise JobError(
            f"The data has the channels {sorted(channels)}; tuning needs validation, too. "
            "python -m client data --validation 0.2 writes one; then upload again."
        )


def run(session: sdk.Session, tuning: TuningJob, say: Callable[[str], None]) -> dict[str, Any]:
    """Start a tuning job and wait for its end; return its description.

    Where that is interrupted or fails, the tuning job is stopped, and so are its jobs.

    Raises:
        JobError: if none of its jobs has told its objective.
    """
    sagemaker = session.sagemaker_client
    with aws_errors.undone(f"The tuning job {tuning.name}", lambda: stop(sagemaker, tuning.name)):
        sdk.tune(session, tuning)
        found = _wait(sagemaker, tuning, say)
    if not found.get("BestTrainingJob"):
        raise JobError(
            f"The tuning job {tuning.name} is {found['HyperParameterTuningJobStatus']} without a "
            f"best job: {found.get('FailureReason') or 'no reason is given'}. python -m client "
            "status lists its jobs."
        )
    return found


def _wait(sagemaker: Any, tuning: TuningJob, say: Callable[[str], None]) -> dict[str, Any]:
    began = time.monotonic()
    while True:
        found: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=tuning.name
        )
        jobs = found["TrainingJobStatusCounters"]
        failed = jobs["NonRetryableError"] + jobs["Stopped"]
        say(
            f"{tuning.name}: {jobs['Completed']} of {tuning.max_jobs} jobs have ended, {failed} "
            f"without a model, {jobs['InProgress']} run, {time.monotonic() - began:.0f} s"
        )
        if found["HyperParameterTuningJobStatus"] in ENDED:
            return found
        time.sleep(_POLL_SECONDS)


def expect_success(found: Mapping[str, Any]) -> None:
    """Refuse a search that broke off, whose best job is the best of fewer than were asked for.

    Raises:
        JobError: if it did.
    """
    if found["HyperParameterTuningJobStatus"] == "Failed":
        raise JobError(
            f"The tuning job {found['HyperParameterTuningJobName']} is Failed: "
            f"{found.get('FailureReason') or 'no reason is given'}. Its best job so far is the one "
            "above, whose model can be deployed; python -m client status lists all its jobs."
        )


def stop(sagemaker: Any, name: str) -> None:
    """Stop a tuning job that runs, with its jobs."""
    named = {"HyperParameterTuningJobName": name}
    with interruption.undisturbed():
        found = aws_errors.found(sagemaker.describe_hyper_parameter_tuning_job, **named)
        if found and found["HyperParameterTuningJobStatus"] not in ENDED:
            sagemaker.stop_hyper_parameter_tuning_job(**named)


def summary(sagemaker: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a user wants to know of a tuning job that has ended: above all its best job."""
    best = found["BestTrainingJob"]
    objective = best.get("FinalHyperParameterTuningJobObjectiveMetric", {})
    job = describe(sagemaker, best["TrainingJobName"])
    return {
        "tuning job": found["HyperParameterTuningJobName"],
        "status": found["HyperParameterTuningJobStatus"],
        "best job": best["TrainingJobName"],
        objective.get("MetricName", "objective"): objective.get("Value"),
        "hyperparameters": settings(best["TunedHyperParameters"]),
        "model": (job.get("ModelArtifacts") or {}).get("S3ModelArtifacts"),
    }


def settings(tuned: Mapping[str, str]) -> str:
    """Return hyperparameters as `train` takes them.

    >>> settings({"lr": "0.31", "batch_size": "16"})
    '-p batch_size=16 -p lr=0.31'
    """
    return " ".join(f"-p {name}={value.strip(chr(34))}" for name, value in sorted(tuned.items()))
