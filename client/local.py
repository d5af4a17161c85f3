"""The SDK's local mode: jobs and endpoints as containers of this machine, without AWS.

What local mode does otherwise than SageMaker, and what a user of these commands would stumble
over, is mended where the SDK asks its client: the commands know nothing of it.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import boto3

from client import artefact, data_processing, interruption, runtime, sdk, storage
from client.endpoint import Endpoint
from client.names import IMAGE, LOCAL_OUTPUT
from client.platform import PlatformError
from client.training_job import JobError
from client.transform_job import tidy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A role's form is checked, also where no AWS is asked.
_NO_ROLE = "arn:aws:iam::000000000000:role/local-mode"

# As the SDK names it; all that runs in local mode on this machine shares it.
_NETWORK = "sagemaker-local"

# What SageMaker grants between SIGTERM and SIGKILL.
_STOP_SECONDS = 30

# By it a run's containers are found again: the SDK deletes its compose files, and not these.
_LABEL = "simplenet.run"

# It asks for /ping until that is answered, and need not tell each time that it is not yet.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Local:
    """The SDK's local mode, with a working directory of its own."""

    session: sdk.Session
    project: str
    image: str
    home: str
    data: str
    root: Path  #: what is below is gone in the end
    role: str = _NO_ROLE
    tags: list[dict[str, str]] = field(default_factory=list)

    @property
    def sagemaker(self) -> Containers:
        """What local mode has in the place of boto3's client."""
        return cast("Containers", self.session.sagemaker_client)

    def address(self, given: str) -> str:
        """Return what a user names as an address: a path, or file://PATH.

        Raises:
            PlatformError: if there is no such file or directory.
        """
        path = Path(given.removeprefix("file://")).resolve()
        if not path.exists():
            raise PlatformError(f"There is no {path}; with --local, expected a file or directory.")
        return _address(path)

    def directories(self, address: str) -> list[str]:
        """Name the directories in one: file://DIRECTORY."""
        return sorted(found.name for found in _path(address).iterdir() if found.is_dir())

    def put(self, path: Path, name: str) -> str:  # noqa: ARG002  # it is here already
        """Return the address of a file or directory."""
        return _address(path.resolve())

    def output(self, job: str) -> str:
        """Return the address of the directory in which a job leaves model.tar.gz."""
        return f"{self.home}/{job}"

    def latest_model(self) -> str:
        """Return the address of the newest model.tar.gz of the project.

        Raises:
            PlatformError: if there is none.
        """
        found = sorted(LOCAL_OUTPUT.resolve().glob(f"{self.project}-*/model.tar.gz"))
        if not found:
            raise PlatformError(
                f"{LOCAL_OUTPUT} holds no model of the project {self.project!r}; run: "
                "python -m client train --local"
            )
        return _address(found[-1])

    def batch(self, job: str) -> str:
        """Return the address of a batch job's input and output."""
        return _address(self.root / job)

    def download(self, address: str, directory: Path) -> list[Path]:
        """Copy what is at an address into a directory; return the files there."""
        directory.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(file, directory)) for file in storage.files(_path(address))]

    def wait(self) -> None:
        """Go on serving until Ctrl-C."""
        try:
            signal.pause()
        except KeyboardInterrupt:
            if self.sagemaker.last_words:  # the container ended by itself
                raise


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
        job, output = request["TrainingJobName"], _path(request["OutputDataConfig"]["S3OutputPath"])
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
        artefact.unpack(_path(container["ModelDataUrl"]), model)
        own = {**container, "ModelDataUrl": _address(model)}
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
        files = storage.files(_path(source["S3Uri"]))
        kind = request["TransformInput"]["ContentType"]
        if path := processing.get("InputFilter"):
            shown = self._root / f"{request['TransformJobName']}-shown"
            shown.mkdir()
            for file in files:
                _write(shown / file.name, data_processing.filtered(_lines(file), path, kind))
            source["S3Uri"] = _address(shown)
        try:
            super().create_transform_job(**request)
        except RuntimeError as error:
            raise JobError(f"The job {request['TransformJobName']} failed: {error}.") from None
        if processing.get("JoinSource") == "Input":
            for file in files:
                scores = _path(request["TransformOutput"]["S3OutputPath"]) / f"{file.name}.out"
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


class _Stdout:
    """stdout for this program's results; what the SDK's threads print is the containers' log."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    def write(self, text: str) -> int:
        of_program = threading.current_thread() is threading.main_thread()
        return (self._stdout if of_program else sys.stderr).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


@contextmanager
def mode(project: str, image: str | None, port: int = 8080) -> Iterator[Local]:
    """Give local mode, and remove in the end what its containers left, whatever happens.

    Raises:
        PlatformError: if Docker does not answer, there is no such image, or a container that serves
            ends by itself.
    """
    image = image or IMAGE
    _expect_image(image)
    home = _expect_mountable(LOCAL_OUTPUT.resolve())
    home.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=".run-", dir=home))
    session = _session(root, port)
    try:
        with _surroundings(session.sagemaker_client, root):
            yield Local(
                session=session,
                project=project,
                image=image,
                home=_address(home),
                data=_address(Path("data").resolve()),
                root=root,
            )
    except KeyboardInterrupt:
        if words := session.sagemaker_client.last_words:
            raise PlatformError(f"The container ended: {words}") from None
        raise


def _session(root: Path, port: int) -> sdk.Session:
    """Return a session of local mode that works below a directory."""
    # Local mode asks AWS nothing, but its session will have a region and credentials.
    aws = boto3.Session("local-mode", "local-mode", region_name="us-east-1")
    session = sdk.LocalSession(boto_session=aws, sagemaker_config=sdk.configuration())
    session.sagemaker_client = Containers(session, root)
    session.sagemaker_runtime_client = Runtime()
    # As this user: then what the containers leave can be read and removed.
    user = {"user": own} if (own := runtime.user()) else {}
    session.config = {
        "local": {
            "local_code": True,
            "container_root": str(root),
            "serving_port": port,
            "container_config": {
                **user,
                "labels": {_LABEL: root.name},
                "stop_grace_period": f"{_STOP_SECONDS}s",
            },
        }
    }
    return session


@contextmanager
def _surroundings(containers: Containers, root: Path) -> Iterator[None]:
    """Give the SDK the programs that it looks for, and hear its threads; clean up in the end."""
    programs = root / "bin"
    programs.mkdir()
    # Where `docker compose` is none that the SDK knows, it looks for docker-compose.
    (programs / "docker-compose").symlink_to(_program())
    # It stops a container by the children of Docker Compose, which it asks pgrep for. There need be
    # none: Docker Compose itself stops the container.
    (programs / "pgrep").symlink_to(shutil.which("true") or "/bin/true")
    path, hook, threads = os.environ["PATH"], threading.excepthook, threading.enumerate()
    os.environ["PATH"] = os.pathsep.join([str(programs), path])
    threading.excepthook = containers.interrupt
    with redirect_stdout(cast("TextIO", _Stdout(sys.stdout))):
        try:
            yield
        finally:
            with interruption.undisturbed():
                _remove_containers(root.name)
                for thread in set(threading.enumerate()) - set(threads):
                    thread.join(_STOP_SECONDS)  # it has the last lines of a container's log
            os.environ["PATH"], threading.excepthook = path, hook
            shutil.rmtree(root, ignore_errors=True)


def _expect_image(image: str) -> None:
    if shutil.which("docker") is None or _docker("info").returncode:
        raise PlatformError("No Docker engine answers `docker info`; local mode needs one.")
    if _docker("image", "inspect", image).returncode:
        raise PlatformError(f"There is no image {image!r} here; run: make image IMAGE={image}")


def _expect_mountable(directory: Path) -> Path:
    """Return a directory that the SDK mounts into containers."""
    if set(":#?") & set(str(directory)):
        raise PlatformError(
            f"{directory} has one of :#? in its name, which local mode cannot mount."
        )
    for forbidden in ("/root", "/etc", "/var/lib"):
        if directory.is_relative_to(forbidden):
            raise PlatformError(
                f"{directory} is below {forbidden}, from which SageMaker's local mode mounts "
                "nothing; work in another directory."
            )
    return directory


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


def _path(address: str) -> Path:
    return Path(address.removeprefix("file://"))


def _address(path: Path) -> str:
    # The SDK takes the path as it is, so it must not be quoted.
    return f"file://{path}"


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


def _program() -> Path:
    """Return Docker Compose's program, which a Python package brings along.

    The package's own script drops the exit code, so a failed job would look successful.
    """
    return Path(str(resources.files("compose") / "docker-compose"))


def _compose(*words: str, newest: Path) -> str:
    """Ask Docker Compose about the newest of the projects below a directory."""
    files = sorted(newest.glob("*/docker-compose.yaml"), key=lambda file: file.stat().st_mtime)
    command = [str(_program()), "--file", *map(str, files[-1:]), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _remove_containers(run: str) -> None:
    """Remove what a run has started; local mode itself leaves it."""
    found = _docker("ps", "--all", "--quiet", f"--filter=label={_LABEL}={run}").stdout.split()
    if found:
        _docker("stop", f"--time={_STOP_SECONDS}", *found)
        _docker("rm", "--force", "--volumes", *found)
    # Another run may have made it; one that uses it keeps it.
    _docker("network", "rm", _NETWORK)


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
