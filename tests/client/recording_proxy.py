"""moto's proxy, which also writes down what it is asked, and refuses what it is told to refuse.

usage: recording_proxy.py DIRECTORY PORT

DIRECTORY/requests.jsonl gets a line a request; DIRECTORY/refusals.json may hold, by action, the
code and message with which AWS would refuse it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from moto.moto_proxy.proxy3 import MotoRequestHandler
from moto.proxy import main

DIRECTORY, PORT = Path(sys.argv[1]), sys.argv[2]
_answer = MotoRequestHandler.parse_request


def answer(
    self: MotoRequestHandler, method: str, host: str, path: str, headers: Any, body: bytes | None
) -> Any:
    """Write the request down, and let moto answer it, or refuse it."""
    action = headers.get("X-Amz-Target", "").rpartition(".")[2]
    entry = {"action": action, "path": path, "body": (body or b"").decode("utf-8", "replace")}
    with (DIRECTORY / "requests.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    refusals = DIRECTORY / "refusals.json"
    refused = json.loads(refusals.read_text("utf-8")) if refusals.exists() else {}
    if action in refused:
        said = {"__type": refused[action]["code"], "message": refused[action]["message"]}
        return 400, {"x-amzn-errortype": refused[action]["code"]}, json.dumps(said)
    return _answer(self, method, host, path, headers, body)


MotoRequestHandler.parse_request = answer  # type: ignore[method-assign]
main(["-H", "127.0.0.1", "-p", PORT])
