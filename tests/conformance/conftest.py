"""The good image, and bad ones made of it; what a run finds in them."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from conformance.check import check
from conformance.given import Given
from conformance.server import Payload

from tests import engine
from tests.conformance.bad import PATIENT, Bad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conformance.finding import Finding
    from conformance.given import Limits
    from conformance.rule import Rule

GOOD = Path(__file__).parent / "good"
CLIENT = """#!/bin/sh
case "$1 $2" in
"image inspect") {docker} "$@" | python3 -c '{described}' ;;
*) exec {docker} "$@" ;;
esac
"""
DESCRIBE = """import json, sys
found = json.load(sys.stdin)
found[0]["Descriptor"] = {{"mediaType": "{media_type}"}}
print(json.dumps(found))"""


@pytest.fixture(scope="session")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel that the good image learns from."""
    directory = tmp_path_factory.mktemp("channel")
    (directory / "a.csv").write_text("0,1,2\n1,3,4\n")
    return directory


@pytest.fixture(scope="session")
def good_image() -> Iterator[str]:
    """An image that keeps every rule, and is no other's under another name."""
    name = engine.unique_name()
    engine.docker("build", "--quiet", "--label", f"tests.name={name}", "--tag", name, GOOD)
    yield name
    engine.docker("rmi", "--force", name)


@pytest.fixture
def bad_image(good_image: str, tmp_path: Path) -> Iterator[Callable[[Bad], str]]:
    """Builds a bad image, which goes at the end of the test."""
    name = engine.unique_name()

    def build(bad: Bad) -> str:
        lines = [f"FROM {good_image}"]
        for program, change in (("train", bad.train), ("serve", bad.serve)):
            text = (GOOD / f"{program}.py").read_text("utf-8")
            if change:
                old, new = change
                assert 1 == text.count(old), f"{program}.py has {old!r} {text.count(old)} times"
                text = text.replace(old, new)
                lines.append(f"COPY {program} /opt/program/{program}")
            (tmp_path / program).write_text(text, "utf-8")
            (tmp_path / program).chmod(0o755)
        if bad.scratch:
            lines = ["FROM scratch", "COPY train serve /bin/"]
        (tmp_path / "Dockerfile").write_text("\n".join([*lines, bad.dockerfile]))
        arguments = (f"--build-arg={argument}" for argument in bad.arguments)
        engine.docker("build", "--quiet", "--tag", name, *arguments, tmp_path)
        if bad.config:
            reconfigure(name, bad, tmp_path)
        return name

    yield build
    engine.docker("rmi", "--force", name)


def reconfigure(name: str, bad: Bad, scratch: Path) -> None:
    """Change what no Dockerfile can change: save the image, edit its configuration, load it."""
    saved, edited = scratch / "saved.tar", scratch / "edited.tar"
    engine.docker("save", "--output", saved, name)
    with tarfile.open(saved) as old, tarfile.open(edited, "w") as new:
        content = {member.name: old.extractfile(member) for member in old if member.isfile()}
        files = {path: file.read() for path, file in content.items() if file}
        config = json.loads(files["manifest.json"])[0]["Config"]
        files[config] = json.dumps({**json.loads(files[config]), **bad.config}).encode()
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(text), int(time.time())
            new.addfile(member, io.BytesIO(text))
    engine.docker("rmi", "--force", name)
    engine.docker("load", "--input", edited)


def find(
    image: str,
    channel: Path,
    rules: list[Rule],
    limits: Limits = PATIENT,
    hyperparameters: Mapping[str, str] | None = None,
    *,
    endless: Mapping[str, str] = MappingProxyType({"epochs": "1000000"}),
) -> dict[str, Finding]:
    """Try some rules on the good image or one that was made of it; return what each finds."""
    given = Given(
        image=image,
        channel=channel,
        payload=Payload(b"1.5,2.5\n0,1\n", "text/csv"),
        hyperparameters=hyperparameters or {},
        endless=endless,
        limits=limits,
    )
    return {verdict.rule.key: verdict.finding for verdict in check(given, rules)}


@contextmanager
def engine_that_keeps(media_type: str) -> Iterator[None]:
    """Let the client tell of a manifest of that type, as one of Docker 28 with containerd's store.

    An engine without that store, which most are tested with, keeps no manifest at all.
    """
    if not media_type:
        yield
        return
    described = DESCRIBE.format(media_type=media_type)
    with TemporaryDirectory() as directory:
        client = Path(directory, "docker")
        client.write_text(CLIENT.format(docker=shutil.which("docker"), described=described))
        client.chmod(0o755)
        path = f"{directory}{os.pathsep}{os.environ['PATH']}"
        with patch.dict(os.environ, {"PATH": path}):
            yield
