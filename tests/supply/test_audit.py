"""The audit of the lock files: what is known fails, what cannot be asked is told loudly."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = """\
flask[async]==3.1.3 \\
    --hash=sha256:00
numpy==2.2.6 ; python_full_version < '3.11' \\
    --hash=sha256:00
numpy==2.4.6 ; python_full_version >= '3.11' \\
    --hash=sha256:00
"""


@dataclass
class Service:
    """A service that speaks as OSV does, and knows one vulnerability: of numpy 2.2.6."""

    address: str = ""
    status: int = 200
    asked: set[str] = field(default_factory=set)

    def answer(self, question: dict[str, object]) -> bytes:
        """Return what OSV would."""
        package, version = question["package"], question["version"]
        assert isinstance(package, dict)
        name = package["name"]
        self.asked.add(f"{name}=={version}")
        if (name, version) != ("numpy", "2.2.6"):
            return b"{}"
        events = [{"introduced": "0"}, {"fixed": "2.3.0"}]
        affected = {
            "package": package,
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        return json.dumps({"vulns": [{"id": "GHSA-0000", "affected": [affected]}]}).encode()


@contextmanager
def _serving(service: Service) -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = service.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(service.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        service.address = f"http://127.0.0.1:{server.server_port}/v1/query"
        yield service
        server.shutdown()


@pytest.fixture
def service() -> Iterator[Service]:
    """The service, on this machine."""
    with _serving(Service()) as running:
        yield running


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock file with one name twice, for older and newer Pythons."""
    path = tmp_path / "lock.txt"
    path.write_text(LOCK)
    return path


def audit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the audit to its end."""
    return subprocess.run(
        [sys.executable, PROJECT / "supply" / "audit.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_known_vulnerability_fails(service: Service, lock: Path) -> None:
    """It is named with its cure, also where this Python would not install that version."""
    done = audit("--osv-url", service.address, lock)

    assert 1 == done.returncode, done.stderr
    assert "numpy==2.2.6 has GHSA-0000, mended in 2.3.0: make lock" in done.stderr
    assert "3 pins audited, known vulnerabilities: 1\n" == done.stdout
    assert {"flask==3.1.3", "numpy==2.2.6", "numpy==2.4.6"} == service.asked


def test_an_accepted_vulnerability_does_not(service: Service, lock: Path) -> None:
    """Some have no cure yet."""
    done = audit("--osv-url", service.address, "--ignore-vuln", "GHSA-0000", lock)

    assert (0, "") == (done.returncode, done.stderr)
    assert "3 pins audited, known vulnerabilities: 0\n" == done.stdout


def test_a_service_that_is_not_there_is_told(lock: Path) -> None:
    """Loudly; but being offline is no fault of the code."""
    done = audit("--osv-url", "http://127.0.0.1:9/v1/query", lock)

    assert (0, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("NOT AUDITED: 3 pins; the service does not answer: ")
    assert "Connection refused" in done.stderr
    assert 1 == len(done.stderr.splitlines())


@pytest.mark.parametrize("status", [404, 429, 503])
def test_a_service_that_refuses_is_told(service: Service, lock: Path, status: int) -> None:
    """As a proxy of a company may."""
    service.status = status
    done = audit("--osv-url", service.address, lock)

    assert (0, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("NOT AUDITED: 3 pins; the service does not answer: ")


def test_a_lock_file_that_pins_too_little_is_no_matter_of_the_network(tmp_path: Path) -> None:
    """It fails wherever the service is."""
    loose = tmp_path / "loose.txt"
    loose.write_text("flask>=3\n")
    done = audit("--osv-url", "http://127.0.0.1:9/v1/query", loose)

    assert 1 == done.returncode
    assert f"{loose}: found 'flask>=3'; expected NAME==VERSION: make lock\n" == done.stderr


def test_make_check_audits_every_lock_file() -> None:
    """That of torch, which has no hash, included; the peers of `make bench` are not ours."""
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    locks = [
        path.relative_to(PROJECT).as_posix()
        for root in (".", "container", "client")
        for path in (PROJECT / root).glob("requirements*.txt")
    ]

    assert 6 == len(locks)
    assert set() == set(locks) - set(makefile.split())
