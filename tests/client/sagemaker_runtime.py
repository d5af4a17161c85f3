"""SageMaker's runtime on this machine: what is asked of an endpoint goes to a real container.

Programs are pointed at it by AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME, so that boto3 and the SDK are what
they are in an account.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Runtime:
    """What programs are given, and what they asked."""

    url: str
    asked: list[dict[str, str | int]] = field(default_factory=list)  #: path, type and size


@contextmanager
def serve(container: str) -> Iterator[Runtime]:
    """Let every endpoint be the container that serves at an address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind, accept = self.headers["Content-Type"], self.headers.get("Accept")
            runtime.asked.append({"path": self.path, "type": kind, "size": len(body)})
            headers = {"Content-Type": kind} | ({"Accept": accept} if accept else {})
            reply = requests.post(f"{container}/invocations", body, headers=headers, timeout=30)
            code, said, media_type = 200, reply.content, reply.headers["Content-Type"]
            if not reply.ok:
                fault = {"OriginalStatusCode": reply.status_code, "OriginalMessage": reply.text}
                said = json.dumps({"Message": "Received an error from primary", **fault}).encode()
                code, media_type = 424, "application/json"
            self.send_response(code)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(said)))
            if code != 200:
                self.send_header("x-amzn-ErrorType", "ModelError")
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        runtime = Runtime(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield runtime
        finally:
            server.shutdown()
            thread.join()
