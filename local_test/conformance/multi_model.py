"""Rules for a multi-model endpoint, for images that claim to serve one."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, passed
from conformance.rule import rule

if TYPE_CHECKING:
    from conformance.run import Run
    from conformance.server import Reply

_LOAD = "POST /models loads what `url` names and answers 200; SageMaker names the model."


def _load(run: Run, name: str) -> Reply:
    body = json.dumps({"model_name": name, "url": "/opt/ml/models/a/model"}).encode()
    headers = {"Content-Type": "application/json"}
    return run.multi_model.ask("POST", "/models", body, headers)


@rule("H37", "H38", observes="multi_model")
def loads_a_model(run: Run) -> Finding:
    """POST /models answers 200, and 409 for a model that is loaded already."""
    first, again = _load(run, "loads"), _load(run, "loads")
    run.multi_model.ask("DELETE", "/models/loads")
    if first.status != HTTPStatus.OK:
        return failed(str(first), _LOAD)
    if again.status != HTTPStatus.CONFLICT:
        return failed(f"the second time: {again}", "Answer 409 for a model that is loaded.")
    return passed("200, then 409")


@rule("H39", "H40", observes="multi_model")
def unknown_models_are_404(run: Run) -> Finding:
    """A model that is not loaded is answered with 404."""
    server = run.multi_model
    replies = [
        server.ask("GET", "/models/absent"),
        server.ask("DELETE", "/models/absent"),
        server.ask(
            "POST",
            "/models/absent/invoke",
            run.payload.body,
            {"Content-Type": run.payload.content_type},
        ),
    ]
    wrong = [reply for reply in replies if reply.status != HTTPStatus.NOT_FOUND]
    if wrong:
        return failed(
            str(wrong[0]), "Answer 404, so that SageMaker loads the model and asks again."
        )
    return passed("404 to describe, unload and invoke")
