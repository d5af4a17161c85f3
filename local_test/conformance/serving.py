"""Rules for `docker run IMAGE serve`."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.rule import rule

if TYPE_CHECKING:
    from conformance.run import Run

_PING_SECONDS = 2


@rule("H11", "H14", "X5", observes="started")
def starts(run: Run) -> Finding:
    """/ping on port 8080 answers 200 within 8 minutes of the start."""
    if run.started.healthy:
        return passed(f"after {run.started.seconds:.1f} s")
    return failed(
        run.started.end,
        "Listen on 0.0.0.0:8080, and answer GET /ping with 200 once the model is loaded. "
        "If the image only trains, check it with --only train.",
    )


@rule("H13", observes="server")
def ping_is_empty(run: Run) -> Finding:
    """/ping answers 200 with an empty body, within 2 s."""
    reply = run.server.ask("GET", "/ping")
    if reply.status != HTTPStatus.OK or reply.seconds > _PING_SECONDS:
        return failed(str(reply), "Answer it at once, whatever else the server is doing.")
    if reply.body.strip():
        return warned(
            f"it has a body: {reply.body[:80]!r}", "Only the status counts: leave the body empty."
        )
    return passed(str(reply))


@rule("H11", "H17", observes="server")
def scores(run: Run) -> Finding:
    """/invocations answers the given payload with 200 and a body, within 60 s."""
    reply = run.server.invoke(run.payload)
    if reply.status != HTTPStatus.OK or not reply.body:
        return failed(
            str(reply), "Look into the server's log, and whether the payload fits the model."
        )
    return passed(str(reply))


@rule("H30", observes="server")
def unknown_paths_are_404(run: Run) -> Finding:
    """A path that the server does not know is answered with 404."""
    reply = run.server.ask("GET", "/no-such-path")
    if reply.status == HTTPStatus.NOT_FOUND:
        return passed("HTTP 404")
    return warned(str(reply), "Answer 404: SageMaker asks for optional routes, and reads replies.")


@rule("H12", "I14")
def binds_to_the_given_port(run: Run) -> Finding:
    """With the label accept-bind-to-port, the server listens where SAGEMAKER_BIND_TO_PORT says."""
    if not run.image.claims("accept-bind-to-port"):
        return not_applicable("the image does not claim the capability accept-bind-to-port")
    with run.serving("--env", "SAGEMAKER_BIND_TO_PORT=21000", inside=21000) as server:
        if server.healthy:
            return passed("it listens on port 21000 when asked to")
        return failed(
            f"asked to listen on port 21000: {server.end}",
            "Listen on SAGEMAKER_BIND_TO_PORT where it is set, or remove the label.",
        )


@rule("H2", "H3")
def ends_on_sigterm(run: Run) -> Finding:
    """A server that is stopped ends by itself before SIGKILL comes, 30 s after SIGTERM."""
    with run.serving() as server:
        server.container.signal("TERM")
        code = server.container.wait(run.given.limits.serve_stop)
    if code is None:
        return failed(
            f"it still runs {run.given.limits.serve_stop:g} s after SIGTERM",
            "Handle SIGTERM: PID 1 ignores it otherwise. A shell script must exec the program.",
        )
    return passed(f"exit code {code}")
