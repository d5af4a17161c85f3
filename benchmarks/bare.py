"""What the server is measured against: the least that could be called one."""

from __future__ import annotations

from flask import Flask, Response
from simplenet.bridge import Bridge
from simplenet.settings import Settings


def bare() -> Flask:
    """Return an application that reads no body and answers a constant."""
    app = Flask(__name__)

    @app.get("/ping")
    def ping() -> Response:
        return Response()

    @app.post("/invocations")
    def invocations() -> Response:
        return Response("0.5\n", content_type="text/csv")

    return app


def bare_bridge() -> Bridge:
    """Return the same, as our worker takes it."""
    return Bridge(bare().wsgi_app, Settings())
