"""Serving against its bars: each figure against a peer of the same run, on the same machine.

    PYTHONPATH=container python -m benchmarks.serving              # all parts
    PYTHONPATH=container python -m benchmarks.serving rows kinds   # some of them

`wrk` must be on PATH; `start` takes the image that IMAGE names. What is no container runs in this
Python (and what `peers` compares with in that of .venv-peers), one worker each, so that no engine's
network is measured. CPU is the worker's own
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
from benchmarks.server import PROJECT, Load, Server, models, read_off, running, serving, wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE = os.environ.get("IMAGE", "simplenet-sagemaker")
WORKER = "simplenet.worker.Worker"
ROUNDS = 9
ROW_ROUNDS = 21  # of a second each: one row takes little, and its ratio strays by a tenth in nine
BODY_ROUNDS = 21  # of a twentieth of a second and more
STALLED = 64

PEERS = PROJECT / ".venv-peers" / "bin" / "python"

# By the package that its version is of.
_PEERS = {
    "gevent": "AWS's sample under gevent",
    "mlflow-skinny": "MLflow's scoring server",
    "litserve": "LitServe",
}
_VERSIONS = f"""
from importlib.metadata import version
for package in {[*_PEERS]}: print(package, version(package))
"""


def _script(home: Path, content: str = "0.5,0.25", kind: str = "text/csv") -> Path:
    if not shutil.which("wrk"):
        sys.exit("wrk is not on PATH; install it (Debian: apt install wrk) to measure a server")
    path = home / f"{uuid.uuid4().hex}.lua"
    path.write_text(
        f'wrk.method = "POST"\nwrk.body = [[{content}]]\nwrk.headers["Content-Type"] = "{kind}"\n',
        encoding="utf-8",
    )
    return path


def rows(home: Path) -> Iterator[Row]:
    """One CSV row: ours and the bare app take turns second by second."""
    script = _script(home)
    with (
        serving(home, WORKER, "simplenet.app:serve()") as ours,
        serving(home, WORKER, "benchmarks.bare:bare_bridge()") as bare,
    ):
        for connections in (1, 16, 64):
            us, them = _loads([(ours, script), (bare, script)], connections, ROW_ROUNDS)
            what = f"1 CSV row, {connections} connections"
            yield _cpu(f"{what}, CPU of a bare Flask app's", us, them, 1.25)
            if connections == 16:  # noqa: PLR2004
                figures = f"{us.p99_ms:.1f} : {them.p99_ms:.1f} ms"
                yield Row(f"{what}, p99", us.p99_ms / them.p99_ms, 2, figures=figures)


def peers(home: Path) -> Iterator[Row]:
    """One row: other servers that pip installs take turns with ours, one process of each."""
    python = str(PEERS)
    if not PEERS.exists():
        sys.exit(f"There is no {python}; make .venv-peers/all installs the peers there.")
    saved = str(home / "mlflow")
    model = [python, "-m", "benchmarks.peers.mlflow_model", saved]
    with serving(home, WORKER, "simplenet.app:serve()") as ours:
        subprocess.run(model, env=os.environ | models(home), check=True, capture_output=True)
        versions = dict(map(str.split, _output(python, "-c", _VERSIONS).splitlines()))
        commands = {
            "gevent": [
                *(python, "-m", "gunicorn", "--worker-class", "gevent", "--bind", "127.0.0.1:PORT"),
                "benchmarks.peers.aws_sample:app()",
            ],
            "mlflow-skinny": [
                *(python, "-m", "uvicorn", "--port", "PORT", "--log-level", "warning"),
                "mlflow.pyfunc.scoring_server.app:app",
            ],
            "litserve": [python, "-m", "benchmarks.peers.litserve_server", "PORT"],
        }
        scripts = {
            "mlflow-skinny": _script(home, "a,b\n0.5,0.25\n"),  # its CSV has a header
            "litserve": _script(
                home, '{"instances": [{"features": [0.5, 0.25]}]}', "application/json"
            ),
        }
        plain = _script(home)
        for name, command in commands.items():
            with running(home, command, {"__pyfunc_model_path__": saved}) as peer:
                us, them = _loads([(ours, plain), (peer, scripts.get(name, plain))], 16)
            yield _cpu(f"1 row, 16 connections, CPU of {_PEERS[name]} {versions[name]}", us, them)


def _loads(
    servers: list[tuple[Server, Path]], connections: int, rounds: int = ROUNDS
) -> list[Load]:
    """Return what each server did, in the median of the rounds."""
    taken = [
        [server.load(connections, script) for server, script in servers] for _ in range(rounds)
    ]
    return [Load.median([*loads]) for loads in zip(*taken, strict=True)]


def _cpu(name: str, us: Load, them: Load, bar: float | None = None) -> Row:
    return Row(
        name,
        us.cpu_us / them.cpu_us,
        bar,
        figures=f"{us.cpu_us:.0f} : {them.cpu_us:.0f} us; {us.per_second:,.0f} : "
        f"{them.per_second:,.0f} req/s",
    )


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
    for _ in range(BODY_ROUNDS + 1):
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
    return _output("docker", *arguments)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def kinds(home: Path) -> Iterator[Row]:
    """Gunicorn's kinds of workers with the bare app, against the event loop and its bridge."""
    script = _script(home)
    found = [
        (WORKER, "benchmarks.bare:bare_bridge()"),
        ("sync", "benchmarks.bare:bare()"),
        ("gthread", "benchmarks.bare:bare()"),
    ]
    if importlib.util.find_spec("gevent"):
        found.append(("gevent", "benchmarks.bare:bare()"))
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(home, kind, app)) for kind, app in found]
        loads = _loads([(server, script) for server in servers], 16)
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
PARTS = {"rows": rows, "peers": peers, "bodies": bodies, "memory": memory, "start": start}


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
