"""A registry that stands in the place of ECR's, and answers of registries and of AWS."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import requests

from tests import engine
from tests.push.buildx import TOKEN
from tests.push.project import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Registry:
    """A registry that wants `AWS` and moto's password, as ECR does."""

    host: str
    store: Path

    def manifest(self, name: str, tag: str) -> requests.Response:
        """Return a manifest as it is stored, whatever its type."""
        kinds = ("docker.distribution.manifest.v2", "oci.image.manifest.v1", "oci.image.index.v1")
        return requests.get(
            f"http://{self.host}/v2/{name}/manifests/{tag}",
            headers={"Accept": ", ".join(f"application/vnd.{kind}+json" for kind in kinds)},
            auth=("AWS", TOKEN),
            timeout=60,
        )

    def digests(self, name: str = NAME) -> dict[str, str]:
        """Return each tag of a repository, and what it names."""
        listed = requests.get(
            f"http://{self.host}/v2/{name}/tags/list", auth=("AWS", TOKEN), timeout=60
        )
        tags = listed.json().get("tags") or []
        return {tag: self.manifest(name, tag).headers["Docker-Content-Digest"] for tag in tags}


def forget(host: str) -> None:
    """Remove a registry's images from the engine."""
    reference = '{{.Repository}}{{if eq .Tag "<none>"}}@{{.Digest}}{{else}}:{{.Tag}}{{end}}'
    listed = ("images", "--digests", "--format", reference, "--filter", f"reference={host}/*")
    if images := engine.docker(*listed).split():
        engine.docker("rmi", "--force", *images)


@contextmanager
def answering(*rules: tuple[str, int, str]) -> Iterator[str]:
    """Serve errors that neither moto nor the registry has; give the host.

    A rule is what a request line must match, and the status and body of its answer; the first one
    counts, and without one the answer is an empty 200.
    """

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            line = f"{self.command} {self.path}"
            found = [(code, body) for rule, code, body in rules if re.search(rule, line)]
            status, body = found[0] if found else (200, "")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body.encode())

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        forget(f"127.0.0.1:{server.server_port}")
