"""The web application: SageMaker's routes over a trained model."""

from __future__ import annotations

import logging
import sys
import uuid

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from simplenet import formats
from simplenet.formats import FORMATS, BodyError
from simplenet.model import ModelError, SimpleNet
from simplenet.paths import Paths

log = logging.getLogger(__name__)

#: The largest body that SageMaker sends: batch transform's MaxPayloadInMB is at most 100.
#: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
MAX_BODY_BYTES = 100 << 20


def serve() -> Flask:
    """Return the application for gunicorn, or end the program where it cannot run."""
    try:
        return create_app(Paths.from_environment())
    except ModelError as error:
        sys.exit(f"serve: {error}")


def create_app(paths: Paths) -> Flask:
    """Load the model and return the application that serves it.

    Raises:
        ModelError: if there is no model that can be served; then nothing must listen.
    """
    net = SimpleNet.load(paths.model_file)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.get("/ping")
    def ping() -> Response:
        """Say that the server is healthy: there is no application without a loaded model.

        SageMaker asks again and again, waits 2 s, and takes nothing but 200 and an empty body.
        https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
        """
        return Response(content_type="text/plain")

    @app.post("/invocations")
    def invocations() -> Response:
        """Score each row of the body."""
        request_type = formats.media_type(request.headers.get("Content-Type"))
        if request_type is None:
            return _refusal(415, _unsupported("Content-Type"))
        reply_type = formats.negotiate(request.headers.get("Accept"), request_type)
        if reply_type is None:
            return _refusal(406, _unsupported("Accept"))
        features = FORMATS[request_type].decode(request.get_data(cache=False), net.input_dim)
        scores = net.score(features)
        return Response(FORMATS[reply_type].encode(scores), content_type=reply_type)

    @app.errorhandler(BodyError)
    def refuse_body(error: BodyError) -> Response:
        """Tell the caller what is wrong with the rows."""
        return _refusal(400, str(error))

    @app.errorhandler(HTTPException)
    def refuse_request(error: HTTPException) -> Response:
        """Tell the caller what is wrong with the request, as HTTP itself sees it."""
        reply = _refusal(
            error.code or 500, _SENTENCES.get(error.code or 500, error.description or error.name)
        )
        if allowed := getattr(error, "valid_methods", None):
            reply.headers["Allow"] = ", ".join(sorted(allowed))
        return reply

    @app.errorhandler(Exception)
    def report(error: Exception) -> Response:
        """Keep our own fault out of the reply, and give it a number that the log has too."""
        number = uuid.uuid4().hex[:12]
        log.error("error %s in %s %s", number, request.method, request.path, exc_info=error)
        return _refusal(500, f"The server failed; its log says why under error {number}.")

    return app


_SENTENCES = {
    404: "There is no such path; expected GET /ping or POST /invocations.",
    405: "The path does not take this method; expected GET /ping or POST /invocations.",
    413: f"The body is larger than {MAX_BODY_BYTES >> 20} MB; send fewer rows at a time.",
}


def _unsupported(header: str) -> str:
    return f"{header} is {request.headers[header]!r}; expected one of {', '.join(FORMATS)}."


def _refusal(status: int, sentence: str) -> Response:
    """Return one small JSON object with one sentence: SageMaker shows it as OriginalMessage."""
    return Response(orjson.dumps({"error": sentence}), status, content_type="application/json")
