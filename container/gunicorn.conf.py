"""How gunicorn runs the application: every setting with its reason."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from gevent import monkey

# Before anything else is imported, and once for all workers: patched after the fork, each worker
# would search, and so copy, all that torch has in memory.
monkey.patch_all()

# As PID 1 a process does not hear SIGTERM before it asks to; gunicorn asks after the imports below.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

# A row costs microseconds: threads of torch's own would only fight over the cores (and a forked
# worker would wait for ever for those of its parent).
os.environ["OMP_NUM_THREADS"] = "1"


def _cores() -> int:
    """Return the cores this container may use: its affinity, and its share by the control group."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, when run without a container
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no control group of version 2, or "max": no limit
        pass
    return cores


wsgi_app = "simplenet.app:serve()"

# SageMaker calls port 8080, or in an inference pipeline the one it names here.
# https://docs.aws.amazon.com/sagemaker/latest/dg/inference-pipeline-real-time.html
bind = f"0.0.0.0:{os.environ.get('SAGEMAKER_BIND_TO_PORT') or 8080}"

# gevent reads each client on its own, so that one that stalls in its header or body holds up
# nobody, least of all /ping.
worker_class = "gevent"
workers = int(os.environ.get("SAGEMAKER_MODEL_SERVER_WORKERS") or _cores())

# The application is made once, before the fork: no model means no server, and workers share memory.
preload_app = True

# Only a worker that hangs is to be killed: SageMaker allows a real-time request 60 s, an
# asynchronous or a batch one 3,600 s, and a gevent worker beats while it waits.
timeout = int(os.environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT") or 60)

# SageMaker sends SIGKILL 30 s after SIGTERM; requests in flight have until shortly before it.
graceful_timeout = 25

# Longer than a client's pause between two requests, so that it seldom meets a closing connection.
keepalive = 75

# The heartbeat's file must not be on a disk that can stall; there may be no /dev/shm on serverless.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# No control socket: it would be written below HOME, and any user, read-only, has none.
control_socket_disable = True
