"""A stand-in for docker with buildx, which cannot be had everywhere that these tests run.

It records the arguments of `buildx build` in a file, and does with the engine's plain builder and
a push what buildx would have done. All other commands are docker's own.

usage: buildx.py DOCKER RECORD KIND ARGUMENT...

KIND is how the build ends: `good`, with a Docker manifest; `old`, the same from a buildx that
attests nothing; `oci` and `index`, as from builders that do not heed what they are told of media
types and attestations; `overtaken`, where the same tag is pushed by somebody else meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import requests

TOKEN = "123456789012-auth-token"  # noqa: S105 - moto's
OCI = "application/vnd.oci.image"
FLAGS = {"good": "--provenance --sbom", "old": ""}


def to_oci(manifest: dict[str, object]) -> dict[str, object]:
    """Give a Docker manifest OCI's types; the blobs are the same."""
    config, layers = manifest["config"], manifest["layers"]
    assert isinstance(config, dict)
    assert isinstance(layers, list)
    return {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {**config, "mediaType": f"{OCI}.config.v1+json"},
        "layers": [{**one, "mediaType": f"{OCI}.layer.v1.tar+gzip"} for one in layers],
    }


def put(address: str, manifest: dict[str, object]) -> str:
    """Push a manifest; return its digest."""
    reply = requests.put(
        address,
        json.dumps(manifest).encode(),
        headers={"Content-Type": str(manifest["mediaType"])},
        auth=("AWS", TOKEN),
        timeout=60,
    )
    reply.raise_for_status()
    return reply.headers["Docker-Content-Digest"]


def build(docker: str, kind: str, options: dict[str, str], context: str) -> None:
    """Build and push one image, and say what was pushed."""
    image = options["--tag"]
    subprocess.run([docker, "build", "--tag", image, context], check=True)
    subprocess.run([docker, "push", image], check=True)
    registry, _, rest = image.partition("/")
    name, _, tag = rest.rpartition(":")
    manifests = f"http://{registry}/v2/{name}/manifests"
    docker_type = "application/vnd.docker.distribution.manifest.v2+json"
    reply = requests.get(
        f"{manifests}/{tag}", headers={"Accept": docker_type}, auth=("AWS", TOKEN), timeout=60
    )
    digest = reply.headers["Docker-Content-Digest"]
    if kind in {"oci", "index"}:
        oci = to_oci(reply.json())
        digest = put(f"{manifests}/{tag}", oci)
        if kind == "index":
            one = {"mediaType": oci["mediaType"], "digest": digest, "size": len(json.dumps(oci))}
            index_type = f"{OCI}.index.v1+json"
            digest = put(
                f"{manifests}/{tag}",
                {"schemaVersion": 2, "mediaType": index_type, "manifests": [one]},
            )
    if kind == "overtaken":
        put(f"{manifests}/{tag}", {**reply.json(), "annotations": {"by": "somebody else"}})
    said = {"image.name": image, "containerimage.digest": digest}
    Path(options["--metadata-file"]).write_text(json.dumps(said), "utf-8")


def main() -> None:
    """Answer as docker would."""
    docker, record, kind, *arguments = sys.argv[1:]
    match arguments:
        case ["buildx", "version"]:
            sys.stdout.write("github.com/docker/buildx v0.0.0 stand-in\n")
        case ["buildx", "build", "--help"]:
            sys.stdout.write(f"Start a build {FLAGS.get(kind, FLAGS['good'])}\n")
        case ["buildx", "build", *words, context]:
            Path(record).write_text(json.dumps([*words, context]), "utf-8")
            # The options that this script reads have their value in the next word.
            build(docker, kind, dict(pairwise(words)), context)
        case _:
            os.execv(docker, [docker, *arguments])  # noqa: S606 - it is docker itself


if __name__ == "__main__":
    main()
