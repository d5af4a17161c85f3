"""What AWS's scikit sample does with a body, with this model in the place of its own.

gunicorn --worker-class gevent 'benchmarks.peers.aws_sample:app()'
"""

from __future__ import annotations

import io

import pandas as pd
from flask import Flask, Response, request
from simplenet.model import SimpleNet
from simplenet.paths import Paths


def app() -> Flask:
    """Return the application."""
    net = SimpleNet.load(Paths.from_environment().model_file)
    app = Flask(__name__)

    @app.get("/ping")
    def ping() -> Response:
        return Response(response="\n", status=200, mimetype="application/json")

    @app.post("/invocations")
    def invocations() -> Response:
        if request.content_type != "text/csv":
            return Response(response="This predictor only supports CSV data", status=415)
        data = pd.read_csv(io.StringIO(request.data.decode("utf-8")), header=None)
        out = io.StringIO()
        pd.DataFrame({"results": net.score(data.to_numpy("float32"))}).to_csv(
            out, header=False, index=False
        )
        return Response(response=out.getvalue(), status=200, mimetype="text/csv")

    return app
