"""moto's proxy, which also writes down what it is asked, and refuses what it is told to refuse.

usage: recording_proxy.py DIRECTORY PORT

DIRECTORY/requests.jsonl gets a line a request; DIRECTORY/refusals.json may hold, by action, the
code and message with which AWS would refuse it, and DIRECTORY/outcomes.json the attributes of what
an action makes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moto.moto_proxy.proxy3 import MotoRequestHandler
from moto.proxy import main

from tests.client import moto_additions

DIRECTORY, PORT = Path(sys.argv[1]), sys.argv[2]
_answer = MotoRequestHandler.parse_request


def answer(
    self: MotoRequestHandler, method: str, host: str, path: str, headers: Any, body: bytes | None
) -> Any:
    """Write the request down, and let moto answer it, or refuse it."""
    action = headers.get("X-Amz-Target", "").rpartition(".")[2]
    entry = {
        "action": action,
        "host": urlsplit(host).netloc,
        "method": method,
        "path": path,
        "body": (body or b"").decode("utf-8", "replace"),
    }
    with (DIRECTORY / "requests.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    refused = told("refusals.json")
    if action in refused:
        said = {"__type": refused[action]["code"], "message": refused[action]["message"]}
        return 400, {"x-amzn-errortype": refused[action]["code"]}, json.dumps(said)
    reply = moto_additions.answer(host, path, action, body or b"")
    if reply is None:
        reply = _answer(self, method, host, path, headers, body)
        moto_additions.settle(host, action, body or b"", told("outcomes.json"))
    return reply


def told(name: str) -> dict[str, Any]:
    """Return what a test wrote down for this proxy."""
    file = DIRECTORY / name
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found


MotoRequestHandler.parse_request = answer  # type: ignore[method-assign]
main(["-H", "127.0.0.1", "-p", PORT])
