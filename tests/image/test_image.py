"""The image itself: how it is built, what it claims and what it holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import engine
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTAINER = PROJECT / "container"

needs_engine = pytest.mark.docker


@pytest.fixture(scope="module")
def config(image: str) -> dict[str, Any]:
    """What the image says of itself."""
    described: dict[str, Any] = json.loads(engine.docker("inspect", image))[0]["Config"]
    return described


def build(context: Path, *flags: str, client: str = "docker", buildkit: bool = False) -> str:
    """Build the image of a directory; return its id."""
    done = subprocess.run(
        [client, "build", "--quiet", *flags, context],
        env={**os.environ, "DOCKER_BUILDKIT": str(int(buildkit))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout.split()[-1]


def inside(image: str, code: str) -> list[str]:
    """Run Python code in the image; return the lines that it prints."""
    done = engine.run(image, "python", "-c", code)
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()


@needs_engine
def test_the_plain_builder_builds_it(image: str) -> None:
    """Docker without BuildKit, as on older machines, makes the same image (X1)."""
    plain = build(CONTAINER)

    assert programs(image) == programs(plain)


def programs(image: str) -> list[str]:
    """Return what `train` and `serve` are to a shell in the image."""
    done = engine.run(image, "sh", "-c", "command -v train && command -v serve")
    assert 0 == done.returncode, done.stderr
    return done.stdout.split()


def _buildkit_clients(empty: Path) -> Iterator[str]:
    """Yield each `docker` on PATH, and Debian's, that can build by BuildKit."""
    (empty / "Dockerfile").write_text("FROM scratch\nLABEL tries=buildkit\n")
    directories = [*os.environ["PATH"].split(os.pathsep), "/usr/bin"]
    for client in dict.fromkeys(os.path.join(each, "docker") for each in directories):  # noqa: PTH118
        if os.access(client, os.X_OK):
            done = subprocess.run(
                [client, "build", "--quiet", empty],
                env={**os.environ, "DOCKER_BUILDKIT": "1"},
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                yield client


@needs_engine
def test_buildkit_builds_it(image: str, tmp_path: Path) -> None:
    """BuildKit, the builder of newer machines, makes the same image."""
    client = next(_buildkit_clients(tmp_path), None)
    if client is None:
        reason = "no docker client here speaks BuildKit: it needs the plugin buildx"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    modern = build(CONTAINER, client=client, buildkit=True)

    assert programs(image) == programs(modern)


@needs_engine
def test_the_base_image_may_be_another(image: str, tmp_path: Path) -> None:
    """BASE_IMAGE is where the image starts, a company's own for example."""
    # The image itself, marked: on top of it every dependency is there already.
    base = f"{engine.unique_name()}:base"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image}\n"
        "LABEL base=another\n"
        'RUN cd "$(python -c "import torch; print(torch.__path__[0])")" && mkdir -p test include\n'
    )
    build(tmp_path, "--tag", base)
    try:
        built = build(CONTAINER, "--build-arg", f"BASE_IMAGE={base}", "--tag", f"{base}-built")
        labels = json.loads(engine.docker("inspect", built))[0]["Config"]["Labels"]
    finally:
        engine.exits_well("rmi", f"{base}-built", base)

    assert "another" == labels["base"]


@needs_engine
def test_train_and_serve_are_on_the_path(image: str) -> None:
    """`docker run IMAGE train` and `... serve` find their program (T2, H1, X1, X2),
    outside of /opt/ml (T7), as any user (H50).
    """
    found = engine.run("--user", engine.STRANGER, image, "sh", "-c", "test -x $(command -v train)")

    assert ["/opt/program/train", "/opt/program/serve"] == programs(image)
    assert 0 == found.returncode


@needs_engine
def test_nothing_stands_between_sagemaker_and_the_program(config: dict[str, Any]) -> None:
    """No entry point takes the argument `train` (T1, T6, X4), the user is root (H4), and nothing
    but /ping says what is healthy (H13).
    """
    assert not config["Entrypoint"]
    assert ["serve"] == config["Cmd"]
    assert "" == config["User"]
    assert "Healthcheck" not in config
    assert "Volumes" not in config or not config["Volumes"]


@needs_engine
def test_the_image_claims_what_it_does(config: dict[str, Any]) -> None:
    """Of SageMaker's capabilities only those that are implemented, and tested in test_serve.py
    (H12, H37, I14); of the open container labels those that say what this is.
    """
    labels = config["Labels"]
    capability = "com.amazonaws.sagemaker.capabilities."
    claimed = {name: value for name, value in labels.items() if name.startswith(capability)}

    assert {
        f"{capability}accept-bind-to-port": "true",
        f"{capability}multi-models": "true",
    } == claimed
    for name in ("title", "description", "licenses"):
        assert labels[f"org.opencontainers.image.{name}"]


@needs_engine
def test_only_what_the_allow_list_names_is_in_the_image(tmp_path: Path) -> None:
    """Secrets, data and models that lie about in the build context stay out of the image."""
    context = tmp_path / "container"
    shutil.copytree(CONTAINER, context, ignore=shutil.ignore_patterns("__pycache__"))
    strays = (".env", "id_rsa", "data.csv", "simplenet/model.safetensors", "simplenet/sub/a.py")
    for stray in strays:
        (context / stray).parent.mkdir(exist_ok=True)
        (context / stray).write_text("secret")
    built = build(context)
    files = inside(
        built,
        "from pathlib import Path; root = Path('/opt/program')\n"
        "for path in root.rglob('*'):\n"
        "    if path.is_file() and path.suffix != '.pyc': print(path.relative_to(root))",
    )

    package = {f"simplenet/{path.name}" for path in (CONTAINER / "simplenet").glob("*.py")}
    requirements = {"requirements.txt", "requirements-torch.txt"}
    assert {"gunicorn.conf.py", "serve", "train"} | requirements | package == set(files)


@needs_engine
def test_the_image_holds_no_leftovers(image: str) -> None:
    """Nothing under /opt/ml, which SageMaker mounts over (T7), and no downloads of pip's."""
    assert [] == inside(
        image,
        "from pathlib import Path\n"
        "for root in ('/opt/ml', '/root/.cache', '/tmp'):\n"
        "    for path in Path(root).rglob('*'): print(path)\n"
        "if Path('/opt/ml').exists(): print('/opt/ml')",
    )


@needs_engine
def test_no_compiler_is_in_the_image(image: str) -> None:
    """Nor what only builds and tests need: headers of torch, tests of the libraries."""
    assert [] == inside(
        image,
        "import shutil, sysconfig\n"
        "from pathlib import Path\n"
        "for name in ('cc', 'gcc', 'g++', 'c++', 'clang', 'ld', 'as', 'make', 'cmake', 'rustc'):\n"
        "    if shutil.which(name): print(name)\n"
        "site = Path(sysconfig.get_path('purelib'))\n"
        "for path in [*site.rglob('tests'), site / 'torch/test', site / 'torch/include']:\n"
        "    if path.is_dir(): print(path)",
    )


@needs_engine
def test_the_programs_are_compiled(image: str) -> None:
    """All that they import has its bytecode in the image, the standard library too: a read-only
    container could not leave it there, and compiling at each start would make that slower (H14).
    """
    assert [] == inside(
        image,
        "import os, sys, importlib.util, simplenet.app, simplenet.training\n"
        "for module in list(sys.modules.values()):\n"
        "    source = getattr(module, '__file__', None) or ''\n"
        "    if source.endswith('.py') and os.path.exists(source):\n"
        "        compiled = importlib.util.cache_from_source(source)\n"
        "        if not os.path.exists(compiled): print(source)",
    )


@needs_engine
def test_line_ends_are_unix_in_the_image(image: str) -> None:
    r"""A program that begins with `#!/bin/sh\r` does not start (X3)."""
    assert [] == inside(
        image,
        "from pathlib import Path\n"
        "for path in Path('/opt/program').rglob('*'):\n"
        "    if path.is_file() and path.suffix != '.pyc' and b'\\r' in path.read_bytes():\n"
        "        print(path)",
    )


@pytest.mark.parametrize(
    "lock",
    [
        "container/requirements.txt",
        "client/requirements.txt",
        "client/requirements-cloud.txt",
        "requirements-dev.txt",
        "benchmarks/requirements-peers.txt",
        "requirements-mutants.txt",
    ],
)
def test_what_is_installed_is_held_to_hashes(lock: str) -> None:
    """All but torch, whose file differs by the index it comes from."""
    entries = re.split(r"\n(?=\S)", (PROJECT / lock).read_text("utf-8").strip())

    assert [] == [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
    assert [] == [entry for entry in entries if re.match("torch[=[]", entry)]


def git(*arguments: str) -> list[str]:
    """Run git on this checkout; return the lines that it prints."""
    if not (PROJECT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no git checkout")
    done = subprocess.run(
        ["git", "-C", PROJECT, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_git_checks_out_unix_line_ends() -> None:
    """On Windows as well (X3): git's attributes say so of every file that the image or a shell
    reads, and no committed one has other ends.
    """
    files = git("ls-files", "container", "local_test", "*.sh", ".ci")
    attributes = git("check-attr", "eol", "--", *files)

    assert [f"{name}: eol: lf" for name in files] == attributes
    assert [] == [name for name in files if b"\r" in (PROJECT / name).read_bytes()]


def test_programs_are_executable_in_git() -> None:
    """The plain builder cannot set the bit (X1), so a checkout must bring it."""
    files = [line.split(maxsplit=3) for line in git("ls-files", "--stage", "container")]
    executable = {Path(name).name for mode, _, _, name in files if mode == "100755"}

    assert {"train", "serve"} == executable
