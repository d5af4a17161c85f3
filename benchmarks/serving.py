"""Serving against its bars: each figure against a peer of the same run, on the same machine.

    export PYTHONPATH=container
    python benchmarks/serving.py           # wrk must be on PATH; exit code 1 below a bar
    python benchmarks/serving.py --kinds   # gunicorn's worker kinds, with a bare Flask app

Everything runs in this Python, side by side, one gunicorn process each, so that no engine's network
is measured. CPU is the worker's own user and system time from /proc: it hardly drifts with the
machine. The peer is the smallest thing that could be called a server: a Flask route that reads no
body and returns a constant.
"""

from __future__ import annotations

import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pandas as pd
import requests
import torch
from simplenet.model import SimpleNet
from simplenet.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTAINER = Path(__file__).parents[1] / "container"
WORKER = "simplenet.worker.Worker"
ROUNDS = 3
SECONDS = 2

BARE = """
from flask import Flask, Response

def wsgi():
    app = Flask(__name__)

    @app.get("/ping")
    def ping():
        return Response()

    @app.post("/invocations")
    def invocations():
        return Response("0.5\\n", content_type="text/csv")

    return app

def asgi():
    from simplenet.bridge import Bridge
    return Bridge(wsgi().wsgi_app, 100 << 20, 4)
"""

LUA = """
wrk.method = "POST"
wrk.body = "0.5,0.25"
wrk.headers["Content-Type"] = "text/csv"
"""


@dataclass(frozen=True)
class Load:
    """What a server did under load."""

    per_second: float
    p99_ms: float
    cpu_us: float


@contextmanager
def serving(
    home: Path, port: int, kind: str, app: str, workers: int = 1
) -> Iterator[tuple[str, int]]:
    """Run gunicorn; give its address and the process id of a worker."""
    command = [sys.executable, "-m", "gunicorn", "--config", str(CONTAINER / "gunicorn.conf.py")]
    command += ["--workers", str(workers), "--bind", f"127.0.0.1:{port}", "--worker-class", kind]
    environment = os.environ | {
        "SAGEMAKER_BASE_DIR": str(home),
        "PYTHONPATH": f"{CONTAINER}:{home}",
    }
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(
            [*command, app], env=environment, cwd=home, stdout=log, stderr=log
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii")
            yield url, int(children.split()[0])
        finally:
            process.terminate()


def _wait(url: str) -> None:
    deadline = time.monotonic() + 60
    while not _answers(url):
        if time.monotonic() > deadline:
            sys.exit(f"{url} does not answer")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/ping", timeout=2).ok
    except requests.ConnectionError:
        return False


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(url: str, pid: int, connections: int, script: Path) -> Load:
    """Send one-row requests for a while."""
    before = cpu_seconds(pid)
    done = subprocess.run(
        [
            *("wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency"),
            *("-s", str(script), f"{url}/invocations"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    cpu = cpu_seconds(pid) - before
    if "Non-2xx" in done:
        sys.exit(f"requests failed:\n{done}")
    count = int(_found(r"(\d+) requests in", done))
    number, unit = re.findall(r"99%\s+([\d.]+)(us|ms|s)", done)[0]
    p99_ms = float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
    return Load(float(_found(r"Requests/sec:\s+([\d.]+)", done)), p99_ms, cpu / count * 1e6)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"wrk printed no {pattern}:\n{text}")
    return match[1]


def best(ask: Callable[[], object], rounds: int = 9) -> float:
    """Return the median milliseconds of a call."""
    ask()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        ask()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def median(loads: list[Load]) -> Load:
    """Return the median of each figure."""
    return Load(
        statistics.median(each.per_second for each in loads),
        statistics.median(each.p99_ms for each in loads),
        statistics.median(each.cpu_us for each in loads),
    )


def pss_mib(pids: list[int]) -> float:
    """Return the memory of processes, what they share counted once."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text("ascii") for pid in pids]
    return sum(int(_found(r"(?m)^Pss:\s+(\d+)", text)) for text in texts) / 1024


def verdict(what: str, ratio: float, bar: float, figures: str) -> bool:
    """Print one line; say whether the bar is met."""
    met = ratio <= bar
    sys.stdout.write(
        f"{'ok  ' if met else 'MISS'} {what}: {ratio:.2f}x (at most {bar}x)  {figures}\n"
    )
    return met


def small(home: Path, script: Path) -> list[bool]:
    """One CSV row, against the bare app under the same settings."""
    met = []
    with (
        serving(home, 9881, WORKER, "simplenet.app:serve()") as ours,
        serving(home, 9882, WORKER, "bare:asgi()") as bare,
    ):
        for connections in (1, 16, 64):
            rounds = [
                (load(*ours, connections, script), load(*bare, connections, script))
                for _ in range(ROUNDS)
            ]
            us, them = (median([*loads]) for loads in zip(*rounds, strict=True))
            figures = (
                f"{us.cpu_us:.0f} : {them.cpu_us:.0f} us; {us.per_second:,.0f} : "
                f"{them.per_second:,.0f} req/s"
            )
            what = f"1 CSV row, {connections} connections"
            met.append(verdict(f"{what}, CPU a request", us.cpu_us / them.cpu_us, 1.25, figures))
            if connections == 16:  # noqa: PLR2004
                figures = f"{us.p99_ms:.1f} : {them.p99_ms:.1f} ms"
                met.append(verdict(f"{what}, p99", us.p99_ms / them.p99_ms, 2, figures))
    return met


def large(home: Path) -> list[bool]:
    """150,000 rows, against the sum of the parts in one process."""
    rows = np.random.default_rng(0).normal(size=(150_000, 2)).astype(np.float32)
    csv = "".join(f"{a:.15f},{b:.15f}\n" for a, b in rows.tolist()).encode()
    document = orjson.dumps({"instances": [{"features": row} for row in rows.tolist()]})
    net = SimpleNet.load(Paths(home).model_file)

    def dump(features: np.ndarray) -> bytes:
        return orjson.dumps(net.score(features), option=orjson.OPT_SERIALIZE_NUMPY)

    def parts_csv() -> None:
        dump(pd.read_csv(io.BytesIO(csv), header=None, dtype=np.float32).to_numpy())

    def parts_json() -> None:
        instances = orjson.loads(document)["instances"]
        dump(np.array([row["features"] for row in instances], dtype=np.float32))

    met = []
    with serving(home, 9883, WORKER, "simplenet.app:serve()") as (url, _):
        session = requests.Session()

        def post(content: bytes, kind: str) -> None:
            reply = session.post(
                f"{url}/invocations", content, headers={"Content-Type": kind}, timeout=60
            )
            reply.raise_for_status()

        for what, content, kind, parts in (
            ("CSV", csv, "text/csv", parts_csv),
            ("JSON instances", document, "application/json", parts_json),
        ):

            def ask(content: bytes = content, kind: str = kind) -> None:
                post(content, kind)

            us, them = best(ask), best(parts)
            figures = f"{len(content) / 1e6:.1f} MB; {us:.0f} : {them:.0f} ms"
            met.append(verdict(f"150,000 rows of {what}, whole answer", us / them, 2, figures))
    return met


def memory(home: Path) -> bool:
    """One master and two workers at rest, against one process that imports torch and flask."""
    probe = (
        "import torch, flask, re; "
        "print(re.search(r'(?m)^Pss:\\s+(\\d+)', open('/proc/self/smaps_rollup').read())[1])"
    )
    them = int(subprocess.check_output([sys.executable, "-c", probe])) / 1024
    with serving(home, 9884, WORKER, "simplenet.app:serve()", workers=2) as (_, worker):
        master = int(_found(r"PPid:\s+(\d+)", Path(f"/proc/{worker}/status").read_text("ascii")))
        children = Path(f"/proc/{master}/task/{master}/children").read_text("ascii").split()
        us = pss_mib([master, *map(int, children)])
    figures = f"{us:.0f} : {them:.0f} MiB"
    return verdict("memory of two workers at rest, PSS", us / them, 1.3, figures)


def kinds(home: Path, script: Path) -> None:
    """Print what each worker kind costs, with the bare app."""
    for kind, app in (
        ("sync", "bare:wsgi()"),
        ("gthread", "bare:wsgi()"),
        (WORKER, "bare:asgi()"),
    ):
        with serving(home, 9885, kind, app) as server:
            done = median([load(*server, 16, script) for _ in range(ROUNDS)])
        sys.stdout.write(
            f"{kind}: {done.cpu_us:.0f} us, {done.per_second:,.0f} req/s, "
            f"p99 {done.p99_ms:.1f} ms\n"
        )


def main() -> int:
    """Measure; return the exit code."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        SimpleNet(2).save(Paths(home).model_file)
        (home / "bare.py").write_text(BARE, encoding="utf-8")
        script = home / "post.lua"
        script.write_text(LUA, encoding="utf-8")
        if "--kinds" in sys.argv:
            kinds(home, script)
            return 0
        return 0 if all([*small(home, script), *large(home), memory(home)]) else 1


if __name__ == "__main__":
    sys.exit(main())
