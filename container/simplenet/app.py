"""The web application: SageMaker's routes over a trained model."""

from __future__ import annotations

import gc
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Flask, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from simplenet import formats, models, multi_model, replies, request_log
from simplenet.bridge import SMALL_BYTES, Bridge
from simplenet.decoding import BodyError
from simplenet.invocation import invoke
from simplenet.model import ModelError
from simplenet.paths import Paths
from simplenet.replies import Reply, document
from simplenet.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIEnvironment

    from flask import Request
    from flask.typing import ResponseReturnValue

    from simplenet.bridge import Observer

    View = TypeVar("View")


# Bytes of a body times hidden units: a number takes a byte or more, and up to a nanosecond in each
# of the units. A row of a wide network can be more work than a body of many is for a narrow one.
_SMALL_WORK = 8 << 20


def serve() -> Bridge:
    """Return the application for gunicorn's event loop, or end the program where it cannot run."""
    try:
        settings = Settings.from_environment()
        app = create_app(Paths.from_environment(), settings)
    except (ModelError, SettingsError) as error:
        sys.exit(f"serve: {error}")
    # What was imported stays: no worker need look through it, or copy its pages by looking.
    gc.collect()
    gc.freeze()
    return Bridge(app.wsgi_app, settings, app.takes_long, app.observers, app.beat)


class _NoSessions(SessionInterface):
    """No caller has a session, so that none is made for each."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """Return the session of which Flask says that there is none."""
        del app, request
        return self._none


class _Adapter(MapAdapter):
    """Finds the route of a request, and that of a path without variables but once."""

    known: dict[tuple[str, str], Any]

    def match(self, *args: Any, **options: Any) -> Any:
        """Return the rule, as Flask asks for it, and the values of its variables."""
        key = self.path_info, self.default_method
        found = self.known.get(key)
        if found is None:
            found = super().match(*args, **options)
            if not found[1]:  # so there are never more than routes
                self.known[key] = found
        return found


class Application(Flask):
    """Flask, without what nothing here uses and every request pays for."""

    session_interface = _NoSessions()
    response_class = replies.Reply

    def __init__(self) -> None:
        super().__init__(__name__, static_folder=None)
        self.url_map.merge_slashes = False  # no caller here follows a redirect
        # A method like any other that a path does not take: Flask's own answer is in HTML.
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        self._known: dict[tuple[str, str], Any] = {}
        #: Whether a request with a body of that size must not be answered on the event loop.
        self.takes_long: Callable[[WSGIEnvironment, int], bool] = lambda _, size: size > SMALL_BYTES
        #: What is told of each answer.
        self.observers: list[Observer] = [request_log.write]
        #: What each worker does once a second.
        self.beat: Callable[[], None] = lambda: None

    def preprocess_request(self) -> ResponseReturnValue | None:
        """Call what is to be called before the view, if there is anything."""
        if self.before_request_funcs or self.url_value_preprocessors:
            return super().preprocess_request()
        return None

    def ensure_sync(self, func: View) -> View:
        """Return a view as it is; none is asynchronous."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Look at no host: SageMaker's differ, and any is served (H20)."""
        if request is None:
            return None
        adapter = _Adapter(
            self.url_map, "", "/", "", request.scheme, request.path, request.method, None
        )
        adapter.known = self._known
        return adapter


def create_app(paths: Paths, settings: Settings | None = None) -> Application:
    """Load the model and return the application that serves it.

    Raises:
        ModelError: if there is no model that can be served; then nothing must listen.
        SettingsError: if the default of a reply's type is none that there is.
    """
    settings = settings or Settings()
    if formats.negotiate(settings.default_accept, "text/csv") is None:
        raise SettingsError(
            f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is {settings.default_accept[:80]!r}; "
            f"expected one of {', '.join(formats.FORMATS)}."
        )
    app = Application()

    @app.route("/ping", methods=["GET", "POST"])
    def ping() -> Response:
        """Say that the server is healthy: there is no application without a loaded model.

        SageMaker asks again and again, waits 2 s, and takes nothing but 200 and an empty body.
        https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
        """
        return Reply(b"", content_type="text/plain")

    expected = "GET /ping or POST /invocations"
    if settings.multi_model:
        expected = multi_model.EXPECTED
        # Any invocation may have to load its model, which takes as long as the disk does.
        app.takes_long = lambda environ, _: environ["PATH_INFO"] != "/ping"
        app.beat = multi_model.Routes(app, paths, settings).release
    else:
        net = models.load(paths.model, paths.model_file.name)
        small = min(SMALL_BYTES, _SMALL_WORK // net.hidden_dim)
        app.takes_long = lambda _, size: size > small

        @app.post("/invocations")
        def invocations() -> Response:
            """Score each row of the body."""
            return invoke(net, settings)

        @app.get("/execution-parameters")
        def execution_parameters() -> Response:
            """Say how batch transform gets the most out of this container.

            It may have 100 MB under way at a time, in payloads of whole megabytes.
            https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html
            """
            transforms = min(settings.workers, 100)
            return document(
                {
                    "MaxConcurrentTransforms": transforms,
                    "BatchStrategy": "MULTI_RECORD",
                    "MaxPayloadInMB": min(settings.max_payload_mb, 6, 100 // transforms),
                }
            )

    if settings.metrics:
        from simplenet.monitoring import Metrics  # noqa: PLC0415  # nobody else pays for its import

        metrics = Metrics()
        app.add_url_rule("/metrics", view_func=metrics.show)
        app.observers.append(metrics.count)

    app.register_error_handler(BodyError, replies.refuse_body)
    app.register_error_handler(HTTPException, partial(replies.refuse_request, expected))
    app.register_error_handler(Exception, replies.report)
    return app
