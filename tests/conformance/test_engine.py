"""What a run reads of Docker, held against a real engine."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from conformance.engine import Engine, EngineError, StartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.engine import Container

#: A progress bar, as tqdm and Keras draw it, and a line after it.
BAR = r"import time; print('5%\r50%\r100%'); time.sleep(0.2); print('done')"


@contextmanager
def ended(image: str, program: str) -> Iterator[Container]:
    """Give a container whose program, a text in Python, has ended."""
    engine = Engine(image)
    try:
        container = engine.create(image, "-uc", program, options=("--entrypoint", "python"))
        container.start()
        container.wait(60)
        yield container
    finally:
        engine.remove_all()


@pytest.mark.docker
def test_a_progress_bar_is_one_line(good_image: str) -> None:
    """Docker gives a time to what ends in a newline, not to each carriage return."""
    with ended(good_image, BAR) as container:
        first, last = container.log_times()

    assert 0.1 < last - first < 60


@pytest.mark.docker
def test_a_port_that_is_taken_is_no_fault_of_the_image(good_image: str) -> None:
    """Nor is a full disk: what Docker cannot do for a reason of its own is told apart."""
    engine = Engine(good_image)
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            publish = f"127.0.0.1:{taken.getsockname()[1]}:8080"
            container = engine.create(good_image, "serve", options=("--publish", publish))
            with pytest.raises(EngineError, match="in use|allocated"):
                container.start()
    finally:
        engine.remove_all()


@pytest.mark.docker
@pytest.mark.parametrize(
    ("options", "program"),
    [((), "nothing"), ((), "/opt"), (("--user", "nobody-here"), "train"), ((), "/etc/passwd")],
)
def test_a_program_that_cannot_be_started_is_the_images(
    good_image: str, options: tuple[str, ...], program: str
) -> None:
    """It is not there, is none, may not be run, or its user is unknown."""
    engine = Engine(good_image)
    try:
        with pytest.raises(StartError):
            engine.create(good_image, program, options=options).start()
    finally:
        engine.remove_all()


@pytest.mark.docker
def test_a_line_without_a_time_is_passed_over(good_image: str) -> None:
    """Such as Docker's own, that there is no such container."""
    with ended(good_image, BAR) as container:
        container.remove()

        assert [] == container.log_times()
