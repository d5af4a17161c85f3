"""What a run reads of Docker, held against a real engine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from conformance.engine import Engine

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
def test_a_line_without_a_time_is_passed_over(good_image: str) -> None:
    """Such as Docker's own, that there is no such container."""
    with ended(good_image, BAR) as container:
        container.remove()

        assert [] == container.log_times()
