"""Counts and times in Prometheus' text format, over all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from simplenet import request_log
from simplenet.replies import Reply

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

    from flask import Response


class Metrics:
    """What SageMaker's detailed observability scrapes.

    The workers share files in PROMETHEUS_MULTIPROC_DIR, which gunicorn.conf.py makes.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._requests = Counter(
            "simplenet_requests", "Requests by status.", ["status"], registry=registry
        )
        self._rows = Counter("simplenet_rows", "Rows scored.", registry=registry)
        self._seconds = Histogram(
            "simplenet_request_seconds",
            "Time from the whole request to the whole reply.",
            buckets=(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 60),
            registry=registry,
        )

    def count(
        self, environ: WSGIEnvironment, status: int, bytes_in: int, bytes_out: int, seconds: float
    ) -> None:
        """Count a request, unless it is one about the server itself."""
        del bytes_in, bytes_out
        if environ["PATH_INFO"] not in {"/ping", "/metrics"}:
            self._requests.labels(status).inc()
            self._rows.inc(environ.get(request_log.ROWS, 0))
            self._seconds.observe(seconds)

    @staticmethod
    def show() -> Response:
        """Return the sums over all workers."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return Reply(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
