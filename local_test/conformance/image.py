"""Rules for the image itself, at rest."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.rule import rule

if TYPE_CHECKING:
    from conformance.run import Run


@rule("I8", "X26", observes="image")
def architecture(run: Run) -> Finding:
    """The image is built for linux/amd64, on which training jobs run, and most endpoints."""
    found = run.image.platform
    if found == "linux/amd64":
        return passed(found)
    return failed(
        f"the image is for {found}",
        "Build it with --platform linux/amd64; only endpoints on Graviton instances run arm64.",
    )


@rule("T2", "H1", "X1", "X2", observes="image")
def programs(run: Run) -> Finding:
    """`train` or `serve` is an executable on PATH, or an entry point takes it as argument."""
    if run.image.entry_point:
        return passed(f"the entry point is {run.image.entry_point}")
    found = {name: run.image.program(name) for name in ("train", "serve")}
    there = {name: file for name, file in found.items() if file is not None}
    only = run.given.only
    if not there or (only and ("train" if only == "train" else "serve") not in there):
        missing = [name for name in found if name not in there]
        return failed(
            f"no program {' or '.join(missing)} is on PATH, and there is no entry point",
            "Copy the program to a directory that ENV PATH names, outside of /opt/ml.",
        )
    idle = [name for name, file in there.items() if file.isfile() and not file.mode & 0o111]
    if idle:
        return failed(
            f"{' and '.join(idle)} cannot be executed", "chmod +x it, in git or in the Dockerfile."
        )
    return passed(f"on PATH: {' and '.join(there)}")


@rule("T3", "H2", "X24", observes="image")
def entry_point_form(run: Run) -> Finding:
    """An entry point is in exec form, so that arguments and signals reach the program."""
    entry_point = run.image.entry_point
    if not entry_point:
        return not_applicable("the image has no entry point, so `train` itself is PID 1")
    if entry_point[0].rpartition("/")[2] in {"sh", "bash"} and entry_point[1:2] == ["-c"]:
        return failed(
            f"the entry point is a shell: {entry_point}",
            'Write it as a list: ENTRYPOINT ["python", "/opt/program/main.py"].',
        )
    return passed(f"the entry point is {entry_point}")


@rule("I3", "H42", observes="image")
def size(run: Run) -> Finding:
    """The image has no more than the 10 GB that a serverless endpoint takes."""
    found = f"{run.image.facts['Size'] / 1e9:.2f} GB"
    if run.image.facts["Size"] <= run.given.limits.image_bytes:
        return passed(found)
    return warned(
        found, "Leave out what is not used at run time; only other endpoints take larger images."
    )


@rule("X3", observes="files")
def unix_line_ends(run: Run) -> Finding:
    """No script of the image begins with a line that ends as on Windows."""
    found = [file.path for file in run.files if file.first_line.endswith(b"\r")]
    if found:
        return failed(
            f"{len(found)} scripts, such as {found[0]}",
            "Put `* text eol=lf` into .gitattributes, or `sed -i 's/\\r$//'` into the Dockerfile.",
        )
    return passed("no script has")


@rule("T7", observes="image")
def nothing_under_opt_ml(run: Run) -> Finding:
    """No file of the image is under /opt/ml, which SageMaker mounts over."""
    packed = run.image.container.read("/opt/ml")
    if packed is None:
        return passed("the image has no /opt/ml")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = [f"/opt/{member.name}" for member in archive if not member.isdir()]
    if files:
        return failed(
            f"the image has {len(files)} files there, such as {files[0]}",
            "Copy them elsewhere, to /opt/program for example.",
        )
    return passed("it holds no file")
