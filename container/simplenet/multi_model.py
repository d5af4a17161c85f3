"""The routes of a multi-model endpoint: load, list and unload models, and invoke one of them.

https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
from flask import Flask, Response, request

from simplenet import shared
from simplenet.invocation import body, invoke
from simplenet.model import ModelError
from simplenet.models import FullError, LoadedError, Models, NotLoadedError
from simplenet.replies import document, refusal

if TYPE_CHECKING:
    from simplenet.paths import Paths
    from simplenet.settings import Settings


#: What a caller of this endpoint may ask for.
EXPECTED = "GET /ping, GET or POST /models, or POST /models/NAME/invoke"

# Any other name could be loaded, and then have no path to be asked for or unloaded by.
_NAME = re.compile(r"[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*")
_MOST_NAME = 512


class Routes:
    """The routes, each a method, over the models that all workers share."""

    def __init__(self, app: Flask, paths: Paths, settings: Settings) -> None:
        self._settings = settings
        self._models = Models(
            shared.directory("models"),
            paths.models,
            paths.model_file.name,
            settings.models_mb << 20,
        )
        self.release = self._models.release
        app.get("/models")(self.page)
        app.post("/models")(self.load)
        app.get("/models/<path:name>")(self.describe)
        app.delete("/models/<path:name>")(self.unload)
        app.post("/models/<path:name>/invoke")(self.invoke)
        app.register_error_handler(LoadedError, _refuse_loaded)
        app.register_error_handler(NotLoadedError, _refuse_missing)
        app.register_error_handler(ModelError, _refuse_model)
        app.register_error_handler(MemoryError, _refuse_memory)

    def page(self) -> Response:
        """List the loaded models, a page at a time."""
        page, token = self._models.page(request.args.get("next_page_token", ""))
        return document({"models": page} | ({"nextPageToken": token} if token else {}))

    def load(self) -> Response:
        """Load a model."""
        try:
            asked = orjson.loads(body(request.environ, self._settings))
            name, url = asked["model_name"], asked["url"]
        except (ValueError, TypeError, KeyError):
            name = url = None
        if not (isinstance(name, str) and isinstance(url, str) and name and url):
            return refusal(400, 'The body names no model; expected {"model_name": , "url": }.')
        if not _NAME.fullmatch(name) or len(name) > _MOST_NAME:
            return refusal(
                400,
                f"model_name is {name[:80]!r}; expected at most {_MOST_NAME} characters, none of "
                "them a control character, and the first no '/'.",
            )
        self._models.load(name, url)
        return document({"modelName": name, "modelUrl": url})

    def describe(self, name: str) -> Response:
        """Say where a loaded model came from."""
        return document(self._models.describe(name))

    def unload(self, name: str) -> Response:
        """Unload a model."""
        self._models.unload(name)
        return document({})

    def invoke(self, name: str) -> Response:
        """Score each row of the body by one of the models."""
        return invoke(self._models.get(name), self._settings)


def _refuse_loaded(error: LoadedError) -> Response:
    return refusal(409, f"Model {str(error)[:80]!r} is loaded already; unload it first.")


def _refuse_missing(error: NotLoadedError) -> Response:
    return refusal(404, f"Model {str(error)[:80]!r} is not loaded; POST /models loads one.")


def _refuse_model(error: ModelError) -> Response:
    return refusal(400, str(error))


def _refuse_memory(error: MemoryError) -> Response:
    """Tell SageMaker to unload other models."""
    return refusal(507, str(error) if isinstance(error, FullError) else "The memory is full.")
