"""What build_and_push.sh pushes, and what it does not call done."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
import requests

from tests import engine
from tests.conftest import PROJECT
from tests.push.buildx import TOKEN
from tests.push.project import BIN, DOCKER, NAME, Project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.push.registry import Registry

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

needs_engine = pytest.mark.docker


@needs_engine
def test_what_is_pushed_is_what_sagemaker_accepts(project: Project, registry: Registry) -> None:
    """A Docker manifest (I4) for linux/amd64 (I8) under the commit and as latest, in a repository
    that scans; the URI is alone on stdout. A second time it only confirms that.
    """
    # Larger than a pipe holds, so that a reader which stops early is noticed.
    labels = "".join(f"LABEL large{n}={'x' * 40_000}\n" for n in range(4))
    project.dockerfile.write_text(f"{project.dockerfile.read_text()}{labels}")
    project.git("commit", "--quiet", "--all", "--message", "large")
    commit = project.git("rev-parse", "--short=12", "HEAD")
    done = project.run()
    manifest = registry.manifest(NAME, commit)
    digest = manifest.headers["Docker-Content-Digest"]
    config = requests.get(
        f"http://{registry.host}/v2/{NAME}/blobs/{manifest.json()['config']['digest']}",
        auth=("AWS", TOKEN),
        timeout=60,
    ).json()
    (repository,) = project.repositories()
    again = project.run()

    assert (0, f"{registry.host}/{NAME}:{commit}\n") == (done.code, done.stdout), done.stderr
    assert MANIFEST == manifest.headers["Content-Type"]
    assert ("linux", "amd64") == (config["os"], config["architecture"])
    assert {commit: digest, "latest": digest} == registry.digests()
    assert f"Verified: linux/amd64, {MANIFEST}, {digest}" in done.stderr
    assert NAME == repository["repositoryName"]
    assert {"scanOnPush": True} == repository["imageScanningConfiguration"]
    assert (0, done.stdout) == (again.code, again.stdout), again.stderr
    assert {commit: digest, "latest": digest} == registry.digests()


@needs_engine
def test_the_projects_own_image_is_pushed(
    image: str, project: Project, registry: Registry, tmp_path: Path
) -> None:
    """All of it: the script of this checkout, from the build to the registry and back, and what is
    in the image, as a list.
    """
    del image  # its layers are why this does not take longer
    tree = Project(tmp_path / "checkout", project.environment)
    tree.root.mkdir()
    for part in ("build_and_push.sh", "container", "supply"):
        subprocess.run(["cp", "-R", PROJECT / part, tree.root], check=True)
    done = tree.run("--tag", "own")
    uri = done.stdout.strip()
    bill = json.loads((tree.root / "sbom.cdx.json").read_text())

    assert (0, f"{registry.host}/{NAME}:own") == (done.code, uri), done.stderr
    assert registry.digests()["own"] == bill["metadata"]["component"]["version"]
    assert {"torch", "numpy", "Flask", "libc6"} <= {one["name"] for one in bill["components"]}
    engine.docker("rmi", "--force", uri)
    subprocess.run([DOCKER, "pull", "--quiet", uri], env=tree.environment, check=True)
    assert "true" == engine.docker(
        "image",
        "inspect",
        "--format",
        '{{index .Config.Labels "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"}}',
        uri,
    )


def said(image: str) -> dict[str, str]:
    """Return an image's labels by the last word of their names."""
    shown = engine.docker("image", "inspect", "--format", "{{json .Config.Labels}}", image)
    labels: dict[str, str] = json.loads(shown)
    return {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()}


@needs_engine
def test_the_base_image_is_named_by_its_digest(
    project: Project, registry: Registry, base: str
) -> None:
    """It is built from the digest that its tag had when it was fetched, and the labels name both,
    beside the commit.
    """
    project.dockerfile.write_text(f"ARG BASE_IMAGE={base}\nFROM $BASE_IMAGE\nCOPY hello /\n")
    project.git("commit", "--quiet", "--all", "--message", "base")
    digest = registry.digests("base")["3"]
    done = project.run("--tag", "v1")
    labels = said(done.stdout.strip())

    assert 0 == done.code, done.stderr
    assert f"==> Base image {base}@{digest}\n" in done.stderr
    assert (base, digest) == (labels["base.name"], labels["base.digest"])
    assert project.git("rev-parse", "HEAD") == labels["revision"]


@needs_engine
def test_a_base_image_that_is_given_by_its_digest_stays_the_same(
    project: Project, registry: Registry, base: str
) -> None:
    """Whatever its tag names by now."""
    project.dockerfile.write_text("ARG BASE_IMAGE=nowhere:1\nFROM $BASE_IMAGE\nCOPY hello /\n")
    digest = registry.digests("base")["3"]
    done = project.run("--tag", "v1", "--build-arg", f"BASE_IMAGE={base}@{digest}")
    labels = said(done.stdout.strip())

    assert 0 == done.code, done.stderr
    assert "Fetching" not in done.stderr
    assert (base, digest) == (labels["base.name"], labels["base.digest"])
    assert f"{project.git('rev-parse', 'HEAD')}-dirty" == labels["revision"]


@needs_engine
def test_a_base_image_that_cannot_be_fetched_is_told(project: Project) -> None:
    """The engine may have it all the same; then no digest is claimed for it, and the one that it
    claims for its own base is not taken for it.
    """
    base = f"127.0.0.1:9/{engine.unique_name()}"
    mine = "org.opencontainers.image.base.digest=sha256:0"
    engine.docker("build", "--label", mine, "--tag", base, project.root / "container")
    project.dockerfile.write_text(f"ARG BASE_IMAGE={base}\nFROM $BASE_IMAGE\nCOPY hello /\n")
    try:
        done = project.run("--tag", "v1")
        labels = said(done.stdout.strip())
    finally:
        engine.exits_well("rmi", base)

    assert 0 == done.code, done.stderr
    assert "==> NOT PINNED: the base image cannot be fetched" in done.stderr
    assert (base, "") == (labels["base.name"], labels["base.digest"])


@needs_engine
def test_what_is_in_the_image_goes_where_it_is_meant_to(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    """Beside the script, or where --sbom says; it is made from what was pushed, by its digest."""
    (project.root / "supply" / "sbom.sh").write_text("#!/bin/sh\necho $1\n")
    first, then = project.run("--tag", "v1"), project.run("--sbom", str(tmp_path / "there"))
    digest = registry.digests()["v1"]

    assert (0, 0) == (first.code, then.code), then.stderr
    assert f"==> What is in it: {project.root}/sbom.cdx.json\n" in first.stderr
    assert f"{registry.host}/{NAME}@{digest}\n" == (project.root / "sbom.cdx.json").read_text()
    assert (tmp_path / "there").read_text().startswith(f"{registry.host}/{NAME}@sha256:")


@needs_engine
def test_an_image_without_python_is_pushed_without_a_list(project: Project) -> None:
    """A container of another kind: what is in it cannot be told from within, and that is said."""
    done = project.run("--tag", "v1")

    assert 0 == done.code, done.stderr
    assert "==> NO SBOM: there is no python in the image" in done.stderr
    assert not (project.root / "sbom.cdx.json").exists()


@needs_engine
def test_a_list_that_fails_is_told(project: Project) -> None:
    """What was pushed and verified is named all the same; no half of a list is left."""
    (project.root / "supply" / "sbom.sh").write_text("#!/bin/sh\necho half\necho why >&2\nexit 1\n")
    done = project.run("--tag", "v1")

    assert (1, "") == (done.code, done.stdout)
    assert "v1 is pushed and verified, but what is in it could not be listed" in done.last
    assert done.last.endswith("in its own words, why")
    assert not (project.root / "sbom.cdx.json").exists()


@needs_engine
def test_the_password_is_in_no_ones_arguments(project: Project) -> None:
    """Anyone on the machine could read it there; each program is recorded, then run."""
    record = project.root.parent / "arguments"
    for name, program in (("docker", DOCKER), ("curl", "/usr/bin/curl"), ("aws", BIN / "aws")):
        project.program(name, f"echo {name} \"$@\" >>'{record}'\nexec '{program}' \"$@\"")
    done = project.run()

    assert 0 == done.code, done.stderr
    assert {"docker", "curl", "aws"} == {
        line.split()[0] for line in record.read_text().splitlines()
    }
    assert "--password-stdin" in record.read_text()
    assert TOKEN not in record.read_text() + done.stdout + done.stderr


@needs_engine
def test_a_credential_helper_that_logs_in_by_itself_is_let(
    project: Project, registry: Registry
) -> None:
    """docker-credential-ecr-login refuses to keep a password; Docker asks it for one instead."""
    project.program(
        "docker-credential-ecr-login",
        f'[ "$1" = get ] || {{ echo not implemented; exit 1; }}\n'
        f'echo \'{{"Username": "AWS", "Secret": "{TOKEN}"}}\'',
    )
    config = project.root.parent / "home" / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"credHelpers": {registry.host: "ecr-login"}}))
    done = project.run("--tag", "v1")

    assert 0 == done.code, done.stderr
    assert {"latest", "v1"} == set(registry.digests())


@needs_engine
def test_a_credential_helper_that_fails_is_named(project: Project) -> None:
    """Docker Desktop leaves such a setting behind."""
    config = project.root.parent / "home" / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"credsStore": "nowhere"}')
    done = project.run()

    assert (1, "") == (done.code, done.stdout)
    assert done.last.endswith(
        f": Docker's credential helper fails; mend or remove credsStore in {config}"
    )


@needs_engine
def test_arguments_reach_the_dockerfile(project: Project) -> None:
    """So that the base image, or torch's CUDA build, can be another."""
    project.dockerfile.write_text("ARG A=a\nARG B=b\nFROM scratch\nARG A\nARG B\nLABEL ab=$A$B\n")
    done = project.run("--build-arg", "A=1 2", "--build-arg", "B=3")
    label = engine.docker(
        "image", "inspect", "--format", "{{.Config.Labels.ab}}", done.stdout.strip()
    )

    assert "1 23" == label, done.stderr


@needs_engine
@pytest.mark.parametrize("kind", ["good", "old"])
def test_buildx_is_told_to_attest_nothing(project: Project, registry: Registry, kind: str) -> None:
    """An attestation makes an OCI index (I5, X25). buildx before 0.10 has no such flags, and makes
    none. What buildx itself then does is not tested here: a stand-in records what it is asked.
    """
    record = project.buildx(kind)
    done = project.run("--tag", "v1", "--build-arg", "A=1 2")
    words = json.loads(record.read_text())

    assert (0, f"{registry.host}/{NAME}:v1\n") == (done.code, done.stdout), done.stderr
    context = str(project.root / "container")
    metadata = words.pop(words.index("--metadata-file") + 1)
    assert not metadata.startswith(str(project.root))
    assert [
        *("--file", f"{context}/Dockerfile", "--build-arg", "A=1 2"),
        *("--platform", "linux/amd64", "--tag", f"{registry.host}/{NAME}:v1"),
        *("--label", f"org.opencontainers.image.revision={project.git('rev-parse', 'HEAD')}"),
        *(("--provenance=false", "--sbom=false") if kind == "good" else ()),
        *("--metadata-file", "--output", "type=image,oci-mediatypes=false,push=true", context),
    ] == words
    assert {"latest", "v1"} == set(registry.digests())


@needs_engine
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("oci", "application/vnd.oci.image.manifest.v1+json"),
        ("index", "application/vnd.oci.image.index.v1+json"),
    ],
)
def test_an_oci_image_is_not_called_done(
    project: Project, registry: Registry, kind: str, found: str
) -> None:
    """SageMaker refuses it at CreateModel (I4), when the training has been paid for."""
    project.buildx(kind)
    done = project.run("--tag", "v1")

    assert (1, "") == (done.code, done.stdout)
    assert f"SageMaker would refuse it: its manifest is {found}, expected {MANIFEST}" in done.last
    assert "update buildx" in done.last
    assert done.last.endswith("\nThe tag latest is where it was.")
    assert {"v1"} == set(registry.digests())


@needs_engine
def test_an_image_for_another_machine_is_not_called_done(
    project: Project, registry: Registry
) -> None:
    """Its programs would not start (X26). Here the Dockerfile decides on the platform."""
    project.dockerfile.write_text("FROM --platform=linux/amd64 scratch\nCOPY hello /\n")
    first = project.run("--tag", "v1")
    done = project.run("--tag", "v2", "--platform", "linux/arm64")

    assert 0 == first.code, first.stderr
    assert (1, "") == (done.code, done.stdout)
    assert "SageMaker would refuse it: it is for linux/amd64, expected linux/arm64" in done.last
    assert "Install buildx, or fetch the base image for it (docker pull --platform" in done.last
    assert {"v1", "v2", "latest"} == set(registry.digests())
    assert registry.digests()["v1"] == registry.digests()["latest"]


@needs_engine
def test_somebody_elses_image_is_not_called_ours(project: Project, registry: Registry) -> None:
    """Who pushes the same tag between our push and the look at it is found out."""
    project.buildx("overtaken")
    done = project.run("--tag", "v1")

    assert (1, "") == (done.code, done.stdout)
    assert f"v1 is now {registry.digests()['v1']}, but this build pushed sha256:" in done.last
    assert "somebody else pushed the same tag" in done.last
    assert {"v1"} == set(registry.digests())


@needs_engine
def test_a_latest_that_does_not_follow_is_told(project: Project, registry: Registry) -> None:
    """What was pushed and verified is named all the same."""
    tags = registry.store / "docker/registry/v2/repositories" / NAME / "_manifests/tags"
    tags.mkdir(parents=True)
    (tags / "latest").touch()
    done = project.run("--tag", "v1")

    assert (1, "") == (done.code, done.stdout)
    assert done.last.startswith(f"{registry.host}/{NAME}:v1 is pushed and verified, but the tag")
    assert "latest could not follow (HTTP 500)" in done.last


@needs_engine
def test_an_immutable_tag_is_found_taken_before_anything_is_built(
    project: Project, registry: Registry
) -> None:
    """Minutes before the push would say it; and no latest is made, which could never move."""
    project.aws(
        *("ecr", "create-repository", "--repository-name", NAME),
        *("--image-tag-mutability", "IMMUTABLE"),
    )
    first, again, other = project.run(), project.run(), project.run("--tag", "v2")
    commit = project.git("rev-parse", "--short=12", "HEAD")

    assert 0 == first.code, first.stderr
    assert "there is no latest" in first.stderr
    assert (1, "") == (again.code, again.stdout)
    assert f"the tag {commit} is taken and cannot be moved" in again.last
    assert again.last.endswith("commit your changes, or choose another: --tag TAG")
    assert "Building" not in again.stderr
    assert 0 == other.code, other.stderr
    assert {commit, "v2"} == set(registry.digests())
