"""Counts and times in Prometheus' text format, over all workers."""

from __future__ import annotations

from flask import Response, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from simplenet import request_log


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

    def count(self, reply: Response) -> Response:
        """Count a request, unless it is one about the server itself."""
        environ = request.environ
        if environ["PATH_INFO"] not in {"/ping", "/metrics"}:
            self._requests.labels(reply.status_code).inc()
            self._rows.inc(environ.get(request_log.ROWS, 0))
            self._seconds.observe(request_log.elapsed(environ))
        return reply

    @staticmethod
    def show() -> Response:
        """Return the sums over all workers."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
