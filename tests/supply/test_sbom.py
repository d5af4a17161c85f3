"""What is said to be in the image is what is in it."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from tests import engine
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_engine = pytest.mark.docker

OCI = "org.opencontainers.image"
DIGEST = f"sha256:{'0a' * 32}"


def listed(image: str) -> str:
    """Return the list of what is in an image."""
    return subprocess.run(
        [PROJECT / "supply" / "sbom.sh", image], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def text(image: str) -> str:
    """The list of what is in the project's image."""
    return listed(image)


@pytest.fixture(scope="module")
def components(text: str) -> dict[str, dict[str, Any]]:
    """What is in it, each by its address without qualifiers."""
    bill = json.loads(text)
    return {one.get("purl", one["name"]).partition("?")[0]: one for one in bill["components"]}


@pytest.fixture(scope="module")
def labelled(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image with the labels that build_and_push.sh gives it, and one that is too long for an
    argument.
    """
    name = engine.unique_name()
    directory: Path = tmp_path_factory.mktemp("labelled")
    # A line of a Dockerfile, and an argument, have at most 64 kB.
    long = " ".join(f"long{n}={'x' * 40_000}" for n in range(4)).replace(" ", "\nLABEL ")
    labels = (
        f"LABEL {OCI}.revision=c0ffee {OCI}.base.name=docker.io/library/python:3 "
        f"{OCI}.base.digest={DIGEST}"
    )
    (directory / "Dockerfile").write_text(f"FROM {image}\n{labels}\nLABEL {long}\n")
    engine.docker("build", "--quiet", "--tag", name, directory)
    yield name
    engine.docker("rmi", name)


@needs_engine
def test_it_is_what_the_schema_asks_for(text: str) -> None:
    """CycloneDX 1.6, by the reading of its own library; each address is in its canonical form."""
    assert None is JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    bill = json.loads(text)
    addresses = [one["purl"] for one in bill["components"] if "purl" in one]
    assert addresses == [PackageURL.from_string(address).to_string() for address in addresses]


@needs_engine
def test_the_same_image_has_the_same_list(image: str, text: str) -> None:
    """Byte by byte."""
    assert text == listed(image)


@needs_engine
def test_what_the_lock_file_pins_is_in_it(components: dict[str, dict[str, Any]]) -> None:
    """With the versions that it pins; torch too, whatever build it is."""
    lock = (PROJECT / "container" / "requirements.txt").read_text("utf-8")
    torch = (PROJECT / "container" / "requirements-torch.txt").read_text("utf-8")
    pins = dict(re.findall(r"^(flask|gunicorn|pandas|orjson)==(\S+)", lock, re.MULTILINE))

    assert 4 == len(pins)
    assert set() == {f"pkg:pypi/{name}@{pins[name]}" for name in pins} - set(components)
    (version,) = re.findall(r"^torch==(\S+)", torch, re.MULTILINE)
    found = [name for name in components if name.startswith(f"pkg:pypi/torch@{version}")]
    assert 1 == len(found)


@needs_engine
def test_what_pip_finds_is_in_it(image: str, components: dict[str, dict[str, Any]]) -> None:
    """Another program's answer to the same question, for each Python package in the image."""
    done = engine.run(image, "python", "-m", "pip", "list", "--format", "json")
    found = {(one["name"].lower(), one["version"]) for one in json.loads(done.stdout)}

    assert set() == found - {(one["name"].lower(), one["version"]) for one in components.values()}


@needs_engine
def test_what_debian_has_installed_is_in_it(
    image: str, components: dict[str, dict[str, Any]]
) -> None:
    """The C library among them, and Python, which is no package of Debian's here."""
    done = engine.run(image, "dpkg-query", "--show", "--showformat", "${Package}=${Version}\n")
    debian = {
        f"{one['name']}={one['version']}"
        for address, one in components.items()
        if address.startswith("pkg:deb/debian/")
    }

    assert debian == set(done.stdout.split())
    assert {"libc6"} <= {one["name"] for one in components.values()}
    assert "pkg:generic/python@3.11" in {name.rpartition(".")[0] for name in components}


@needs_engine
def test_it_names_the_image(image: str, text: str) -> None:
    """An image of this machine by its id, with the licence that its label claims; nothing is
    claimed of a base image that no label names.
    """
    component = json.loads(text)["metadata"]["component"]
    digest = engine.docker("image", "inspect", "--format", "{{.Id}}", image)

    assert (image, digest) == (component["name"], component["version"])
    assert digest == f"sha256:{component['hashes'][0]['content']}"
    assert [{"expression": "MIT"}] == component["licenses"]
    assert "pedigree" not in component
    assert "properties" not in component


@needs_engine
def test_it_names_the_base_image_and_the_commit(labelled: str) -> None:
    """Where labels name them, however long other labels are."""
    text = listed(labelled)
    component = json.loads(text)["metadata"]["component"]
    (base,) = component["pedigree"]["ancestors"]

    assert None is JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert [{"name": f"{OCI}.revision", "value": "c0ffee"}] == component["properties"]
    assert ("docker.io/library/python", DIGEST) == (base["name"], base["version"])
    address = PackageURL.from_string(base["purl"])
    assert ("python", DIGEST) == (address.name, address.version)
    assert {"repository_url": "docker.io/library/python", "tag": "3"} == address.qualifiers


@needs_engine
def test_an_image_without_python_ends_with_127(tmp_path: Path) -> None:
    """As a shell says that it finds no program."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    built = engine.docker("build", "--quiet", tmp_path)
    done = subprocess.run(
        [PROJECT / "supply" / "sbom.sh", built], capture_output=True, text=True, check=False
    )

    assert (127, "") == (done.returncode, done.stdout)
    assert "python" in done.stderr


@needs_engine
def test_the_page_of_licences_is_current(text: str) -> None:
    """`make licences` writes it."""
    page = subprocess.run(
        ["python3", PROJECT / "supply" / "licences.py"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert page == (PROJECT / "docs" / "licences.md").read_text("utf-8")
    assert "not declared" not in page
