"""How gunicorn runs the application: every setting with its reason."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from simplenet import shared
from simplenet.settings import Settings, SettingsError

# As PID 1 a process does not hear SIGTERM before it asks to; gunicorn asks after the imports. One
# that came before waits, blocked by `serve`.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _begin_worker() -> None:
    """Make SIGTERM end a worker that has only just been forked, and is not listening to it yet."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


# A new worker has gunicorn's own handler, which only its master looks after: a SIGTERM in its first
# milliseconds would be lost, and the master would wait for it in vain.
os.register_at_fork(
    before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
    after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}),
    after_in_child=_begin_worker,
)

# A row costs microseconds: threads of torch's own would only fight over the cores (and a forked
# worker would wait for ever for those of its parent).
os.environ["OMP_NUM_THREADS"] = "1"

try:
    _settings = Settings.from_environment()
except SettingsError as error:
    sys.exit(f"serve: {error}")

if _settings.metrics:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared.directory("metrics"))

wsgi_app = "simplenet.app:serve()"

# SageMaker calls port 8080, or in an inference pipeline the one it names.
# https://docs.aws.amazon.com/sagemaker/latest/dg/inference-pipeline-real-time.html
bind = f"0.0.0.0:{_settings.port}"

# An event loop reads each client on its own, so that one that stalls in its header or body holds up
# nobody, least of all /ping.
worker_class = "simplenet.worker.Worker"
asgi_lifespan = "off"
workers = _settings.workers

# A connection more is told 503; each takes memory and a descriptor whether it sends or not.
worker_connections = _settings.connections

# The application is made once, before the fork: no model means no server, and workers share memory.
preload_app = True

# A worker that hangs is killed, and a client that stops in mid-body is let go: SageMaker allows a
# request 60 s to 3,600 s, but the worker beats, and bytes come, all the while.
timeout = _settings.timeout

# SageMaker sends SIGKILL 30 s after SIGTERM; requests in flight have until shortly before it.
graceful_timeout = 25

# Longer than a client's pause between two requests, so that it seldom meets a closing connection.
keepalive = 75

# The heartbeat's file must not be on a disk that can stall; there may be no /dev/shm on serverless.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# No control socket: it would be written below HOME, and any user, read-only, has none.
control_socket_disable = True


def child_exit(_: Any, worker: Any) -> None:
    """Let the metrics of a worker that is gone be summed with those of the living."""
    if _settings.metrics:
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
