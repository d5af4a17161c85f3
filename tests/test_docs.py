"""The documentation: all that it names exists, and all that it tells to do works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest
from simplenet.app import create_app
from simplenet.model import SimpleNet
from simplenet.monitoring import Metrics
from simplenet.paths import Paths
from simplenet.settings import Settings

from client.__main__ import cli
from tests.conftest import PROJECT

DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]

#: The contract is SageMaker's: it names variables and routes that this project has no use for.
OURS = [document for document in DOCUMENTS if document.name != "contract.md"]

#: All that is not documentation, nor a test of it.
SOURCE = "".join(
    path.read_text("utf-8")
    for root in (
        *("container", "client", "local_test", "benchmarks", "supply"),
        *("build_and_push.sh", "pyproject.toml", "Makefile"),
    )
    for path in [PROJECT / root, *sorted((PROJECT / root).rglob("*"))]
    if path.is_file() and path.suffix in {"", ".json", ".py", ".sh", ".toml"}
)
README = (PROJECT / "README.md").read_text("utf-8")

#: What the commands make, and what only exists inside a container or an archive.
MADE = (
    *("/", "http", "data/", "demo_output", ".venv", "model.tar.gz", "model.safetensors"),
    *("evaluation/", "transform_output", "run_output", "sagemaker_local", "notebook_output"),
    *(".github/", "s3:", "JOB/"),
)


def words(document: Path) -> list[str]:
    """Return what stands between backticks outside blocks of code."""
    prose = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[list[str]]:
    """Return each command of the document's blocks, as a shell would split it."""
    lines = [
        line for block in blocks(document.read_text("utf-8"), "sh") for line in block.split("\n")
    ]
    return [line.split() for line in lines if line and not line.startswith("#")]


def by_name(document: Path) -> str:
    """Name a test after its document."""
    return document.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_file_that_is_named_exists(document: Path) -> None:
    """Paths in the prose, in links and in commands."""
    text = document.read_text("utf-8")
    links = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    below = [document.parent / link for link in links if link and not link.startswith("http")]
    named = [word for word in words(document) if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", word)]
    named += [
        word.removeprefix("file://").lstrip("@")
        for command in commands(document)
        for word in command
        if "/" in word
    ]
    named = [
        name for name in named if not name.startswith(MADE) and not ("=" in name or "'" in name)
    ]
    media_types = ("application/", "text/")
    paths = [PROJECT / name for name in named if not name.startswith(media_types)]

    assert [] == [str(path) for path in [*below, *paths] if not path.exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    """In prose and in commands."""
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    spoken = [*map(str.split, words(document)), *commands(document)]
    named = {after for line in spoken for before, after in pairwise(line) if before == "make"}

    assert set() == {name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_client_command_that_is_named_exists(document: Path) -> None:
    """With its options."""
    for command in commands(document):
        if "client" in command and "-m" in command:
            name, *rest = command[command.index("client") + 1 :]
            found = cli.get_command(click.Context(cli), name)
            assert found, name
            known = {option for parameter in found.params for option in parameter.opts}
            assert set() == {word for word in rest if word.startswith("--")} - known


@pytest.mark.parametrize("document", OURS, ids=by_name)
def test_every_name_that_is_named_exists(document: Path) -> None:
    """Variables, hyperparameters, modules and functions: each word is one of the source's."""
    named = {word for word in words(document) if re.fullmatch(r"[A-Za-z]+(_[A-Za-z]+)+", word)}
    # A metric is put together of its channel and what was measured there.
    parts = {name: re.sub("^(train|validation|test)_", "", name) for name in named}

    assert set() == {name for name in named if not re.search(rf"\b{parts[name]}\b", SOURCE)}


@pytest.mark.parametrize("document", OURS, ids=by_name)
def test_every_route_that_is_named_exists(document: Path, tmp_path: Path) -> None:
    """With its method, where the document has one."""
    SimpleNet(2).save(Paths(tmp_path).model_file)
    apps = [create_app(Paths(tmp_path), Settings(multi_model=many)) for many in (False, True)]
    apps[0].add_url_rule("/metrics", view_func=Metrics().show)  # as serve does where it is asked to
    rules = [rule for app in apps for rule in app.url_map.iter_rules()]
    known = {re.sub("<.*?>", "NAME", rule.rule): rule.methods or set() for rule in rules}
    named = [
        found
        for word in words(document)
        if (found := re.fullmatch(r"(?:([A-Z]+) )?(/[a-z][\w/-]*)", word))
        and not found[2].startswith(("/opt", "/tmp", "/dev", "/proc"))  # noqa: S108
    ]

    assert [] == [found[0] for found in named if found[2] not in known]
    assert [] == [found[0] for found in named if found[1] and found[1] not in known[found[2]]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_source_has_an_address(document: Path) -> None:
    """A `[label]` is defined at the document's end, and none is defined in vain."""
    text = re.sub(
        r"^```.*?^```|`[^`\n]*`", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    used = re.findall(r"\[([^\[\]]+)\](?![(\[:])", text)

    assert set(re.findall(r"^\[(.+)\]: https://\S+$", text, re.MULTILINE)) == set(used)


def test_every_rule_that_is_named_exists() -> None:
    """Each rule of the contract, and each symptom, has a number of its own."""
    texts = [document.read_text("utf-8") for document in DOCUMENTS]
    rules = [
        rule for text in texts for rule in re.findall(r"^\| ([TLHBFIX]\d+) \|", text, re.MULTILINE)
    ]
    texts += [path.read_text("utf-8") for path in (PROJECT / "tests").rglob("*.py")]
    named = {rule for text in texts for rule in re.findall(r"\b[TLHBFIX][1-9]\d?\b", text)}

    assert sorted(set(rules)) == sorted(rules)
    assert set() == named - set(rules)


def test_every_command_of_the_readme_is_known() -> None:
    """No command stands in the README that the tests or CI do not run."""
    ran = ("make", "curl", ".venv/bin/python", "local_test/", "./build_and_push.sh")

    assert [] == [
        command for command in commands(PROJECT / "README.md") if not command[0].startswith(ran)
    ]
    ci = (PROJECT / ".ci" / "run").read_text("utf-8")
    assert {"make image", "make check", "make demo", "make test"} <= {*ci.splitlines()}


def test_another_network_is_trained_and_served(tmp_path: Path) -> None:
    """The README's change to `model.py` is all that a second hidden layer needs."""
    (change,) = blocks(README, "diff")
    shutil.copytree(PROJECT / "container", tmp_path / "container")
    shutil.copytree(PROJECT / "local_test" / "opt_ml" / "input", tmp_path / "opt_ml" / "input")
    (tmp_path / "opt_ml" / "model").mkdir()
    subprocess.run(
        ["git", "apply", "--recount", "-"], cwd=tmp_path, input=change, text=True, check=True
    )
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(tmp_path / "container"),
        "SAGEMAKER_BASE_DIR": str(tmp_path / "opt_ml"),
    }
    subprocess.run([tmp_path / "container" / "train"], env=environment, check=True)
    score = (
        "import simplenet.app\n"
        "from simplenet.paths import Paths\n"
        "client = simplenet.app.create_app(Paths.from_environment()).test_client()\n"
        "print(client.post('/invocations', data='0.0,1.0\\n1.0,-0.5').text)"
    )
    scored = subprocess.run(
        [sys.executable, "-c", score], env=environment, capture_output=True, text=True, check=True
    )

    # The line before the scores is the request's in the log.
    low, high = map(float, scored.stdout.split()[-2:])
    assert low < 0.2
    assert high > 0.8
