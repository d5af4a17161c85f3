"""The notebook: each cell runs, in containers and against AWS, and what is committed is clean."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from client.notebook import CommandError, Notebook
from client.runtime import VirtualEnvironment
from tests.client import sagemaker_runtime
from tests.client.aws import NOTHING
from tests.conftest import PROJECT
from tests.engine import docker, unique_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.client.aws import Aws
    from tests.client.conftest import Told

NOTEBOOK = PROJECT / "docs" / "moon_data.ipynb"

# jupyter_client and its sockets warn of what no caller can change.
pytestmark = [
    pytest.mark.usefixtures("in_local_mode"),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning"
    ),
]


def read() -> Any:
    """Return the notebook as it is committed."""
    return nbformat.reads(NOTEBOOK.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]  # partly typed


def outputs(notebook: Any) -> Iterator[Any]:
    """Yield what the cells have put out."""
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def text(notebook: Any) -> str:
    """Return all that the cells have printed."""
    return "".join(found["text"] for found in outputs(notebook) if found.output_type == "stream")


def pictures(notebook: Any) -> list[tuple[int, int]]:
    """Return the size of each picture that the cells show."""
    found = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    decoded = [base64.b64decode(output["data"]["image/png"]) for output in found]
    return [Image.open(io.BytesIO(png)).size for png in decoded]


def metrics(printed: str) -> dict[str, float]:
    """Return what the evaluation has printed."""
    found = re.findall(r"^(Recall|Precision|Accuracy): +([\d.]+)$", printed, re.MULTILINE)
    return {name: float(value) for name, value in found}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A place that a notebook takes for the project, so that nothing lands in this one."""
    for name in ("client", "container"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "docs").mkdir()
    return tmp_path


def execute(notebook: Any, project: Path, environment: Mapping[str, str]) -> None:
    """Run each cell, in a kernel that starts where Jupyter starts one: beside the notebook."""
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(project / "docs")}}
    )
    # The kernel of this environment, whatever else is installed for the user.
    kernel = client.create_kernel_manager().kernel_spec
    assert kernel
    kernel.argv = [
        *(sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher"),
        *("-f", "{connection_file}"),
    ]
    client.execute(env=dict(environment))


@pytest.fixture
def laptop(image: str, project: Path) -> Iterator[dict[str, str]]:
    """The environment of a laptop without AWS, and the image under a name of this test's own."""
    own = unique_name()
    docker("tag", image, own)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    yield kept | {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(project),
        "SIMPLENET_TRAIN_IMAGE": own,
        "SIMPLENET_DEPLOY_IMAGE": own,
    }
    docker("rmi", own)


def containers(directory: Path) -> list[str]:
    """Return where each container was started that local mode has started from a directory."""
    label = "com.docker.compose.project.working_dir"
    shown = ("--filter", f"label={label}", "--format", f'{{{{.Label "{label}"}}}}')
    places = docker("ps", "--all", *shown).splitlines()
    return [place for place in places if Path(place).is_relative_to(directory)]


@pytest.mark.docker
def test_every_cell_runs_on_a_laptop(project: Path, laptop: Mapping[str, str]) -> None:
    """With the metrics of the moon data, five pictures, and nothing left running."""
    notebook = read()

    execute(notebook, project, laptop)

    found = metrics(text(notebook))
    assert {"Recall", "Precision", "Accuracy"} == set(found)
    assert found["Accuracy"] >= 0.9
    assert 5 == len(pictures(notebook))
    card = json.loads((project / "notebook_output" / "model_card.json").read_text("utf-8"))
    assert card["training"]["job"] in text(notebook)
    assert "Stopped the endpoint's container" in text(notebook)
    assert [] == containers(project)
    assert [] == list(project.glob("sagemaker_local/.run-*"))
    assert not re.search(r"Traceback|Error", text(notebook))


@pytest.mark.docker
def test_a_cell_that_fails_takes_the_endpoint_with_it(
    project: Path, laptop: Mapping[str, str]
) -> None:
    """Right then, and not only when the kernel ends."""
    notebook = read()
    (deployed,) = (
        number for number, cell in enumerate(notebook.cells) if "sagemaker.deploy()" in cell.source
    )
    notebook.cells = notebook.cells[: deployed + 3]
    notebook.cells[-1].source = "raise ValueError('a mistake')"

    with pytest.raises(CellExecutionError, match="a mistake"):
        execute(notebook, project, laptop)

    assert "Stopped the endpoint's container" in "".join(
        output.get("text", "") for output in notebook.cells[-1].outputs
    )
    assert [] == containers(project)


def test_one_variable_switches_it_to_aws(aws: Aws, told: Told, project: Path) -> None:
    """Against an AWS that is moto, the real program behind its endpoint; nothing is left there."""
    notebook = read()
    (switch,) = (cell for cell in notebook.cells if cell.source.startswith("ON_AWS = False"))
    switch.source = "ON_AWS = True"
    # moto's jobs leave no output.tar.gz, and so no history.
    notebook.cells = [cell for cell in notebook.cells if "history.png" not in cell.source]
    (project / "simplenet.toml").write_text('role = "SageMakerRole"\n', "utf-8")
    with (
        VirtualEnvironment().serve(told.output / "serving", told.output / "notebook.log") as server,
        sagemaker_runtime.serve(server.url) as runtime,
    ):
        address = {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime.url}
        execute(notebook, project, aws.environment | address)

    printed = text(notebook)
    assert metrics(printed)["Accuracy"] >= 0.9
    (job,) = aws.asked("CreateTrainingJob")
    assert "ml.c4.xlarge" == job["ResourceConfig"]["InstanceType"]
    assert {"input_dim": "2", "hidden_dim": "20", "output_dim": "1", "epochs": "80"} == job[
        "HyperParameters"
    ]
    (endpoint,) = aws.asked("CreateEndpoint")
    assert {f"/endpoints/{endpoint['EndpointName']}/invocations"} == {
        asked["path"] for asked in runtime.asked
    }
    assert endpoint["EndpointName"] in {
        asked["EndpointName"] for asked in aws.asked("DeleteEndpoint")
    }
    assert NOTHING == aws.left()


def test_a_failed_command_is_an_error_of_its_cell(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the command's own words above it."""
    monkeypatch.chdir(project)
    notebook = Notebook(on_aws=False)

    with pytest.raises(CommandError, match="exit code 1"):
        notebook.train(Path("missing"))
    notebook.after_cell(types.SimpleNamespace(success=False))

    assert "Error:" in capsys.readouterr().out


def test_what_is_committed_was_run_from_above_without_an_error() -> None:
    """Each cell once, in order, and with its pictures."""
    notebook = read()

    nbformat.validate(notebook)
    ran = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert [*range(1, len(ran) + 1)] == ran
    assert [] == [found for found in outputs(notebook) if found.output_type == "error"]
    assert [] == [found for found in outputs(notebook) if found.get("name") == "stderr"]
    sizes = pictures(notebook)
    assert 5 == len(sizes)
    assert min(min(size) for size in sizes) > 400
    assert metrics(text(notebook))["Accuracy"] >= 0.9


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<![\w/.])/(home|root|tmp|work|Users|var|private)/",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"(?i)(secret|token|password)\W{0,3}[=:]",
        r"\b\d{12}\b",
        r"\b(?!0\.0\.0\.0|127\.0\.0\.1)\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b",
    ],
)
def test_what_is_committed_tells_nothing_of_a_machine_or_an_account(pattern: str) -> None:
    """No path, key, account or address of the machine that ran it."""
    said = [text(read()), *(cell.source for cell in read().cells)]
    said += [str(found.get("data", {}).get("text/plain", "")) for found in outputs(read())]

    assert [] == [match[0] for part in said for match in re.finditer(pattern, part)]
