"""The defaults that a user writes down once, in simplenet.toml."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING, Any

from client.refusal import Refusal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

#: What may stand above all tables, for every command that has such an option.
SHARED = ("bucket", "image", "prefix", "profile", "project", "region", "role")


class ConfigurationError(Refusal):
    """A configuration file that says nothing useful; the message says where."""


def read(
    path: Path, command: str, options: Collection[str], commands: Collection[str]
) -> dict[str, Any]:
    """Return the defaults of a command's options; none if there is no such file.

    Raises:
        ConfigurationError: if the file is not TOML, or names what there is not.
    """
    if not path.exists():
        return {}
    try:
        written = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from None
    tables = {key: value for key, value in written.items() if isinstance(value, dict)}
    shared = {key: value for key, value in written.items() if key not in tables}
    _expect(shared, SHARED, f"{path}, above the first table,")
    _expect(tables, commands, f"{path}, in brackets,")
    own = tables.get(command, {})
    _expect(own, options, f"{path}, table [{command}],")
    return {key: value for key, value in shared.items() if key in options} | own


def _expect(found: Collection[str], expected: Collection[str], where: str) -> None:
    for name in found:
        if name not in expected:
            near = difflib.get_close_matches(name, expected, n=1)
            raise ConfigurationError(
                f"{where} has {name!r}; "
                + (f"did you mean {near[0]!r}?" if near else f"expected {sorted(expected)}.")
            )
