"""What the client writes is whole, or not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from client.files import replacing

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    """Until then it is as it was; its directory is made, and nothing is left beside it."""
    path = tmp_path / "new" / "card.md"
    for text in ("one", "two"):
        with replacing(path) as temporary:
            temporary.write_text(text)
            assert not path.exists() or "one" == path.read_text()

    assert "two" == path.read_text()
    assert [path] == list(path.parent.iterdir())


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """Nor is there a part of the new one."""
    path = tmp_path / "card.md"
    path.write_text("old")

    def fill(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError("full")

    with pytest.raises(OSError, match="full"), replacing(path) as temporary:
        fill(temporary)

    assert "old" == path.read_text()
    assert [path] == list(tmp_path.iterdir())
