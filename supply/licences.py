"""Writes the licences of the Python packages in an image, as a table in Markdown.

usage: python supply/licences.py <sbom.cdx.json >docs/licences.md

It has no versions, which the lock file and the list itself have: so it changes when a package
comes, goes, or changes its licence, and that is what somebody has to look at.
"""

from __future__ import annotations

import json
import sys
from typing import Any

HEAD = """\
# Licences

What is in the image comes under the licences of its authors.
For each Python package this is what it declares itself.
`make licences` writes this page from the list of what is in the image.

| package | licence |
|---|---|
"""

FOOT = """
The packages that another one brings with it, as setuptools does, are among them.
`make sbom` lists them with their versions, and Python itself and Debian's packages too.
"""


def licence(component: dict[str, Any]) -> str:
    """Return a component's licences in a line."""
    found = [
        one.get("expression") or one["license"].get("id") or one["license"]["name"]
        for one in component.get("licenses", [])
    ]
    return ", ".join(found) or "not declared"


def page(bill: dict[str, Any]) -> str:
    """Return the whole page."""
    rows = {
        f"| {component['name']} | {licence(component)} |\n"
        for component in bill["components"]
        if component.get("purl", "").startswith("pkg:pypi/")
    }
    return HEAD + "".join(sorted(rows, key=str.casefold)) + FOOT


if __name__ == "__main__":
    sys.stdout.write(page(json.load(sys.stdin)))
