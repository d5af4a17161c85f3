"""Rules for the image itself, at rest."""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter
from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.rule import rule

if TYPE_CHECKING:
    from conformance.run import Run

_INITS = {"catatonit", "docker-init", "dumb-init", "init", "s6-svscan", "tini", "tini-static"}
_NOT_THERE = {126, 127}  # how Docker, a shell and env end when a program cannot be started
_RUNS_A_TEXT = re.compile(r"(\S*/)?(ba|da|a|k|z)?sh( -o \w+| -[a-z]+)* -[a-z]*c ")
_SECRET_FILE = re.compile(
    r"/(\.aws/credentials|\.docker/config\.json|\.env|\.git-credentials|\.netrc|\.pypirc"
    r"|id_(rsa|dsa|ecdsa|ed25519))$"
)
_SECRET_VARIABLE = re.compile(
    r"(^|_)(ACCESS_KEY|API_?KEY|PASSWD|PASSWORD|SECRET|SECRET_KEY|TOKEN)$", re.IGNORECASE
)
_PASSWORD = re.compile(r"://[^/@\s${]*:[^/@\s$]+@")  # in an address
_TOKEN = re.compile(  # by the form that AWS, GitHub and Hugging Face give theirs
    r"\b(AKIA[0-9A-Z]{16}|gh[oprsu]_\w{36}|github_pat_\w{22,}|hf_[A-Za-z0-9]{30,})\b"
)
# What a shell is told to set, and not what it is to find out.
_SET = re.compile(r"(?:^|[\s;&|(])(\w+)=(?!=)[\"']?([^\s\"'$`;&|)]+)")
_ARGUMENTS = re.compile(r"(?:RUN )?\|\d+ (.*)", re.DOTALL)  # of a RUN: |2 A=1 B=2 3 /bin/sh -c ...
_SHELL = re.compile(r"(?:^|\s)(?:[^\s=]*/)?[a-z]*sh\s+-")  # that gets what follows as its program
_ARGUMENT = re.compile(r"(?:.*#\(nop\) +)?ARG (.*)", re.DOTALL)
_ENV = re.compile(r"(?:.*#\(nop\) +)?ENV ", re.DOTALL)
_OF_A_LIBRARY_S_TEST = re.compile(  # which brings keys to test with
    r"/(lib/python[\d.]+|site-packages|dist-packages|node_modules|conda[^/]*/pkgs)/(.*/)?"
    r"(tests?|testing|test_[^/]*)/"
)
_CACHE = re.compile(
    r"(.*/\.cache/(pip|uv|conda)|/var/lib/apt/lists|/var/cache/(apt|apk|dnf|yum)|.*conda[^/]*/pkgs)/"
)
_CACHE_BYTES = 1_000_000


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


@rule("T2", "H1", "X1", "X2")  # not for each bad image: an entry point is tried
def programs(run: Run) -> Finding:
    """`train` or `serve` is an executable on PATH, or an entry point takes it as argument."""
    if run.image.entry_point:
        return _entry_point_knows(run)
    found = {name: run.image.program(name) for name in ("train", "serve")}
    there = {name: file for name, file in found.items() if file is not None}
    only = run.given.only
    if not there or (only and ("train" if only == "train" else "serve") not in there):
        missing = [name for name in found if name not in there]
        return failed(
            f"no program {' or '.join(missing)} is on PATH, and there is no entry point",
            "Copy the program to a directory that ENV PATH names, outside of /opt/ml.",
        )
    idle = [name for name, file in there.items() if not file.mode & 0o111]
    if idle:
        return failed(
            f"{' and '.join(idle)} cannot be executed", "chmod +x it, in git or in the Dockerfile."
        )
    return passed(f"on PATH: {' and '.join(there)}")


def _entry_point_knows(run: Run) -> Finding:
    """Judge an entry point by what it does with `train`, with `serve` and with another word."""
    entry_point = run.image.entry_point
    if _is_shell(entry_point):
        return not_applicable(f"a shell passes no argument on: {entry_point}")
    if known := run.entry_point.knows:
        only = run.given.only and ("train" if run.given.only == "train" else "serve")
        if only and only not in known:
            return failed(
                f"the entry point {entry_point} does not know the argument `{only}`",
                f"Let it look at its first argument, and do what `{only}` asks for.",
            )
        return passed(f"the entry point {entry_point} knows {' and '.join(known)}")
    end = run.entry_point.end
    if end.exit_code in {0, None}:
        return passed(f"the entry point {entry_point} takes all arguments alike")
    last = (end.log.strip().splitlines() or ["nothing"])[-1]
    judge = failed if end.exit_code in _NOT_THERE else warned  # or it looks for a model first
    return judge(
        f"the entry point {entry_point} exits with {end.exit_code}, whether its argument is "
        f"`train`, `serve` or means nothing; the end of its log, without numbers: {last}",
        "Let it look at its first argument, or let ENTRYPOINT [] undo it and put `train` and "
        "`serve` on PATH.",
    )


def _is_shell(entry_point: list[str]) -> bool:
    """Say whether it was written as text: a shell such as `bash -o pipefail -c` has it to run."""
    return _RUNS_A_TEXT.match(" ".join(entry_point)) is not None


@rule("T3", "H2", "X24", observes="image")
def entry_point_form(run: Run) -> Finding:
    """An entry point is in exec form, so that arguments and signals reach the program."""
    entry_point = run.image.entry_point
    if not entry_point:
        return not_applicable("the image has no entry point, so `train` itself is PID 1")
    if _is_shell(entry_point):
        return failed(
            f"the entry point is a shell: {entry_point}",
            'Write it as a list: ENTRYPOINT ["python", "/opt/program/main.py"].',
        )
    return passed(f"the entry point is {entry_point}")


@rule("T6", "X4", observes="image")
def no_init(run: Run) -> Finding:
    """The entry point is no init such as tini, which AWS says `train` and `serve` confuse."""
    entry_point = run.image.entry_point
    if entry_point and entry_point[0].rpartition("/")[2] in _INITS:
        return warned(
            f"the entry point is {entry_point}",
            "Let the program itself be PID 1, and handle SIGTERM: ENTRYPOINT [] undoes it.",
        )
    return passed(f"the entry point is {entry_point or 'none'}")


@rule("X3", "X26")  # not for each bad image: those from scratch have no interpreter
def exec_format(run: Run) -> Finding:
    """`train` and `serve` are binaries, or scripts that name an interpreter which is there."""
    if run.image.entry_point:
        return not_applicable("the image has an entry point, which starts whatever it likes")
    there = {name: run.image.program(name) for name in ("train", "serve")}
    found = {name: program.first_line for name, program in there.items() if program}
    if not found:
        return not_applicable("neither `train` nor `serve` is a file on PATH")
    for name, line in found.items():
        if line.startswith(b"\x7fELF"):
            continue
        if not line.startswith(b"#!"):
            return failed(
                f"{name} is neither a binary nor a script with #!: exec format error",
                f"Begin {name} with a line such as #!/usr/bin/env python.",
            )
        words = line[2:].decode(errors="replace").split()
        if not words or run.image.container.read(words[0], follow=True) is None:
            return failed(
                f"{name} begins with {line!r}, and the image has no such interpreter",
                "Name an interpreter by the path that it has in the image.",
            )
        called = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        if words[0].endswith("/env") and called and run.image.program(called[0]) is None:
            return failed(
                f"{name} begins with {line!r}, and {called[0]} is not on the image's PATH",
                "Install the interpreter, or put its directory into ENV PATH.",
            )
    return passed(f"{' and '.join(found)} can be")


@rule("I4", "I5", "X25", observes="image")
def manifest_type(run: Run) -> Finding:
    """The manifest is Docker's, version 2 schema 2: endpoints have refused those of OCI."""
    found = run.image.media_type
    if found is None:
        return not_applicable(
            "this engine keeps no manifest and makes Docker's own when it pushes; "
            "look at what was pushed if a builder pushed it"
        )
    if ".oci." in found:
        return warned(
            f"the engine keeps it as {found}, and pushes that",
            "Build with --provenance=false --sbom=false, and push from buildx with "
            "--output type=image,oci-mediatypes=false,push=true.",
        )
    return passed(found)


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
    """No script that can be executed begins with a line that ends as on Windows."""
    there = [file for file in run.files if file.mode & 0o111 and not file.hidden]
    found = [file.path for file in there if file.first_line.endswith(b"\r")]
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


def _is_secret(name: str, value: str) -> bool:
    return any((_SECRET_VARIABLE.search(name), _PASSWORD.search(value), _TOKEN.search(value)))


@rule("I16", observes="files")
def no_secrets(run: Run) -> Finding:
    """No layer holds credentials or a private key, and no variable of the image is a secret."""
    variables = [
        name for name, value in run.image.environment.items() if value and _is_secret(name, value)
    ]
    secret = [
        file
        for file in run.files
        if file.size
        and (file.private_key or _SECRET_FILE.search(file.path))
        and not _OF_A_LIBRARY_S_TEST.search(file.path)
    ]
    if secret:
        return failed(
            f"{len(secret)} files, such as {secret[0].path} in layer {secret[0].layer}; a layer "
            "keeps what a later one removes",
            "Build without it (.dockerignore, or RUN --mount=type=secret), and replace the secret: "
            "whoever may pull the image has it.",
        )
    if variables:
        return failed(
            f"ENV sets {', '.join(variables)}",
            "Give it when the job or endpoint is made, or let the role do; and replace the secret.",
        )
    return passed("neither files of credentials, nor private keys, nor variables of that kind")


@rule("I16", observes="image")
def no_secrets_in_history(run: Run) -> Finding:
    """No instruction shows a secret: whoever has the image sees them with `docker history`."""
    cure = (
        "Give it with RUN --mount=type=secret, or to a stage that is not the last one; and replace "
        "the secret."
    )
    given = [pair for line in run.image.history for pair in _arguments(line)]
    secret = {name for name, value in given if value and _is_secret(name, value)}
    if secret:
        return failed(f"docker history shows the value of {', '.join(sorted(secret))}", cure)
    told = [_told(line) for line in run.image.history]
    for text in told:
        for what, form in (("an address with a password", _PASSWORD), ("a token", _TOKEN)):
            if form.search(text):
                return failed(f"docker history --no-trunc shows {what}", cure)
    names = {
        name for text in told for name, _ in _SET.findall(text) if _SECRET_VARIABLE.search(name)
    }
    if names:
        return warned(
            f"docker history shows what a RUN sets {', '.join(sorted(names))} to",
            f"If that is more than something to fill the place: {cure[0].lower()}{cure[1:]}",
        )
    return passed(f"neither {len({name for name, _ in given})} arguments nor what is run show one")


def _told(instruction: str) -> str:
    """Return what an instruction of the history runs or adds, without the build's arguments.

    What ENV sets is for `no_secrets` to look at: the image has it.
    """
    if _ENV.match(instruction):
        return ""
    if found := _ARGUMENTS.match(instruction):
        return "".join(_SHELL.split(found[1], maxsplit=1)[1:])
    return "" if _ARGUMENT.match(instruction) else instruction


def _arguments(instruction: str) -> list[tuple[str, str]]:
    """Return the build arguments that an instruction of the history shows, with their values.

    Values are not quoted: what looks like another argument in one of them counts as one.
    """
    pairs = re.compile(r"(?:^|\s)(\w+)=(\S*)")
    if found := _ARGUMENTS.match(instruction):
        return pairs.findall(_SHELL.split(found[1], maxsplit=1)[0])
    if found := _ARGUMENT.match(instruction):
        return pairs.findall(found[1])
    return []


@rule("I3", observes="files")
def no_package_caches(run: Run) -> Finding:
    """No layer keeps what a package manager downloaded: it is transferred for nothing."""
    sizes: Counter[str] = Counter()
    for file in run.files:
        if cache := _CACHE.match(file.path):
            sizes[cache[0]] += file.size
    large = {path: size for path, size in sizes.items() if size > _CACHE_BYTES}
    if large:
        return warned(
            ", ".join(f"{size / 1e6:.1f} MB in {path}" for path, size in large.items()),
            "Remove it in the RUN that made it: pip install --no-cache-dir, "
            "rm -rf /var/lib/apt/lists/*, conda clean --all.",
        )
    return passed(f"{sum(sizes.values()) / 1e6:.1f} MB in caches")
