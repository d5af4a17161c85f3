"""moto's proxy, which also writes down what it is asked, and refuses what it is told to refuse.

It adds what moto's SageMaker lacks: jobs that are stopped, endpoints that score, chosen states.

usage: recording_proxy.py DIRECTORY PORT

DIRECTORY/requests.jsonl gets a line a request; DIRECTORY/refusals.json may hold, by action, the
code and message with which AWS would refuse it, and DIRECTORY/outcomes.json the attributes of what
an action makes.
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_proxy.proxy3 import MotoRequestHandler
from moto.proxy import main
from moto.sagemaker.models import sagemaker_backends

if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECTORY, PORT = Path(sys.argv[1]), sys.argv[2]
_answer = MotoRequestHandler.parse_request


def answer(
    self: MotoRequestHandler, method: str, host: str, path: str, headers: Any, body: bytes | None
) -> Any:
    """Write the request down, and let moto answer it, or refuse it."""
    action = headers.get("X-Amz-Target", "").rpartition(".")[2]
    entry = {
        "action": action,
        "host": urlsplit(host).netloc,
        "method": method,
        "path": path,
        "body": (body or b"").decode("utf-8", "replace"),
    }
    with (DIRECTORY / "requests.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    refused = told("refusals.json")
    if action in refused:
        said = {"__type": refused[action]["code"], "message": refused[action]["message"]}
        return 400, {"x-amzn-errortype": refused[action]["code"]}, json.dumps(said)
    reply = add(host, path, action, body or b"")
    if reply is None:
        reply = _answer(self, method, host, path, headers, body)
        settle(host, action, body or b"", told("outcomes.json"))
    return reply


def told(name: str) -> dict[str, Any]:
    """Return what a test wrote down for this proxy."""
    file = DIRECTORY / name
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found


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


def add(host: str, path: str, action: str, body: bytes) -> Any:
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


MotoRequestHandler.parse_request = answer  # type: ignore[method-assign]
main(["-H", "127.0.0.1", "-p", PORT])
