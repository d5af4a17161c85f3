"""Serving against its bars: each figure against a peer of the same run, on the same machine.

    PYTHONPATH=container python -m benchmarks.serving              # all parts
    PYTHONPATH=container python -m benchmarks.serving rows kinds   # some of them

`wrk` must be on PATH; `start` takes the image that IMAGE names. What is no container runs in this
Python, one gunicorn process each, so that no engine's network is measured. CPU is the worker's own
time by the scheduler: it hardly drifts with the machine. The peer of a row is the smallest thing
that could be called a server: a Flask route that reads no body and returns a constant, under the
same settings.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pandas as pd
import requests
import torch
from simplenet.model import SimpleNet
from simplenet.paths import Paths

from benchmarks.report import HEAD, Row
from benchmarks.server import Load, Server, read_off, serving, wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE = os.environ.get("IMAGE", "simplenet-sagemaker")
WORKER = "simplenet.worker.Worker"
ROUNDS = 9
STALLED = 64

LUA = """
wrk.method = "POST"
wrk.body = "0.5,0.25"
wrk.headers["Content-Type"] = "text/csv"
"""


def _script(home: Path) -> Path:
    if not shutil.which("wrk"):
        sys.exit("wrk is not on PATH; install it (Debian: apt install wrk) to measure a server")
    path = home / "post.lua"
    path.write_text(LUA, encoding="utf-8")
    return path


def rows(home: Path) -> Iterator[Row]:
    """One CSV row: the bare app, and AWS's sample, take turns with ours second by second."""
    script = _script(home)
    with (
        serving(home, WORKER, "simplenet.app:serve()") as ours,
        serving(home, WORKER, "benchmarks.peers:bare_bridge()") as bare,
        serving(home, _sample_kind(), "benchmarks.peers:sample()") as sample,
    ):
        for connections in (1, 16, 64):
            rounds = [
                [server.load(connections, script) for server in (ours, bare, sample)]
                for _ in range(ROUNDS)
            ]
            us, them, awss = (Load.median([*loads]) for loads in zip(*rounds, strict=True))
            what = f"1 CSV row, {connections} connections"
            yield Row(
                f"{what}, CPU of a bare Flask app's",
                us.cpu_us / them.cpu_us,
                1.25,
                figures=f"{us.cpu_us:.0f} : {them.cpu_us:.0f} us; {us.per_second:,.0f} : "
                f"{them.per_second:,.0f} req/s",
            )
            yield Row(
                f"{what}, CPU of AWS's sample's ({_sample_kind()})",
                us.cpu_us / awss.cpu_us,
                None,
                figures=f"{us.cpu_us:.0f} : {awss.cpu_us:.0f} us; {us.per_second:,.0f} : "
                f"{awss.per_second:,.0f} req/s",
            )
            if connections == 16:  # noqa: PLR2004
                figures = f"{us.p99_ms:.1f} : {them.p99_ms:.1f} ms"
                yield Row(f"{what}, p99", us.p99_ms / them.p99_ms, 2, figures=figures)


def _sample_kind() -> str:
    """Return the worker of AWS's sample, or where it is not installed the nearest that is."""
    return "gevent" if importlib.util.find_spec("gevent") else "gthread"


def bodies(home: Path) -> Iterator[Row]:
    """150,000 rows, against the sum of the parts in one process."""
    torch.set_num_threads(1)
    table = np.random.default_rng(0).normal(size=(150_000, 2)).astype(np.float32)
    csv = "".join(f"{a:.15f},{b:.15f}\n" for a, b in table.tolist()).encode()
    document = orjson.dumps({"instances": [{"features": row} for row in table.tolist()]})
    with serving(home, WORKER, "simplenet.app:serve()") as server:
        net = SimpleNet.load(Paths(home).model_file)
        session = requests.Session()

        def post(content: bytes, kind: str) -> None:
            reply = session.post(
                f"{server.url}/invocations", content, headers={"Content-Type": kind}, timeout=60
            )
            reply.raise_for_status()

        def dump(features: np.ndarray) -> bytes:
            return orjson.dumps(net.score(features), option=orjson.OPT_SERIALIZE_NUMPY)

        def parts_csv() -> None:
            dump(pd.read_csv(io.BytesIO(csv), header=None, dtype=np.float32).to_numpy())

        def parts_json() -> None:
            instances = orjson.loads(document)["instances"]
            dump(np.array([row["features"] for row in instances], dtype=np.float32))

        for what, content, kind, parts in (
            ("CSV", csv, "text/csv", parts_csv),
            ("JSON instances", document, "application/json", parts_json),
        ):
            us, them = _in_turn(lambda: post(content, kind), parts)  # noqa: B023  # called at once
            yield Row(
                f"150,000 rows of {what}, whole answer of its parts'",
                us / them,
                2,
                figures=f"{len(content) / 1e6:.1f} MB; {us:.0f} : {them:.0f} ms",
            )


def _in_turn(*calls: Callable[[], None]) -> list[float]:
    """Return the median milliseconds of each call; they take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS + 1):
        for mine, call in zip(times, calls, strict=True):
            started = time.perf_counter()
            call()
            mine.append((time.perf_counter() - started) * 1e3)
    return [statistics.median(mine[1:]) for mine in times]


def memory(home: Path) -> Iterator[Row]:
    """One master and two workers at rest, against one process that imports torch and flask."""
    probe = (
        "import torch, flask, re; "
        "print(re.search(r'(?m)^Pss:\\s+(\\d+)', open('/proc/self/smaps_rollup').read())[1])"
    )
    them = int(subprocess.check_output([sys.executable, "-c", probe])) / 1024
    with serving(home, WORKER, "simplenet.app:serve()", workers=2) as server:
        us = sum(map(_pss_mib, [server.master, *server.workers()]))
    yield Row(
        "memory of two workers at rest (PSS), of an import of torch and flask",
        us / them,
        1.3,
        figures=f"{us:.0f} : {them:.0f} MiB",
    )


def _pss_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    return int(read_off(r"(?m)^Pss:\s+(\d+)", text)) / 1024


def start(home: Path) -> Iterator[Row]:
    """`docker run` to the first 200, against an import in the same image."""
    SimpleNet(2).save(Paths(home).model_file)
    for path in (home, home / "model"):
        path.chmod(0o755)

    mount = ("--volume", f"{home}:/opt/ml:ro", "--publish", "127.0.0.1::8080")

    def serve(name: str) -> None:
        _docker("run", "--detach", "--name", name, *mount, IMAGE, "serve")
        port = int(_docker("port", name, "8080").rpartition(":")[2])
        wait(Server(("127.0.0.1", port), 0).answers, "the container")

    def imports(name: str) -> None:
        _docker("run", "--name", name, IMAGE, "python", "-c", "import torch, flask, pandas")

    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for mine, call in zip(times, (serve, imports), strict=True):
            name = f"simplenet-bench-{uuid.uuid4().hex[:8]}"
            started = time.perf_counter()
            try:
                call(name)
                mine.append(time.perf_counter() - started)
            finally:
                _docker("rm", "--force", name)
    us, them = map(statistics.median, times)
    yield Row(
        "docker run to the first 200, of an import of torch, flask and pandas",
        us / them,
        1.3,
        figures=f"{us:.2f} : {them:.2f} s",
    )


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def kinds(home: Path) -> Iterator[Row]:
    """Gunicorn's kinds of workers with the bare app, against the event loop and its bridge."""
    script = _script(home)
    found = [
        (WORKER, "benchmarks.peers:bare_bridge()"),
        ("sync", "benchmarks.peers:bare()"),
        ("gthread", "benchmarks.peers:bare()"),
    ]
    if importlib.util.find_spec("gevent"):
        found.append(("gevent", "benchmarks.peers:bare()"))
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(home, kind, app)) for kind, app in found]
        rounds = [[server.load(16, script) for server in servers] for _ in range(ROUNDS)]
    loads = [Load.median([*each]) for each in zip(*rounds, strict=True)]
    for (kind, app), load in zip(found, loads, strict=True):
        with serving(home, kind, app, workers=2) as server:
            stalled = [_pings_while_stalled(server, start) for start in (b"Ho", b"Host: x\r\n")]
        yield Row(
            f"bare app under {kind}, 16 connections, CPU of the event loop's",
            load.cpu_us / loads[0].cpu_us,
            None,
            figures=f"{load.cpu_us:.0f} us; {load.per_second:,.0f} req/s; p99 {load.p99_ms:.1f} "
            f"ms; pings answered of 5 while {STALLED} stall in the head {stalled[0]}, in the body "
            f"{stalled[1]}",
        )


def _pings_while_stalled(server: Server, start: bytes) -> int:
    """Count the pings that are answered while clients stall."""
    head = b"POST /invocations HTTP/1.1\r\n" + start
    if start.endswith(b"\n"):
        head += b"Content-Type: text/csv\r\nContent-Length: 100\r\n\r\n1,"
    with ExitStack() as stack:
        for _ in range(STALLED):
            client = stack.enter_context(socket.create_connection(server.address, timeout=30))
            client.sendall(head)
        time.sleep(0.5)
        return sum(server.answers() for _ in range(5))


#: By name; each gives its rows as they are measured, and may write below the directory it is given.
PARTS = {"rows": rows, "bodies": bodies, "memory": memory, "start": start}


def main() -> int:
    """Measure what is asked for; return the exit code."""
    parts = {**PARTS, "kinds": kinds}
    met = True
    sys.stdout.write(f"{HEAD}\n")
    for name in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as home:
            for row in parts[name](Path(home)):
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()
                met &= row.met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
