"""Send bodies and headers that nobody should to a running container, and count what comes back.

    python benchmarks/fuzz.py http://127.0.0.1:8080 200000 1 NAME   # address, requests, seed

A few bodies have up to 4 MB. Exit code 1 for a reply of 5xx, one without its sentence, a hang of
60 s, or a server that is not healthy afterwards. The same seed sends the same requests. NAME, if
given, is the container's: then it is also 1 for a worker that was replaced, or memory that grew by
a tenth after the first quarter.
"""

from __future__ import annotations

import http.client
import io
import json
import random
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = [
    "text/csv",
    "Text/CSV; charset=utf-8",
    "application/json",
    "application/jsonlines",
    "application/x-ndjson",
    "application/x-npy",
    "application/octet-stream",
    "image/png",
    "",
    ";;;,,",
]
ACCEPTS = [*TYPES, "*/*", "text/*;q=0.1, application/json;q=nan", "q=1;q=2", "a" * 2000]
LARGE = 0.002  # of all bodies
CELLS = ["0", "1.5", "-2e3", "nan", "inf", "1e999", "", "x", '"1"', " 3 ", "0x10", "\u0661", "1_0"]


def npy(draw: random.Random) -> bytes:
    """Return an array of any kind."""
    file = io.BytesIO()
    shape = draw.choice([(1, 2), (3, 2), (2,), (0, 2), (2, 3), (1, 2, 1), ()])
    kind = draw.choice(["f2", "f4", ">f8", "i1", "u8", "c8", "?", "U3", "M8[s]"])
    np.save(file, np.zeros(shape).astype(kind), allow_pickle=False)
    return file.getvalue()


def body(draw: random.Random) -> bytes:
    """Return a body that is right, nearly right, or nothing at all."""
    rows = [[draw.choice(CELLS) for _ in range(draw.choice([1, 2, 2, 2, 3]))] for _ in range(3)]
    good = [[draw.uniform(-3, 3) for _ in range(2)] for _ in range(draw.randint(1, 20))]
    spellings: list[Callable[[], bytes]] = [
        lambda: "\n".join(",".join(row) for row in rows).encode(),
        lambda: "\n".join(",".join(map(str, row)) for row in good).encode(),
        lambda: json.dumps({"instances": good}).encode(),
        lambda: json.dumps({"instances": [{"features": row} for row in rows]}).encode(),
        lambda: "\n".join(json.dumps({"features": row}) for row in good).encode(),
        lambda: npy(draw),
        lambda: draw.randbytes(draw.randint(0, 200)),
        lambda: draw.choice([b"[", b'{"a":', b"\n", b",", b'"']) * draw.randint(0, 5_000),
        lambda: b"",
    ]
    content = draw.choice(spellings)()
    if draw.random() < LARGE:
        # Up to some MB: lines that are right become many, and what is not a long nonsense.
        times = draw.randint(1, (4 << 20) // (len(content) + 1))
        content = draw.choice([b"", b"\n"]).join([content] * times)
    if content and draw.random() < 0.3:  # noqa: PLR2004
        place = draw.randrange(len(content))
        content = content[:place] + draw.randbytes(draw.randint(0, 3)) + content[place + 1 :]
    return content


def send(connection: http.client.HTTPConnection, draw: random.Random) -> tuple[int, bytes]:
    """Send one request; return the status and the body of the reply."""
    headers = {"Content-Type": draw.choice(TYPES)}
    if draw.random() < 0.3:  # noqa: PLR2004
        headers["Accept"] = draw.choice(ACCEPTS)
    if draw.random() < 0.1:  # noqa: PLR2004
        headers["X-Amzn-SageMaker-Custom-Attributes"] = "a" * draw.randint(0, 2_000)
    if draw.random() < 0.05:  # noqa: PLR2004
        headers["Content-Encoding"] = draw.choice(["gzip", "identity", "br"])
    path = draw.choices(["/invocations", "/ping", "/%2e%2e/x", "/models/a", "//"], [95, 2, 1, 1, 1])
    method = draw.choices(["POST", "GET", "PUT", "DELETE", "PATCH"], [96, 1, 1, 1, 1])
    content = body(draw)
    chunked = draw.random() < 0.1  # noqa: PLR2004
    connection.request(
        method[0],
        path[0],
        iter([content[:10], content[10:]]) if chunked else content,
        headers,
        encode_chunked=False,
    )
    reply = connection.getresponse()
    return reply.status, reply.read()


def lie(address: tuple[str, int], draw: random.Random) -> None:
    """Send bytes that are no request, or half of one, and leave."""
    import socket  # noqa: PLC0415

    with socket.create_connection(address, timeout=60) as connection:
        start = draw.choice(
            [b"POST /invocations HTTP/1.1\r\nContent-Length: 99\r\n\r\n1,", b"", b"G"]
        )
        connection.sendall(start + draw.randbytes(draw.randint(0, 100)))


def healthy(connection: http.client.HTTPConnection) -> bool:
    """Say whether `/ping` answers 200."""
    try:
        connection.request("GET", "/ping")
        reply = connection.getresponse()
        reply.read()
    except (http.client.HTTPException, OSError):
        return False
    return reply.status == 200  # noqa: PLR2004


# Each process of the container and its memory, what they share counted once; not this program.
STATE = """
import glob, os, re
for path in glob.glob("/proc/[0-9]*/smaps_rollup"):
    if path.split("/")[2] not in ("self", str(os.getpid())):
        print(path.split("/")[2], re.search(r"Pss:\\s+(\\d+)", open(path).read())[1])
"""


def state(container: str) -> tuple[set[str], float]:
    """Return the processes of a container, and their memory in MiB."""
    command = ["docker", "exec", container, "python", "-c", STATE]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    pairs = [line.split() for line in lines]
    return {process for process, _ in pairs}, sum(int(kilobytes) for _, kilobytes in pairs) / 1024


def main(url: str, requests: int, seed: int, container: str = "") -> int:
    """Send them all; return the exit code."""
    draw = random.Random(seed)  # noqa: S311
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    connection = http.client.HTTPConnection(*address, timeout=60)
    if not healthy(connection):
        sys.exit(f"{url}/ping does not answer 200; start the server first")
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    resets = 0
    states: list[tuple[set[str], float]] = []
    started = time.monotonic()
    for number in range(requests):
        if container and number % max(1, requests // 8) == 0:
            states.append(state(container))
        if number % 100 == 0:
            lie(address, draw)
        try:
            status, reply = send(connection, draw)
        except (http.client.HTTPException, ConnectionError):
            # The server closes a connection whose request it cannot parse; the next is a new one.
            resets += 1
            connection.close()
            continue
        statuses[status] += 1
        sentence = status < 400 or b'"error"' in reply or not reply  # noqa: PLR2004
        if status >= 500 or not sentence or b"Traceback" in reply:  # noqa: PLR2004
            faults.append(f"request {number}: {status} {reply[:200]!r}")
    connection.close()
    alive = healthy(connection)
    seconds = time.monotonic() - started
    sys.stdout.write(
        f"{requests:,} requests in {seconds:.0f} s: "
        f"{', '.join(f'{status}: {count:,}' for status, count in sorted(statuses.items()))}; "
        f"{resets} connections closed without a reply; {len(faults)} faults; "
        f"{'healthy' if alive else 'not healthy'} afterwards\n"
    )
    if states:
        states.append(state(container))
        memory = [mebibytes for _, mebibytes in states]
        sys.stdout.write(f"memory, MiB: {', '.join(f'{each:.0f}' for each in memory)}\n")
        if memory[-1] > 1.1 * memory[len(memory) // 4]:
            faults.append("the memory grew by more than a tenth after the first quarter")
        if states[0][0] != states[-1][0]:
            faults.append("a worker was replaced")
    sys.stdout.write("".join(f"{fault}\n" for fault in faults[:20]))
    return 1 if faults or resets or not alive else 0


if __name__ == "__main__":
    if len(sys.argv) not in {4, 5}:
        sys.exit("usage: fuzz.py ADDRESS REQUESTS SEED [NAME]")
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5]))
