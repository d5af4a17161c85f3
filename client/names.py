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


def parts(image: str) -> tuple[str, str, str]:
    """Return the registry of an image, or none, its repository, and its tag or digest.

    >>> parts("team/net")
    ('', 'team/net', 'latest')
    >>> parts("localhost:5000/net@sha256:12")
    ('localhost:5000', 'net', 'sha256:12')
    """
    registry, _, rest = image.partition("/")
    if not rest or not (set(".:") & set(registry) or registry == "localhost"):
        registry, rest = "", image
    rest, _, digest = rest.partition("@")
    repository, _, tag = rest.partition(":")
    return registry, repository, digest or tag or "latest"


def push_command(name: str, version: str, region: str) -> str:
    """Return what brings an image of this version into ECR; which digest it has shows then."""
    tag = "" if version == "latest" or version.startswith("sha256:") else f" --tag {version}"
    return f"./build_and_push.sh {name} --region {region}{tag}"
