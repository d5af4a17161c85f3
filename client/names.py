"""What the project's jobs, models, endpoints, images and directories are called."""

from __future__ import annotations

import time
from pathlib import Path

#: The name of the image, here and in ECR; AmazonSageMakerFullAccess covers those with sagemaker.
IMAGE = "simplenet-sagemaker"

#: Where local mode's artefacts go, a directory for each job.
LOCAL_OUTPUT = Path("sagemaker_local")


def unique(project: str) -> str:
    """Return a name that begins with the project's, sorts by time, and that nothing else has."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(now))
    return f"{project}-{stamp}-{int(now % 1 * 1000):03d}"


def short(project: str) -> str:
    """Return a name of at most 32 characters, which is all that a tuning job may have."""
    return f"{project[:16].rstrip('-')}-{time.strftime('%y%m%d-%H%M%S', time.gmtime())}"
