"""What an image holds, as CycloneDX JSON on stdout.

It runs inside of the image, from stdin (`supply/sbom.sh` does that): so it lists what is there and
not what was meant to be there, and needs nothing that the image lacks.

usage: python - REFERENCE DIGEST LICENCE REVISION BASE BASE_DIGEST <supply/sbom.py

The first two name the image, the others are what its labels say, or empty. The same image has the
same list, byte by byte: the schema asks neither for a time nor for a serial number.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import quote

#: The classifiers that name one licence; "BSD License" and "Apache Software License" name several.
SPDX = {
    "ISC License (ISCL)": "ISC",
    "MIT": "MIT",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def purl(kind: str, name: str, version: str, **qualifiers: str) -> str:
    """Return a package's URL: (pypi, torch, 2.0+cpu) -> pkg:pypi/torch@2.0%2Bcpu."""
    pairs = [f"{key}={quote(text, safe='/:')}" for key, text in sorted(qualifiers.items()) if text]
    address = f"pkg:{kind}/{name}@{quote(version, safe=':')}"
    return "?".join([address, *(["&".join(pairs)] if pairs else [])])


def named(licences: list[str]) -> list[dict[str, Any]]:
    """Return licences by their SPDX identifier where there is one, else by their name."""
    return [
        {"license": {"id": SPDX[name]} if name in SPDX else {"name": name}}
        for name in sorted(set(licences))
    ]


def licences(distribution: importlib.metadata.Distribution) -> list[dict[str, Any]]:
    """Return what a Python package declares: an expression, its classifiers, or a word."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return [{"expression": metadata["License-Expression"]}]
    classified = [
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier") or []
        if classifier.startswith("License :: ")
    ]
    # Some have the whole text in this field: its first line is the name.
    words = (metadata["License"] or "").strip() if "License" in metadata else ""
    return named(classified or words.splitlines()[:1])


def python_packages() -> list[dict[str, Any]]:
    """Return what is installed, and what installed packages bring with them, such as setuptools."""
    site = Path(sysconfig.get_path("purelib"))
    homes = sorted({str(found.parent) for found in site.rglob("*.dist-info")})
    return [
        {
            "type": "library",
            "name": found.name,
            "version": found.version,
            "licenses": licences(found),
            "purl": purl("pypi", re.sub(r"[-_.]+", "-", found.name).lower(), found.version),
        }
        for found in importlib.metadata.distributions(path=homes)
    ]


def copyrights(package: str) -> list[str]:
    """Return the licences that Debian lists for a package, if it does so for programs to read."""
    file = Path("/usr/share/doc", package, "copyright")
    text = file.read_text("utf-8", "replace") if file.exists() else ""
    if not text.startswith("Format:"):
        return []
    return [name.strip() for name in re.findall(r"^License:(.*\S.*)$", text, re.MULTILINE)]


def debian_packages() -> list[dict[str, Any]]:
    """Return the system, and what dpkg has installed if it is Debian's."""
    release = platform.freedesktop_os_release()
    system, version = release["ID"], release.get("VERSION_ID", "")
    found: list[dict[str, Any]] = [{"type": "operating-system", "name": system, "version": version}]
    if not Path("/var/lib/dpkg/status").exists():
        return found
    shown = "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", shown], capture_output=True, text=True, check=True
    ).stdout
    for line in listed.splitlines():
        status, name, version_of_it, architecture = line.split("\t")
        if status == "installed":
            address = purl(
                f"deb/{system}",
                quote(name),
                version_of_it,
                arch=architecture,
                distro=f"{system}-{version}",
            )
            found.append(
                {
                    "type": "library",
                    "name": name,
                    "version": version_of_it,
                    "licenses": named(copyrights(name)),
                    "purl": address,
                }
            )
    return found


def interpreter() -> dict[str, Any]:
    """Return Python itself, which the official images build from source: dpkg has no word of it."""
    version = platform.python_version()
    return {
        "type": "application",
        "name": "python",
        "version": version,
        "licenses": [{"license": {"id": "Python-2.0.1"}}],
        "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        "purl": purl("generic", "python", version),
    }


def container(reference: str, digest: str) -> dict[str, Any]:
    """Return an image: (host/a/b:v1, sha256:0) -> pkg:oci/b@sha256:0?repository_url=host/a/b..."""
    repository, _, tag = re.sub("@.*", "", reference).partition(":")
    if "/" in tag:  # it was the registry's port
        port, _, tag = tag.partition(":")
        repository = f"{repository}:{port}"
    # Without a host it is an image of this machine, or Docker Hub's.
    qualifiers = {"repository_url": repository if "/" in repository else "", "tag": tag}
    return {
        "type": "container",
        "name": repository,
        "version": digest,
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
        "purl": purl("oci", repository.rpartition("/")[2].lower(), digest, **qualifiers),
    }


def bill(
    image: dict[str, Any], licence: str, revision: str, base: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the whole list, each thing in it once."""
    components = [*debian_packages(), interpreter(), *python_packages()]
    for component in components:
        component["bom-ref"] = component.get("purl", component["name"])
        if not component.get("licenses", True):
            del component["licenses"]
    once = {component["bom-ref"]: component for component in components}
    if licence:
        image["licenses"] = [{"expression": licence}]
    if base:
        image["pedigree"] = {"ancestors": [base]}
    if revision:
        image["properties"] = [{"name": "org.opencontainers.image.revision", "value": revision}]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": image},
        "components": [once[reference] for reference in sorted(once)],
    }


if __name__ == "__main__":
    reference, digest, licence, revision, base, base_digest = sys.argv[1:]
    listed = bill(
        container(reference, digest),
        licence,
        revision,
        container(base, base_digest) if base_digest else None,
    )
    json.dump(listed, sys.stdout, indent=2)
    sys.stdout.write("\n")
