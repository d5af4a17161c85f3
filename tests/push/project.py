"""A project whose image is pushed, and who pushes it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.push import buildx

ACCOUNT = "123456789012"
NAME = "simplenet-sagemaker"
BIN = Path(sys.executable).parent
DOCKER = shutil.which("docker") or ""


@dataclass(frozen=True)
class Done:
    """How the script ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last(self) -> str:
        """The script's own last sentence, which may have several lines."""
        return self.stderr.rpartition("build_and_push.sh: ")[2].rstrip("\n")


@dataclass(frozen=True)
class Project:
    """A project of its own with the script, below a directory with a space, and its caller."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def dockerfile(self) -> Path:
        """The image's."""
        return self.root / "container" / "Dockerfile"

    def having(self, **environment: str | None) -> Project:
        """Return the same with variables changed; None takes one away."""
        both = {**self.environment, **environment}
        return replace(self, environment={k: v for k, v in both.items() if v is not None})

    def run(self, *arguments: str) -> Done:
        """Run the script to its end, from another directory and without a terminal."""
        done = subprocess.run(
            [self.root / "build_and_push.sh", *arguments],
            cwd="/",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def aws(self, *arguments: str) -> dict[str, object]:
        """Ask moto with the AWS CLI."""
        done = subprocess.run(
            [BIN / "aws", *arguments, "--region", "eu-central-1", "--output", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        answer: dict[str, object] = json.loads(done.stdout or "{}")
        return answer

    def repositories(self) -> list[dict[str, object]]:
        """Return the repositories that moto has."""
        found = self.aws("ecr", "describe-repositories")["repositories"]
        assert isinstance(found, list)
        return found

    def git(self, *arguments: str) -> str:
        """Run git in the project."""
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        return subprocess.run(
            ["git", *who, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def program(self, name: str, script: str) -> None:
        """Put a program before all others of its name."""
        path = self.root.parent / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def buildx(self, kind: str) -> Path:
        """Give this machine buildx; return the file where its arguments will be."""
        record = self.root.parent / "buildx.json"
        self.program(
            "docker",
            f"exec '{sys.executable}' '{buildx.__file__}' '{DOCKER}' '{record}' {kind} \"$@\"",
        )
        return record


def only(directory: Path, *names: str) -> str:
    """Return a PATH on which these programs are, and no others; the last of them do nothing."""
    directory.mkdir()
    for name in ("bash", "dirname", "readlink"):
        (directory / name).symlink_to(str(shutil.which(name)))
    for name in names:
        (directory / name).symlink_to(str(shutil.which("true")))
    return str(directory)
