"""The scripts of local_test/, as a shell runs them: a copy, below a directory with a space."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import socket
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from simplenet.model import SimpleNet

from tests import engine
from tests.conftest import PROJECT
from tests.local_test.conftest import LocalTest, copy

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNERS = ("train_local.sh", "serve_local.sh")
SCRIPTS = (*RUNNERS, "predict.sh")

needs_engine = pytest.mark.docker


@contextmanager
def answering(status: int, reply: bytes) -> Iterator[tuple[int, list[tuple[object, ...]]]]:
    """Serve one reply to all; give the port, and what was asked there so far."""
    asked: list[tuple[object, ...]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Content-Type"], body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_scripts_own_header(local: LocalTest, script: str, flag: str) -> None:
    """What a reader of the file sees, a user sees; no engine is needed for that."""
    done = local.run(script, flag, DOCKER_HOST="unix:///nowhere.sock")
    header = (local.root / script).read_text().split("\nset -", 1)[0].splitlines()[1:]

    assert (0, "") == (done.code, done.stderr)
    assert [line.removeprefix("#").removeprefix(" ") for line in header] == (
        done.stdout.decode().splitlines()
    )
    assert f"{script} [" in done.stdout.decode().partition("usage: ")[2].splitlines()[0]


@pytest.mark.parametrize(
    ("script", "arguments", "sentence"),
    [
        *((script, ["--nope"], "there is no option --nope; try --help") for script in SCRIPTS),
        *((script, ["a", "b"], "expected one argument, the image, not 2") for script in RUNNERS),
        ("predict.sh", ["a", "b", "c"], "expected at most a file and its content type, not 3"),
    ],
)
def test_wrong_arguments_are_refused(
    local: LocalTest, script: str, arguments: list[str], sentence: str
) -> None:
    """Exit code 2, by which a shell's own programs say it."""
    done = local.run(script, *arguments)

    assert (2, b"") == (done.code, done.stdout)
    assert done.stderr.startswith(f"{script}: {sentence}")


@pytest.mark.parametrize("port", ["0", "65536", "080", "-1", "http", "80 80"])
@pytest.mark.parametrize("script", ["serve_local.sh", "predict.sh"])
def test_a_bad_port_is_refused(local: LocalTest, script: str, port: str) -> None:
    """Before anything else is looked at."""
    done = local.run(script, PORT=port)

    assert (2, b"") == (done.code, done.stdout)
    assert f"PORT is '{port}'; expected a number from 1 to 65535" in done.stderr


@pytest.mark.parametrize("script", RUNNERS)
def test_a_machine_without_docker_is_told(local: LocalTest, tmp_path: Path, script: str) -> None:
    """Where to get it from."""
    for tool in ("bash", "dirname", "readlink"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    done = local.run(script, PATH=str(tmp_path))

    assert (1, b"") == (done.code, done.stdout)
    assert "there is no docker command; install Docker: https://" in done.stderr


@pytest.mark.skipif(shutil.which("docker") is None, reason="there is no docker command")
@pytest.mark.parametrize("script", RUNNERS)
def test_an_engine_that_does_not_answer_is_named(local: LocalTest, script: str) -> None:
    """With Docker's own reason, and what to start."""
    done = local.run(script, DOCKER_HOST="unix:///nowhere.sock")

    assert (1, b"") == (done.code, done.stdout)
    assert "Docker does not answer: " in done.stderr
    assert "unix:///nowhere.sock" in done.stderr
    assert "\nStart Docker Desktop or the docker service" in done.stderr


@needs_engine
@pytest.mark.parametrize("above", [0, 1], ids=["in the project", "above it"])
@pytest.mark.parametrize("script", RUNNERS)
def test_a_missing_image_names_the_command_that_builds_it(
    local: LocalTest, script: str, above: int
) -> None:
    """One that can be pasted where the script was called, whatever the directory's name."""
    name = engine.unique_name()
    cwd = local.root.parents[above]
    done = local.run(script, name, cwd=cwd)
    sentence, _, command = done.stderr.partition("; build it: ")
    make, option, project, *rest = shlex.split(command)

    assert (1, b"") == (done.code, done.stdout)
    assert f"{script}: Docker has no image {name}" == sentence
    assert ["make", "-C", "image", f"IMAGE={name}"] == [make, option, *rest]
    assert local.root.parent == (cwd / project).resolve()


@needs_engine
def test_serving_needs_a_model(local: LocalTest, image: str) -> None:
    """The script that trains one is named, as a shell wants its path."""
    done = local.run("serve_local.sh", image)
    sentence, _, command = done.stderr.partition("; train one: ")

    assert (1, b"") == (done.code, done.stdout)
    assert f"serve_local.sh: there is no model in {local.opt_ml}/model" == sentence
    assert [str(local.root / "train_local.sh"), image] == shlex.split(command)


@needs_engine
@pytest.mark.parametrize("bound", [0, 65535], ids=["any", "the last"])
def test_a_taken_port_leads_to_another(trained: LocalTest, image: str, bound: int) -> None:
    """One that there is; Docker's own message would come after a container was made."""
    with socket.create_server(("127.0.0.1", bound)) as server:
        port = server.getsockname()[1]
        done = trained.run("serve_local.sh", image, PORT=str(port))
    sentence, _, command = done.stderr.partition(" or choose another: ")
    other = 8080 if port == bound else port + 1

    assert (1, b"") == (done.code, done.stdout)
    assert f"serve_local.sh: port {port} is taken; stop what listens there" == sentence
    assert [f"PORT={other}", str(trained.root / "serve_local.sh"), image] == shlex.split(command)


def test_predicting_needs_a_server(local: LocalTest) -> None:
    """After curl's own reason, the script that starts one is named."""
    port = engine.free_port()
    done = local.run("predict.sh", PORT=str(port))
    sentence, _, rest = done.stderr.partition("; start ")

    assert (1, b"") == (done.code, done.stdout)
    assert f"predict.sh: nothing answers on port {port}" == sentence.splitlines()[-1]
    assert str(local.root / "serve_local.sh") == shlex.split(rest)[0]


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_predicting_needs_a_file(local: LocalTest, name: str) -> None:
    """A directory is none."""
    done = local.run("predict.sh", name)

    assert (1, b"") == (done.code, done.stdout)
    assert f"predict.sh: there is no readable file {name}; give one" in done.stderr


@pytest.mark.parametrize(
    ("name", "given", "sent", "reply", "printed"),
    [
        ("a.csv", [], "text/csv", b"0.5\n", b"0.5\n"),
        ("a b.txt", [], "text/csv", b"0.5\n", b"0.5\n"),
        ("a.txt", ["text/csv; charset=utf-8"], "text/csv; charset=utf-8", b"0.5\n", b"0.5\n"),
        ("a.json", [], "application/json", b"{}", b"{}\n"),
        ("a.jsonl", [], "application/jsonlines", b"{}\n", b"{}\n"),
        ("a.npy", [], "application/x-npy", b"\x93NUMPY\0\r\n\0", b"\x93NUMPY\0\r\n\0"),
    ],
)
def test_a_file_is_sent_as_it_is(
    local: LocalTest, name: str, given: list[str], sent: str, reply: bytes, printed: bytes
) -> None:
    """Its name says its type (H24), no byte is lost on either way, and a proxy has no part in it;
    a reply in JSON gets the newline that it lacks.
    """
    body = b"\x93NUMPY\0 1,2\r\n\n@3,4\n"
    path = local.root / name
    path.write_bytes(body)
    with answering(200, reply) as (port, asked):
        done = local.run("predict.sh", path, *given, PORT=str(port), http_proxy="http://[::1]:9")

    assert (0, printed, "") == (done.code, done.stdout, done.stderr)
    assert [("/invocations", sent, body)] == asked


@pytest.mark.parametrize("status", [400, 415, 503])
def test_a_refusal_is_printed(local: LocalTest, status: int) -> None:
    """The server's own sentence (H27), on stderr, and an exit code that says so."""
    with answering(status, b'{"error": "line 2 is odd"}') as (port, _):
        done = local.run("predict.sh", PORT=str(port))

    assert (1, b"") == (done.code, done.stdout)
    assert f"HTTP {status} to {local.root}/payload.csv as text/csv: " in done.stderr
    assert '{"error": "line 2 is odd"}' in done.stderr


@needs_engine
def test_training_leaves_what_sagemaker_would_keep(trained: LocalTest) -> None:
    """The model (T34), the job's output directory without a failure (T12), and no directory of the
    job itself.
    """
    assert ["model.safetensors"] == sorted(trained.holds("model"))
    assert {"data/history.csv", "data/metrics.json"} == {*trained.holds("output")}
    assert {".gitignore", "checkpoints", "input", "model", "output"} == {
        path.name for path in trained.opt_ml.iterdir()
    }


@needs_engine
def test_replies_are_the_models_scores(trained: LocalTest, port: int) -> None:
    """The story's end: the same three rows as CSV, as JSON and as NumPy's array."""
    rows = np.loadtxt(trained.root / "payload.csv", delimiter=",", dtype=np.float32)
    scores = SimpleNet.load(trained.opt_ml / "model" / "model.safetensors").score(rows)
    np.save(trained.root / "rows.npy", rows)
    csv, as_json, npy = (
        trained.run("predict.sh", *payload, PORT=str(port)).stdout
        for payload in ([], [trained.root / "payload.json"], [trained.root / "rows.npy"])
    )
    predictions = json.loads(as_json)["predictions"]

    np.testing.assert_allclose(np.loadtxt(io.BytesIO(csv)), scores, rtol=1e-5)
    np.testing.assert_allclose([one["score"] for one in predictions], scores, rtol=1e-5)
    np.testing.assert_allclose(np.load(io.BytesIO(npy))[:, 0], scores, rtol=1e-5)


@needs_engine
def test_a_bad_row_fails_the_job_with_its_place(local: LocalTest, image: str) -> None:
    """The sentence of /opt/ml/output/failure (T12) is the script's last word; no model is left."""
    with (local.channel / "train.csv").open("a") as table:
        table.write("1,oops,2\n")
    done = local.run("train_local.sh", image)
    sentence = local.holds("output")["failure"]

    assert "line 451, column 2 is 'oops'" in sentence
    assert done.stderr.endswith(f"{sentence}\n")
    assert 0 != done.code
    assert not (local.opt_ml / "model").exists()


@needs_engine
@pytest.mark.parametrize(
    ("job", "code", "sentence"),
    [
        ("echo why >/opt/ml/output/failure; exit 9", 9, "failed with exit code 9; /opt/ml/output/"),
        ("echo half >/opt/ml/model/new; exit 7", 7, "code 7; it left no /opt/ml/output/failure"),
        ("true", 1, "the job ended well but left no file in /opt/ml/model"),
        ("touch /opt/ml/input/data/train/new", 1, "failed with exit code 1"),
        ("echo >/opt/program/new", 2, "failed with exit code 2"),
    ],
)
def test_a_failed_job_costs_no_earlier_model(
    local: LocalTest, scripted: str, job: str, code: int, sentence: str
) -> None:
    """Its exit code is the script's (T10); it can write to its own directories only."""
    (local.opt_ml / "model").mkdir()
    (local.opt_ml / "model" / "earlier").write_text("a model")
    local.job(job)
    done = local.run("train_local.sh", scripted)

    assert code == done.code, done.stderr
    assert sentence in done.stderr
    assert {"earlier": "a model"} == local.holds("model")
    assert not list(local.opt_ml.glob(".job.*"))


@pytest.fixture
def own() -> Iterator[LocalTest]:
    """A copy run by a user who is not root, for whom every file would be its own."""
    if os.getuid():
        caller = {}
    else:
        # Who may talk to the engine is who is in its socket's group.
        groups = [Path("/var/run/docker.sock").stat().st_gid]
        caller = {"user": 12345, "group": 12345, "extra_groups": groups}
    # Not tmp_path, which is closed to other users.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        local = copy(Path(directory), **caller)
        yield local


@needs_engine
def test_a_job_replaces_what_the_last_one_left(own: LocalTest, scripted: str) -> None:
    """As on SageMaker it finds no model, output or checkpoint; what it leaves is the caller's."""
    for name in ("model", "output", "checkpoints"):
        (own.opt_ml / name).mkdir()
        (own.opt_ml / name / "earlier").touch()
    own.job(
        "cd /opt/ml; found=$(ls model output/data checkpoints | grep -c earlier)\n"
        "for name in model output/data checkpoints; do echo $found >$name/new; done"
    )
    uid = own.caller.get("user", os.getuid())
    if own.caller:
        for path in (own.opt_ml, *own.opt_ml.rglob("*")):
            os.chown(path, uid, uid)
    done = own.run("train_local.sh", scripted, HOME=str(own.root))

    assert 0 == done.code, done.stderr
    assert {"new": "0\n"} == own.holds("model")
    assert {"data/new": "0\n"} == own.holds("output")
    assert {"new": "0\n"} == own.holds("checkpoints")
    assert {uid} == {path.stat().st_uid for path in own.opt_ml.rglob("*")}


@needs_engine
@pytest.mark.parametrize("script", RUNNERS)
def test_ctrl_c_stops_the_container_as_sagemaker_does(
    local: LocalTest, trained: LocalTest, image: str, script: str
) -> None:
    """A terminal sends SIGINT to all that the script started; the program gets SIGTERM (T8, H3) and
    ends well, a job with its model, and the container is gone.
    """
    port = engine.free_port()
    ready = {
        "train_local.sh": lambda: "epoch=3;" in local.log.read_text(),
        "serve_local.sh": lambda: engine.healthy(port),
    }
    local.settings(epochs=1_000_000)
    if script == "serve_local.sh":
        shutil.copytree(trained.opt_ml / "model", local.opt_ml / "model")
    with local.running(script, image, port, ready[script]) as process:
        named = f"name=local_test-{process.pid}-"
        before = engine.docker("ps", "--quiet", "--filter", named)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait()

    assert before
    assert 0 == code, local.log.read_text()
    assert "" == engine.docker("ps", "--all", "--quiet", "--filter", named)
    assert ["model.safetensors"] == sorted(local.holds("model"))


def test_the_jobs_configuration_is_sagemakers() -> None:
    """The files' names in lower case, their keys, and all hyperparameters strings (T15, T20, T23),
    with a directory a channel (T26).
    """
    inputs = PROJECT / "local_test" / "opt_ml" / "input"
    config = {path.name: json.loads(path.read_text()) for path in (inputs / "config").iterdir()}
    hosts = config["resourceconfig.json"]
    channels = config["inputdataconfig.json"]
    hyperparameters = config["hyperparameters.json"]

    assert {"resourceconfig.json", "inputdataconfig.json", "hyperparameters.json"} == set(config)
    assert {str} == {type(value) for value in hyperparameters.values()}
    assert {path.name for path in (inputs / "data").iterdir()} == set(channels)
    for channel in channels.values():
        assert {str} == {type(value) for value in channel.values()}
        assert {"ContentType", "TrainingInputMode", "S3DistributionType", "RecordWrapperType"} == (
            set(channel)
        )
    assert {"current_host", "hosts", "network_interface_name"} == set(hosts)
    assert hosts["current_host"] in hosts["hosts"]
