"""How a server starts, and what keeps it from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simplenet.model import SimpleNet

from tests import engine
from tests.image.server import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.docker


@pytest.mark.parametrize(
    ("names", "options", "sentence"),
    [
        ((), (), "There is no model: /opt/ml/model holds nothing; expected model.safetensors"),
        (("model.pkl", "x"), (), "/opt/ml/model holds model.pkl, x; expected model.safetensors"),
        ((), ("--env", "SIMPLENET_BAD_RECORDS=x"), "SIMPLENET_BAD_RECORDS is 'x'; expected fail"),
        ((), ("--env", "SAGEMAKER_BIND_TO_PORT=x"), "SAGEMAKER_BIND_TO_PORT is 'x'; expected a w"),
        ((), ("--env", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=x"), "INVOCATIONS_ACCEPT is 'x'; exp"),
    ],
)
def test_a_server_that_cannot_serve_ends_with_a_sentence(
    image: str, tmp_path: Path, names: tuple[str, ...], options: tuple[str, ...], sentence: str
) -> None:
    """Before the model is loaded nothing listens (H16), and it says what is there instead (H7)."""
    (tmp_path / "model").mkdir()
    for name in names:
        (tmp_path / "model" / name).write_bytes(b"")
    done = engine.run("--volume", f"{tmp_path}:/opt/ml:ro", *options, image, "serve")

    assert 0 != done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("mode", "damage", "sentence"),
    [
        (0o600, lambda content: content, "may not be read by user 12345; expected a directory and"),
        (0o644, lambda content: content[:-10], "model.safetensors cannot be read as safetensors"),
        (0o644, lambda _: b"\x80\x04junk", "model.safetensors cannot be read as safetensors"),
        (
            0o644,
            lambda content: content.replace(b"simplenet v1", b"simplenet v0"),
            "expected 'simp",
        ),
    ],
)
def test_a_model_that_cannot_be_served_is_a_sentence(
    image: str,
    served: Path,
    tmp_path: Path,
    mode: int,
    damage: Callable[[bytes], bytes],
    sentence: str,
) -> None:
    """Unreadable by serverless's user (H50), truncated, a pickle, or of an older format: it ends at
    once and says which file it is (H16).
    """
    tmp_path.chmod(0o755)
    (tmp_path / "model").mkdir()
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(damage((served / "model" / "model.safetensors").read_bytes()))
    file.chmod(mode)
    done = engine.run(
        *("--volume", f"{tmp_path}:/opt/ml:ro", *engine.HARDENED, image, "serve"),
    )

    assert 0 != done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_one_level_down_is_served_and_the_log_says_so(
    image: str, served: Path, tmp_path: Path
) -> None:
    """An archive that was packed with its directory leads there (H5, H7, X30); of two, none."""
    tmp_path.chmod(0o755)
    content = (served / "model" / "model.safetensors").read_bytes()
    for name in ("a", "b"):
        (tmp_path / "model" / name).mkdir(parents=True)
        (tmp_path / "model" / name / "model.safetensors").write_bytes(content)
        if name == "a":
            with serving(image, tmp_path) as server:
                assert 200 == server.score("1,2").status_code
                assert "is not in /opt/ml/model but in /opt/ml/model/a" in engine.logs(server.name)
    done = engine.run("--volume", f"{tmp_path}:/opt/ml:ro", image, "serve")

    assert 0 != done.returncode
    assert "/opt/ml/model holds a, b; expected model.safetensors" in done.stderr


def test_sagemaker_may_choose_the_port(image: str, served: Path) -> None:
    """In an inference pipeline it is SAGEMAKER_BIND_TO_PORT's, as the image's label says, and the
    range it may be from means nothing (H12, H35, X8).
    """
    options = ("--env", "SAGEMAKER_BIND_TO_PORT=9123", "--env")
    with serving(
        *(image, served, *options, "SAGEMAKER_SAFE_PORT_RANGE=21000-21999"), inside=9123
    ) as server:
        assert 200 == server.score("0.5,0.25").status_code


@pytest.mark.parametrize("media_type", ["text/csv", "application/x-npy"])
def test_a_pipeline_hands_on_what_the_container_before_replied(
    image: str, served: Path, tmp_path: Path, media_type: str
) -> None:
    """Body and type of one's reply are the next one's request, as they are (H48)."""
    net = SimpleNet(1)
    net.save(tmp_path / "model" / "model.safetensors")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    with serving(image, served) as one, serving(image, tmp_path) as other:
        first = one.score("1,2\n3,4", Accept=media_type)
        second = other.score(first.content, Content_Type=first.headers["Content-Type"])

    assert (200, media_type) == (second.status_code, second.headers["Content-Type"])


def test_no_network_is_needed(image: str, served: Path) -> None:
    """EnableNetworkIsolation leaves the container nothing to call (H47)."""
    ask = "from urllib.request import urlopen as u; print(u('http://127.0.0.1:8080/ping').status)"
    with engine.container(
        *("--network", "none", "--volume", f"{served}:/opt/ml:ro", image, "serve")
    ) as name:
        engine.wait_until(
            lambda: engine.exits_well("exec", name, "python", "-c", ask), "/ping answers inside"
        )


def test_serverless_is_small_and_has_no_shared_memory(image: str, served: Path) -> None:
    """1 GB, one core, any uid, nothing written but /tmp, no /dev/shm (H42, H50)."""
    with serving(
        *(image, served, "--memory", "1g", "--cpus", "1", *engine.HARDENED),
        *("--tmpfs", "/tmp", "--tmpfs", "/dev/shm:ro"),  # noqa: S108
    ) as server:
        assert 1 == len(server.workers())
        assert 200 == server.score("1,2").status_code
