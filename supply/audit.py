"""Looks for known vulnerabilities in what the lock files pin, with pip-audit.

usage: python supply/audit.py [--osv-url URL] [--ignore-vuln ID]... LOCK...

All pins of a lock file are looked up, also those of other Pythons and systems. Where the service
cannot be reached the last line begins with NOT AUDITED, and the exit code is 0: being offline is no
fault of the code. Exit code 1 if a vulnerability is known, or a lock file pins too little.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any


class NoAnswerError(Exception):
    """The service did not answer as it should."""


def pins(lock: Path) -> list[tuple[str, str]]:
    """Return name and version of each entry: `a[b]==1 ; python_version < "3.11"` -> (a, 1)."""
    found = []
    for line in lock.read_text("utf-8").splitlines():
        # What is indented goes on with the line before: hashes.
        if line and not line.startswith(("#", " ")):
            pin = re.match(r"([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)", line)
            if not pin:
                sys.exit(f"{lock}: found {line!r}; expected NAME==VERSION: make lock")
            found.append((pin[1], pin[2]))
    return found


def rounds(locks: list[Path]) -> list[list[str]]:
    """Return all pins, each once, in lists that have a name once: pip-audit refuses a second."""
    versions = defaultdict(list)
    for name, version in sorted({pin for lock in locks for pin in pins(lock)}):
        versions[name].append(f"{name}=={version}")
    most = max(map(len, versions.values()), default=0)
    return [[each[n] for each in versions.values() if n < len(each)] for n in range(most)]


def ask(requirements: list[str], options: list[str]) -> list[dict[str, Any]]:
    """Return what pip-audit says of each requirement.

    It ends with 1 for a vulnerability and for a service that fails, but only for the first is there
    a report. That the pins themselves are well was seen before.
    """
    with tempfile.TemporaryDirectory() as directory:
        file, report = Path(directory, "requirements.txt"), Path(directory, "report.json")
        file.write_text("\n".join(requirements), "utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--no-deps"]
        command += ["--disable-pip", "--format", "json", "--output", str(report)]
        command += ["--progress-spinner", "off", "--vulnerability-service", "osv", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        text = report.read_text("utf-8") if report.exists() else ""
    if not text and done.returncode == 1:
        raise NoAnswerError(done.stderr.strip().rpartition("\n")[2])
    if not text:
        sys.exit(f"pip-audit ends with {done.returncode}, expected 0 or 1: {done.stderr}")
    audited: list[dict[str, Any]] = json.loads(text)["dependencies"]
    return audited


def main() -> int:
    """Audit, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    parser.add_argument("--osv-url", help="another address of the service")
    parser.add_argument("--ignore-vuln", action="append", default=[], metavar="ID")
    given = parser.parse_args()
    options = [word for known in given.ignore_vuln for word in ("--ignore-vuln", known)]
    if given.osv_url:
        options += ["--osv-url", given.osv_url]
    wanted = rounds(given.locks)
    try:
        audited = [package for part in wanted for package in ask(part, options)]
    except NoAnswerError as reason:
        pinned = sum(map(len, wanted))
        sys.stderr.write(f"NOT AUDITED: {pinned} pins; the service does not answer: {reason}\n")
        return 0
    for package in audited:
        for known in package.get("vulns", []):
            mended = ", ".join(known["fix_versions"]) or "no version yet"
            sys.stderr.write(
                f"{package['name']}=={package['version']} has {known['id']}, mended in {mended}: "
                f"make lock, or AUDIT='--ignore-vuln {known['id']}' with the reason\n"
            )
    skipped = [package for package in audited if "skip_reason" in package]
    for package in skipped:
        sys.stderr.write(f"NOT AUDITED: {package['name']}: {package['skip_reason']}\n")
    found = sum(len(package.get("vulns", [])) for package in audited)
    sys.stdout.write(
        f"{len(audited) - len(skipped)} pins audited, known vulnerabilities: {found}\n"
    )
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
