"""What local mode has in the place of boto3's clients, where it differs too much from SageMaker.

What a user of the commands would stumble over is mended here, where the SDK asks its clients: the
commands know nothing of it.
"""

from __future__ import annotations

import io
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client import artefact, data_processing, sdk, storage
from client.endpoint import Endpoint
from client.platform import PlatformError
from client.training_job import JobError
from client.transform_job import tidy

if TYPE_CHECKING:
    from collections.abc import Mapping


def path_of(address: str) -> Path:
    """Return the path that an address of this machine names."""
    return Path(address.removeprefix("file://"))


def address_of(path: Path) -> str:
    """Return a path as an address; unquoted, for the SDK takes it as it is."""
    return f"file://{path}"


def compose_program() -> Path:
    """Return Docker Compose's program, which a Python package brings along.

    The package's own script drops the exit code, so a failed job would look successful.
    """
    return Path(str(resources.files("compose") / "docker-compose"))


def _compose(*words: str, newest: Path) -> str:
    """Ask Docker Compose about the newest of the projects below a directory."""
    files = sorted(newest.glob("*/docker-compose.yaml"), key=lambda file: file.stat().st_mtime)
    command = [str(compose_program()), "--file", *map(str, files[-1:]), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


class Containers(sdk.LocalSagemakerClient):  # type: ignore[misc]  # the SDK has no types
    """What local mode has in the place of boto3's client of SageMaker."""

    def __init__(self, session: sdk.Session, root: Path) -> None:
        super().__init__(session)
        self.last_words = ""  #: of a serving container that ended by itself
        self._root = root

    def create_training_job(self, **request: Any) -> None:
        """Run a job to its end; a failed one leaves no model, as on SageMaker.

        Raises:
            JobError: if it fails; the message has the program's own sentence.
        """
        job, output = (
            request["TrainingJobName"],
            path_of(request["OutputDataConfig"]["S3OutputPath"]),
        )
        failed: RuntimeError | None = None
        whole = False
        try:
            super().create_training_job(**request)
            whole = job in self._training_jobs  # not where an interrupt was swallowed
        except RuntimeError as error:
            failed = error
        finally:
            said = _failure(output / "output.tar.gz")
            empty = _is_empty(output / "model.tar.gz")
            if not whole or empty:
                shutil.rmtree(output, ignore_errors=True)
        if failed:
            code = str(failed).rpartition(" ")[2]
            raise JobError(
                f"The job {job} failed: {said or f'exit code {code}; its log is above.'}"
            ) from None
        if whole and empty:
            raise JobError(f"The job {job} ended and left no model; its log is above.")

    def create_model(self, **request: Any) -> None:
        """Unpack model.tar.gz into a directory of this run's, as SageMaker does.

        Local mode itself would unpack it beside the archive, and let the container write there.
        """
        container: Mapping[str, Any] = request["PrimaryContainer"]
        model = self._root / request["ModelName"]
        artefact.unpack(path_of(container["ModelDataUrl"]), model)
        own = {**container, "ModelDataUrl": address_of(model)}
        super().create_model(**{**request, "PrimaryContainer": own})

    def create_endpoint(self, **request: Any) -> None:
        """Serve, and return when `/ping` is answered.

        Raises:
            PlatformError: if the port is in use, or nothing answers.
        """
        _expect_free(self.sagemaker_session.config["local"]["serving_port"])
        try:
            super().create_endpoint(**request)
        except RuntimeError as error:
            raise PlatformError(f"The container does not answer /ping: {error}.") from None
        finally:
            # Also after an interrupt, which the SDK's telemetry swallows.
            endpoint = self._endpoints.get(request["EndpointName"])
            if endpoint and endpoint.state == "Creating":
                endpoint.state = "Failed"

    def create_transform_job(self, **request: Any) -> None:
        """Score the files of a directory in a container of its own, on any free port.

        Raises:
            JobError: if the container refuses a row.
        """
        local = {**self.sagemaker_session.config["local"], "serving_port": _free_port()}
        self.sagemaker_session.config = {"local": local}
        processing = request.pop("DataProcessing", {})
        source = request["TransformInput"]["DataSource"]["S3DataSource"]
        files = storage.files(path_of(source["S3Uri"]))
        kind = request["TransformInput"]["ContentType"]
        if path := processing.get("InputFilter"):
            shown = self._root / f"{request['TransformJobName']}-shown"
            shown.mkdir()
            for file in files:
                _write(shown / file.name, data_processing.filtered(_lines(file), path, kind))
            source["S3Uri"] = address_of(shown)
        try:
            super().create_transform_job(**request)
        except RuntimeError as error:
            raise JobError(f"The job {request['TransformJobName']} failed: {error}.") from None
        if processing.get("JoinSource") == "Input":
            for file in files:
                scores = path_of(request["TransformOutput"]["S3OutputPath"]) / f"{file.name}.out"
                tidy(scores)
                _write(scores, data_processing.joined(_lines(file), _lines(scores), kind))

    def interrupt(self, thread: threading.ExceptHookArgs) -> None:
        """Interrupt the program, since what it waits for will not come: the container ended.

        The SDK itself would print the traceback of its thread, and wait for two minutes.
        """
        log = _compose("logs", "--no-log-prefix", "--no-color", "--tail=5", newest=self._root)
        self.last_words = " ".join(log.split()) or str(thread.exc_value)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class Runtime:
    """What local mode has in the place of boto3's client of endpoints, which drops the status."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}  #: the session's; the SDK sets it

    def invoke_endpoint(
        self,
        Body: bytes | str,  # noqa: N803  # boto3's names
        EndpointName: str,  # noqa: ARG002, N803
        ContentType: str = "text/csv",  # noqa: N803
        Accept: str | None = None,  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        """Send a body to the container.

        Raises:
            EndpointError: if it refuses.
        """
        body = Body.encode("utf-8") if isinstance(Body, str) else Body
        server = Endpoint(f"http://127.0.0.1:{self.config['local']['serving_port']}")
        return {
            "Body": io.BytesIO(server.invoke(body, ContentType, Accept)),
            "ContentType": Accept or ContentType,
        }


def _expect_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise PlatformError(
                f"Port {port} is not free ({error.strerror}); choose another: --port {port + 1}"
            ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8").splitlines() if line.strip()]


def _write(file: Path, lines: list[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _is_empty(archive: Path) -> bool:
    if not archive.exists():
        return True
    with tarfile.open(archive) as tar:
        return tar.next() is None


def _failure(archive: Path) -> str:
    """Return what a job says of its own failure, where SageMaker would read it."""
    if not archive.exists():
        return ""
    with tarfile.open(archive) as tar:
        names = [member.name for member in tar if member.isfile() and member.name == "failure"]
        file = tar.extractfile(names[0]) if names else None
        return file.read().decode("utf-8", "replace").strip() if file else ""
