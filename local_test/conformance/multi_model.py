"""Rules for a multi-model endpoint, for images that claim to serve one."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from conformance.finding import BlockedError, Finding, failed, not_applicable, passed
from conformance.rule import rule
from conformance.server import NO_REPLY, Ordinary

if TYPE_CHECKING:
    from conformance.run import Run
    from conformance.server import Reply, Server

_URL = "/opt/ml/models/a/model"
_LARGE_URL = "/opt/ml/models/large/model"
_LOAD = "POST /models loads what `url` names and answers 200; SageMaker names the model."
_PAGES = "List each model once; take the nextPageToken of a reply as ?next_page_token= of the next."
_MOST_PAGES = 20
_FULL = "Answer 507 before you read what cannot fit, or load in a process that may be lost."


def _load(server: Server, name: str, url: str = _URL) -> Reply:
    body = json.dumps({"model_name": name, "url": url}).encode()
    return server.ask("POST", "/models", body, {"Content-Type": "application/json"})


@rule("H37", observes="multi_model_started", asked_for_by="multi-model")
def starts(run: Run) -> Finding:
    """With SAGEMAKER_MULTI_MODEL=true, /ping answers 200 before any model is loaded."""
    if run.multi_model_started.healthy:
        return passed(f"after {run.multi_model_started.seconds:.1f} s")
    if run.given.only is None and not run.started.healthy:
        raise BlockedError(f"no server of the image comes up: {run.multi_model_started.end}")
    return failed(
        run.multi_model_started.end,
        "Listen without a model: /opt/ml/model is empty there, and models come by POST /models.",
    )


@rule("H37", "H38", observes="multi_model")
def loads_a_model(run: Run) -> Finding:
    """POST /models answers 200, and 409 for a model that is loaded already."""
    first, again = (_load(run.multi_model, "loads") for _ in range(2))
    run.multi_model.ask("DELETE", "/models/loads")
    if first.status != HTTPStatus.OK:
        return failed(str(first), _LOAD)
    if again.status != HTTPStatus.CONFLICT:
        return failed(f"the second time: {again}", "Answer 409 for a model that is loaded.")
    return passed("200, then 409")


def _loaded(run: Run, name: str) -> None:
    """Load a model.

    Raises:
        BlockedError: if it cannot be; the rule `loads_a_model` says so.
    """
    reply = _load(run.multi_model, name)
    if reply.status != HTTPStatus.OK:
        raise BlockedError(f"no model can be loaded: {reply}")


@rule("H39", observes="multi_model")
def lists_what_is_loaded(run: Run) -> Finding:
    """GET /models lists a loaded model by name and url, and GET /models/NAME describes it."""
    _loaded(run, "listed")
    every, one = (run.multi_model.ask("GET", path) for path in ("/models", "/models/listed"))
    run.multi_model.ask("DELETE", "/models/listed")
    try:
        urls = {model["modelName"]: model["modelUrl"] for model in json.loads(every.body)["models"]}
    except (ValueError, KeyError, TypeError):
        urls = {}
    if urls.get("listed") != _URL:
        return failed(
            str(every), 'Answer {"models": [{"modelName": "NAME", "modelUrl": "its url"}]}.'
        )
    if one.status != HTTPStatus.OK:
        return failed(f"/models/listed: {one}", "Answer 200 for a model that is loaded.")
    return passed(f"{_URL} is listed")


@rule("H39", observes="multi_model")
def lists_by_page(run: Run) -> Finding:
    """GET /models lists each of three models once, over as many pages as it says there are."""
    names = ["paged-1", "paged-2", "paged-3"]
    for name in names:
        _loaded(run, name)
    found: list[str] = []
    path, pages = "/models", 0
    try:
        while path and pages < _MOST_PAGES:
            reply = run.multi_model.ask("GET", path)
            page = json.loads(reply.body) if reply.status == HTTPStatus.OK else {}
            found += [model["modelName"] for model in page["models"]]
            token = page.get("nextPageToken")
            path = f"/models?next_page_token={quote(token, safe='')}" if token else ""
            pages += 1
    except (ValueError, KeyError, TypeError, AttributeError):
        return failed(f"{path}: {reply}", _PAGES)
    finally:
        for name in names:
            run.multi_model.ask("DELETE", f"/models/{name}")
    if path:
        return failed(f"after {pages} pages there is still a nextPageToken", _PAGES)
    wrong = [name for name in names if found.count(name) != 1]
    if wrong:
        return failed(f"{wrong[0]} is listed {found.count(wrong[0])} times", _PAGES)
    return passed(f"three models, pages: {pages}")


def _need_scored(run: Run) -> None:
    """Look whether the model scores the payload outside of a multi-model endpoint.

    Raises:
        BlockedError: if it does not; the rule `scores` says so.
    """
    if run.given.only is None and run.started.healthy:
        _ = run.scored


@rule("H40", observes="multi_model")
def scores_with_a_loaded_model(run: Run) -> Finding:
    """POST /models/NAME/invoke scores the payload."""
    _need_scored(run)
    _loaded(run, "scoring")
    headers = {
        "Content-Type": run.payload.content_type,
        "X-Amzn-SageMaker-Target-Model": "a.tar.gz",
    }
    reply = run.multi_model.ask("POST", "/models/scoring/invoke", run.payload.body, headers)
    run.multi_model.ask("DELETE", "/models/scoring")
    if reply.status != HTTPStatus.OK or not reply.body:
        return failed(str(reply), "Score as /invocations does, with the model that is named.")
    return passed(str(reply))


@rule("H39", observes="multi_model")
def unloads_a_model(run: Run) -> Finding:
    """DELETE /models/NAME answers 200, and the model is gone."""
    _loaded(run, "unloads")
    gone = run.multi_model.ask("DELETE", "/models/unloads")
    after = run.multi_model.ask("GET", "/models/unloads")
    if gone.status != HTTPStatus.OK:
        return failed(str(gone), "Unload the model, and answer 200.")
    if after.status != HTTPStatus.NOT_FOUND:
        return failed(f"it is still there: {after}", "Forget the model before you answer 200.")
    return passed("200, then 404")


@rule("H38", "H39", observes="multi_model")
def loads_a_model_again(run: Run) -> Finding:
    """A model that was unloaded can be loaded again, and scores as before."""
    headers = {"Content-Type": run.payload.content_type}

    def score() -> Reply:
        return run.multi_model.ask("POST", "/models/again/invoke", run.payload.body, headers)

    _loaded(run, "again")
    before = Ordinary(score)
    before.learn()
    run.multi_model.ask("DELETE", "/models/again")
    left = run.multi_model.ask("GET", "/models/again")
    if left.status == HTTPStatus.OK:
        raise BlockedError(f"the model is not unloaded: {left}")
    loaded = _load(run.multi_model, "again")
    if loaded.status != HTTPStatus.OK:
        return failed(
            f"after DELETE, POST /models gives {loaded}",
            "Forget all of a model that is unloaded: SageMaker unloads to make room, and loads "
            "again.",
        )
    after = score()
    run.multi_model.ask("DELETE", "/models/again")
    if before.fits(after):
        return passed("200, and the same reply" + ", but for what varies" * before.varies)
    return failed(
        f"loaded again: {after}, but at first: {before.first}",
        "Load a model from its url each time, as at the first.",
    )


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


@rule("H38", observes="crowded")
def full_memory_is_507(run: Run) -> Finding:
    """A model that the memory has no room for is answered with 507, and the server goes on."""
    memory = f"{run.given.limits.memory_bytes / 2**20:.0f} MiB"
    try:
        reply = _load(run.crowded, "large", _LARGE_URL)
    except NO_REPLY as error:
        return failed(
            f"a model of {memory} in a container of {memory} gets no reply: {error!r}", _FULL
        )
    if reply.status == HTTPStatus.OK:
        return not_applicable(f"the server needs no memory for a model of {memory}: {reply}")
    if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return not_applicable(f"zeros make the model large, and the server says of it: {reply}")
    if reply.status != HTTPStatus.INSUFFICIENT_STORAGE:
        return failed(f"a model of {memory} in a container of {memory} gets {reply}", _FULL)
    small = _load(run.crowded, "small")
    if small.status != HTTPStatus.OK:
        return failed(f"after 507, a model that fits gets {small}", _LOAD)
    return passed(str(reply))
