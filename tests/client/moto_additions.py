"""What moto's SageMaker lacks: jobs that are stopped, endpoints that score, states to choose."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends

if TYPE_CHECKING:
    from collections.abc import Mapping

# By the action that makes one: where moto keeps them, and what names one.
_MADE_BY = {
    "CreateTrainingJob": ("training_jobs", "TrainingJobName"),
    "CreateHyperParameterTuningJob": (
        "hyper_parameter_tuning_jobs",
        "HyperParameterTuningJobName",
    ),
    "CreateTransformJob": ("transform_jobs", "TransformJobName"),
    "CreateEndpoint": ("endpoints", "EndpointName"),
}
# By the action that stops one: the action that made it, and where moto keeps its state.
_STOPPED_BY = {
    "StopTrainingJob": ("CreateTrainingJob", "training_job_status"),
    "StopHyperParameterTuningJob": (
        "CreateHyperParameterTuningJob",
        "hyper_parameter_tuning_job_status",
    ),
    "StopTransformJob": ("CreateTransformJob", "transform_job_status"),
}


def settle(host: str, action: str, body: bytes, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
    """Give what an action has just made the attributes that a test chose for it."""
    if action in outcomes:
        made = _find(host, action, json.loads(body))
        for attribute, value in outcomes[action].items():
            setattr(made, attribute, value)


def answer(host: str, path: str, action: str, body: bytes) -> Any:
    """Return the answer to what moto has none for; None for all else."""
    if action in _STOPPED_BY:
        creation, attribute = _STOPPED_BY[action]
        setattr(_find(host, creation, json.loads(body)), attribute, "Stopped")
        return 200, {}, "{}"
    if re.fullmatch("/endpoints/[^/]+/invocations", path) and body.startswith(b"\x93NUMPY"):
        return 200, {"Content-Type": "application/x-npy"}, _scores(body)
    return None


def _scores(body: bytes) -> bytes:
    """Score each row by its first feature, as a container would in form."""
    rows = np.load(io.BytesIO(body), allow_pickle=False)
    scores = io.BytesIO()
    np.save(scores, (rows[:, :1] < 0.5).astype(np.float32), allow_pickle=False)
    return scores.getvalue()


def _find(host: str, creation: str, body: Mapping[str, str]) -> Any:
    """Return moto's own object of what a request names."""
    found = re.search(r"sagemaker\.([\w-]+)\.amazonaws", host)
    region = found[1] if found else "us-east-1"
    where, name = _MADE_BY[creation]
    return getattr(sagemaker_backends[DEFAULT_ACCOUNT_ID][region], where)[body[name]]
