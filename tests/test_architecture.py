"""`docs/architecture.md` tells the truth about who imports whom."""

from __future__ import annotations

import re
from pathlib import Path

import grimp

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?P<names>`.+`) \| .+? \|(?: (?P<imports>.+?) \|)?$", re.MULTILINE)
NAME = re.compile(r"`(\w+)`")


def rows(package: str) -> list[tuple[list[str], str]]:
    """Return what the table of a package says: the names of modules, and what they import."""
    table = PAGE[PAGE.index(f"| module of `{package}`") :].partition("\n\n")[0]
    body = table.partition("\n|---")[2]
    return [(NAME.findall(row["names"]), row["imports"] or "") for row in ROW.finditer(body)]


def graph(package: str) -> grimp.ImportGraph:
    """Return who imports whom, be it for its types alone."""
    return grimp.build_graph(package, cache_dir=None)


def test_the_table_of_the_container_names_what_each_module_imports() -> None:
    """Each module of the image is in the table, with the modules of ours that it imports."""
    found = graph("simplenet")
    above: set[str] = set()
    for (name,), said in rows("container/simplenet"):
        imported = {
            each.removeprefix("simplenet.")
            for each in found.find_modules_directly_imported_by(f"simplenet.{name}")
        } - {"simplenet"}
        if said.startswith("all of"):
            assert imported <= above, name
        else:
            assert imported == set(NAME.findall(said)), name
        above.add(name)
    assert above == {each.removeprefix("simplenet.") for each in found.modules} - {"simplenet"}


def test_the_tables_of_the_client_and_the_conformance_run_name_every_module() -> None:
    """No module is missing from the tables, and none is there that is gone."""
    for package, path in (("client", "client"), ("conformance", "local_test/conformance")):
        named = {name for names, _ in rows(path) for name in names}
        there = {each.split(".")[1] for each in graph(package).modules if each.count(".") == 1} - {
            "__main__"
        }
        assert named == there, package
