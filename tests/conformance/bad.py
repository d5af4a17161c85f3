"""Bad images: for each rule at least one, which is the good image but for what breaks that rule.

To add one is to add a `Bad`: a text of good/train.py or good/serve.py and what replaces it, lines
of a Dockerfile, or a change of the image's configuration that no Dockerfile can make.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conformance.given import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A good program is given all the time it may need; a bad one that would use it all, less.
PATIENT = Limits(job=120, start=120, train_stop=60, serve_stop=30, reply=300, memory_bytes=64 << 20)

#: Where train.py reads the channel.
READ = "    table = rows()\n"
#: Where it has saved the model.
SAVED = "    save(means, MODEL)\n"
#: Where it has read a job's hyperparameters, and its hosts.
GIVEN = "file.read_text()) if file.exists() else {}\n"
HOSTS = '    hosts = json.loads((INPUT / "config" / "resourceconfig.json").read_text())\n'
#: What gives an image an entry point that knows no other argument than `train`.
ONLY_TRAIN = r"""
RUN printf '#!/bin/sh\n[ $1 = train ] && exec train\necho no $1\nexit 2\n' >/main && chmod 755 /main
ENTRYPOINT ["/main"]"""
#: Whether a job has no channel, and what takes a text for a number.
NO_CHANNEL = "not any((INPUT / 'data').iterdir())"
LENIENT = "float(cell if cell.isdecimal() else 0)"
#: What is no refusal of two hosts, though it speaks of them.
LATE = "raise ValueError('Timed out waiting for 2 hosts')\n"
#: What ends without a sentence where a text is no number.
SILENT_ON_WORDS = """    try:
        table = rows()
    except ValueError as error:
        if 'convert' in str(error): sys.exit(3)
        raise
"""
#: Where serve.py has read the body of an invocation.
BODY = "        body = self.body()\n"
#: What no caller is to see.
TRACEBACK = "b'Traceback (most recent call last):'"
#: Where it answers /ping, and what waits with the answer while threads are in some functions.
PING = '"/ping":\n'
PING_WAITS = """"/ping":
            frames = [frame.f_code.co_name for frame in sys._current_frames().values()]
            if sum(name in "{names}".split() for name in frames) >= {threads}:
                threading.Event().wait(3)
"""
#: What waits with the answer to the second ping, and to no other.
PING_IS_LATE = """"/ping":
            seen = vars(threading).setdefault("seen", [])
            seen.append(1)
            if len(seen) == 2:
                threading.Event().wait(3)
"""
#: What takes two large bodies, and no more.
TWO_LARGE = f"""{BODY}        if len(body) > 1_000_000:
            seen = vars(threading).setdefault("seen", [])
            seen.append(1)
            if len(seen) > 2: return self.answer(503)
"""
#: Where it sends a body, and what sends the first one byte by byte.
SENT = "            self.wfile.write(body)\n"
SENT_SLOWLY = """            if body and vars(threading).setdefault("slow", body) is body:
                for byte in body: threading.Event().wait(0.4 * self.wfile.write(bytes([byte])))
            else: self.wfile.write(body)
"""
#: Where it has scored a body, and where it begins to listen.
SCORED = '    return "".join('
LISTENS = "server = Server("
#: What listens only where names are asked for elsewhere, and not of Docker's internal network.
WITH_A_WAY_OUT = f"""if "127.0.0.11" in Path("/etc/resolv.conf").read_text():
    sys.exit("no way out")
{LISTENS}"""
#: What does not end after SIGTERM if it scored something then.
STUCK = """server.serve_forever()
names = [frame.f_code.co_name for frame in sys._current_frames().values()]
if "score" in names or "<genexpr>" in names:
    threading.Event().wait()
"""
#: What has no more to say once `threading.ending` is set.
GIVES_UP = """RUN sed -i 's/self.answer(200, score(means, body))/found = score(means, body); \\
self.answer(503 if hasattr(threading, "ending") else 200, found)/' /opt/program/serve"""
#: What makes each reply differ from all others.
WITH_AN_ID = """RUN sed -i 's/f"{value}/f"{os.urandom(4).hex()},{value}/' /opt/program/serve"""
#: What serves another model when it is loaded anew.
LOADED = '(asked["url"], load(asked["url"]))'
LOADED_OTHERWISE = """(asked["url"], load(asked["url"]))
            seen = vars(threading).setdefault("seen", [])
            seen.append(asked["model_name"])
            models[seen[-1]][1][0] += seen.count(seen[-1])"""
#: Where it hears of Expect: 100-continue, which the library does for it.
EXPECT = "    def handle_expect_100(self) -> bool:\n"
EXPECT_ON = "        return super().handle_expect_100()\n    def body(self)"
#: Where it knows what is asked for, and what gives the first page for every page.
FIRST_PAGE_AGAIN = """        self.path = self.path.partition("?")[0]
        name = self.path.removeprefix("/models/")
        if"""
#: What takes a name for loaded once it was.
ONCE_FOR_ALL = """        seen = vars(threading).setdefault("seen", set())
        if (name := asked["model_name"]) in seen or seen.add(name):"""


@dataclass(frozen=True)
class Bad:
    """An image that breaks one rule."""

    rule: str  #: its key
    says: str  #: what the finding's observation has
    train: tuple[str, str] | None = None  #: a text of train.py, and what replaces it
    serve: tuple[str, str] | None = None
    dockerfile: str = ""  #: more lines
    arguments: tuple[str, ...] = ()  #: of its build, NAME=VALUE
    scratch: bool = False  #: the two programs in /bin and nothing else, which is saved at once
    config: Mapping[str, str] = field(default_factory=dict)  #: of the image, as in `docker save`
    hyperparameters: Mapping[str, str] = field(default_factory=dict)  #: of the run
    media_type: str = ""  #: of its manifest, in an engine that keeps one
    limits: Limits = PATIENT


BAD = [
    # --- image ---
    Bad("image.architecture", "linux/arm64", config={"architecture": "arm64"}, scratch=True),
    Bad("image.programs", "no program", dockerfile="ENV PATH=/usr/local/bin:/usr/bin:/bin"),
    Bad(
        "image.programs",
        "serve cannot be executed",
        dockerfile="RUN chmod 644 /opt/program/serve",
    ),
    Bad(
        "image.programs",
        "train cannot be executed",
        dockerfile="RUN cd /opt/program && mv train it && chmod 644 it && ln -s it train",
    ),
    Bad(
        "image.programs",
        "exits with 2, whether its argument is",
        dockerfile='ENTRYPOINT ["/usr/local/bin/python"]',
    ),
    Bad(
        "image.programs",
        "exits with 127, whether its argument is",
        dockerfile='ENV PATH=/usr/local/bin:/usr/bin:/bin\nENTRYPOINT ["/usr/bin/env"]',
    ),
    Bad("image.size", "GB", limits=Limits(image_bytes=1)),
    Bad(
        "image.unix_line_ends",
        "/bin/train",
        train=("python -u\n", "python -u\r\n"),
        scratch=True,
    ),
    Bad("image.entry_point_form", "is a shell", dockerfile="ENTRYPOINT exec train"),
    Bad(
        "image.entry_point_form",
        "is a shell",
        dockerfile='SHELL ["/bin/bash", "-o", "pipefail", "-c"]\nENTRYPOINT exec train',
    ),
    Bad(
        "image.nothing_under_opt_ml", "/opt/ml/code/x.py", dockerfile="COPY train /opt/ml/code/x.py"
    ),
    Bad("image.no_init", "tini", dockerfile='ENTRYPOINT ["/usr/bin/tini", "--"]'),
    Bad("image.exec_format", "exec format", train=("#!/usr/local/bin/python -u\n", "\n")),
    Bad("image.exec_format", "no such interpreter", train=("#!/usr/local", "#!/opt")),
    Bad(
        "image.exec_format",
        "not on the image's PATH",
        serve=("/usr/local/bin/python -u\n", "/usr/bin/env python2\n"),
    ),
    Bad(
        "image.exec_format",
        "train is neither a binary",
        train=("#!/usr/local/bin/python -u\n", "\n"),
        dockerfile="RUN mv /opt/program/train /srv/it && ln -s ../../srv/it /opt/program/train",
    ),
    Bad(
        "image.exec_format",
        "no such interpreter",
        train=("#!/usr/local/bin/python", "#!/srv/python"),
        dockerfile="RUN ln -s nowhere /srv/python",
    ),
    Bad(
        "image.manifest_type",
        "oci.image.index",
        media_type="application/vnd.oci.image.index.v1+json",
    ),
    Bad(
        "image.no_secrets",
        "/root/.aws/credentials",
        dockerfile="COPY train /root/.aws/credentials",
        scratch=True,
    ),
    Bad(
        "image.no_secrets",
        "/srv/key.pem in layer",
        dockerfile="RUN echo '-----BEGIN PRIVATE KEY-----' >/srv/key.pem",
    ),
    Bad(
        "image.no_secrets",
        "/srv/.netrc in layer",
        dockerfile="RUN echo machine >/srv/.netrc\nRUN rm /srv/.netrc",
    ),
    Bad(
        "image.no_secrets",
        "AWS_SECRET_ACCESS_KEY",
        dockerfile="ENV AWS_SECRET_ACCESS_KEY=x",
        scratch=True,
    ),
    Bad(
        "image.no_secrets",
        "ENV sets INDEX",
        dockerfile="ENV INDEX=https://user:x@localhost/simple",
        scratch=True,
    ),
    Bad(
        "image.no_secrets",
        "/opt/program/tests/.env",
        dockerfile="COPY train /opt/program/tests/.env",
        scratch=True,
    ),
    Bad(
        "image.no_secrets_in_history",
        "shows the value of PYPI_TOKEN",
        dockerfile="ARG PYPI_TOKEN\nRUN true",
        arguments=("PYPI_TOKEN=x",),
    ),
    Bad(
        "image.no_secrets_in_history",
        "shows the value of PYPI_TOKEN",
        dockerfile="ARG A\nARG PYPI_TOKEN\nRUN true",
        arguments=("A=x y=1", "PYPI_TOKEN=x"),
    ),
    Bad(
        "image.no_secrets_in_history",
        "shows the value of INDEX",
        dockerfile="ARG A=x\nARG INDEX=https://user:x@localhost/simple",
        scratch=True,
    ),
    Bad(
        "image.no_secrets_in_history",
        "docker history --no-trunc shows an address with a password",
        dockerfile="RUN : https://user:x@localhost/simple",
    ),
    Bad(
        "image.no_secrets_in_history",
        "what a RUN sets PYPI_TOKEN to",
        dockerfile="RUN PYPI_TOKEN=x true",
    ),
    Bad(
        "image.no_package_caches",
        "2.0 MB in /root/.cache/pip/",
        dockerfile="RUN mkdir -p /root/.cache/pip && head -c 2000000 /dev/zero >/root/.cache/pip/x",
    ),
    # --- training ---
    Bad(
        "training.ends_with_0",
        "exits with 3",
        train=("    train()\n", "    train()\n    sys.exit(3)\n"),
    ),
    Bad("training.leaves_a_model", "is empty", train=("/opt/ml/model/", "/opt/ml/output/data/")),
    Bad(
        "training.model_at_the_root",
        "/opt/ml/model/model",
        train=("    save(means", "    MODEL.parent.mkdir()\n    save(means"),
        dockerfile="RUN sed -i s,/opt/ml/model/,/opt/ml/model/model/, /opt/program/train",
    ),
    Bad(
        "training.fails_without_data",
        "exit code 0",
        train=("    FAILURE.write_text(str(error))\n    sys.exit(1)", "    sys.exit(0)"),
    ),
    Bad(
        "training.failure_file", "no failure file", train=("FAILURE.write_text(str(error))", "pass")
    ),
    Bad(
        "training.failure_file",
        "an empty failure file",
        train=("write_text(str(error))", "write_text(' ' * 1024 + str(error))"),
    ),
    Bad(
        "training.failure_file",
        "Traceback",
        train=("write_text(str(error))", "write_text('Traceback' + str(error))"),
    ),
    Bad(
        "training.fails_without_channel",
        "exit code 0",
        train=(READ, f"    if {NO_CHANNEL}: sys.exit(0)\n{READ}"),
    ),
    Bad(
        "training.fails_without_channel",
        "no failure file",
        train=(READ, f"    if {NO_CHANNEL}: sys.exit(3)\n{READ}"),
    ),
    Bad(
        "training.fails_without_channel",
        "was killed",
        train=(READ, f"    while {NO_CHANNEL}: time.sleep(1)\n{READ}"),
        limits=replace(PATIENT, refusal=2),
    ),
    Bad(
        "training.fails_on_malformed_data",
        "on empty files the job ends with exit code 0",
        train=("        if lines:\n", "        if files:\n"),
    ),
    Bad(
        "training.fails_on_malformed_data",
        "on files of nonsense the job ends with exit code 0",
        train=("path.read_text().splitlines()", "path.read_text(errors='replace').splitlines()"),
        dockerfile=f"RUN sed -i 's/float(cell)/{LENIENT}/' /opt/program/train",
    ),
    Bad(
        "training.fails_on_malformed_data",
        "on a word in a column of numbers the job ends with exit code 0",
        train=("float(cell)", LENIENT),
    ),
    Bad(
        "training.fails_on_malformed_data",
        "on a line cut short the job ends with exit code 0",
        train=("zip(*table, strict=True)", "zip(*table)"),
    ),
    Bad(
        "training.fails_on_malformed_data",
        "on a word in a column of numbers there is no failure file",
        train=(READ, SILENT_ON_WORDS),
    ),
    Bad(
        "training.needs_no_writable_input",
        "Read-only file system",
        train=(READ, f"    (INPUT / 'data' / 'cache').write_text('x')\n{READ}"),
    ),
    Bad(
        "training.hears_sigterm",
        "was killed",
        train=("signal.signal(signal.SIGTERM", "signal.signal(signal.SIGUSR1"),
        limits=Limits(train_stop=1),
    ),
    Bad(
        "training.stops_with_a_model", "no model", train=("            break", "            return")
    ),
    Bad("training.needs_no_root", "denied", dockerfile="RUN chmod 700 /opt/program/train"),
    Bad(
        "training.needs_no_writable_root",
        "Read-only",
        train=(READ, f"{READ}    Path('/srv/scratch').write_text('x')\n"),
        dockerfile="RUN chmod 777 /srv",
    ),
    Bad(
        "training.needs_no_network",
        "no way out",
        train=(
            READ,
            f"{READ}    if os.listdir('/sys/class/net') == ['lo']: raise OSError('no way out')\n",
        ),
    ),
    Bad(
        "training.needs_no_capabilities",
        "denied",
        train=(READ, f"{READ}    Path('/srv/secret').read_text()\n"),
        dockerfile="RUN touch /srv/secret && chmod 600 /srv/secret && chown 12345 /srv/secret",
    ),
    *(
        Bad(
            "training.prints_metrics",
            "the name and the plain number of a metric",
            train=('print(f"epoch={epoch}; train_loss={1 / (epoch + 1)};")', f"print({text})"),
        )
        for text in (
            '"the loss falls"',
            '"train_loss=nan;"',
            'f"train_loss=\\x1b[32m{1 / (epoch + 1)}"',
            'f"epoch={epoch}"',
            '"Python: 3.11"',
        )
    ),
    Bad(
        "training.loses_no_files",
        "1 files are lost at the end, such as /root/results",
        train=(READ, f"{READ}    Path('/root/results').write_text('x')\n"),
    ),
    Bad(
        "training.loses_no_files",
        "such as /opt/ml/results",
        train=(READ, f"{READ}    Path('/opt/ml/results').write_text('x')\n"),
    ),
    Bad(
        "training.loses_no_files",
        "such as /opt/ml/output/results",
        train=(READ, f"{READ}    Path('/opt/ml/output/results').write_text('x')\n"),
    ),
    Bad(
        "training.takes_either_channel",
        "on `training`, The channel",
        train=('("train", "training")', '("train",)'),
    ),
    Bad(
        "training.takes_either_channel",
        "`training` alone",
        train=('("train", "training")', '("training",)'),
    ),
    Bad(
        "training.quoted_hyperparameters",
        "invalid literal",
        train=(""".strip('"')""", ""),
        hyperparameters={"epochs": "2"},
    ),
    Bad(
        "training.added_hyperparameters",
        "unknown sagemaker",
        train=(
            GIVEN,
            f"{GIVEN}    if 'sagemaker_region' in given: raise ValueError('unknown sagemaker')\n",
        ),
    ),
    Bad(
        "training.absent_configuration",
        "without hyperparameters.json: [Errno 2]",
        train=(" if file.exists() else {}", ""),
    ),
    Bad(
        "training.absent_configuration",
        "without resourceconfig.json: [Errno 2]",
        train=(READ, READ + HOSTS),
    ),
    Bad(
        "training.two_hosts",
        "named model.json",
        train=("save(means,", "save([*means, os.uname().nodename],"),
    ),
    Bad(
        "training.two_hosts",
        "algo-1 and algo-2 leave files of different names: algo-1.json is algo-1's alone",
        train=(SAVED, "    save(means, MODEL.with_name(os.uname().nodename + '.json'))\n"),
    ),
    Bad(
        "training.two_hosts",
        "algo-1: Sorry; algo-2: Sorry",
        train=(READ, f"{READ}{HOSTS}    if len(hosts['hosts']) > 1: raise ValueError('Sorry')\n"),
    ),
    Bad(
        "training.two_hosts",
        "was killed",
        train=(READ, f"{READ}{HOSTS}    time.sleep(60 if len(hosts['hosts']) > 1 else 0)\n"),
        limits=Limits(hosts=1),
    ),
    Bad(
        "training.two_hosts",
        "not me",
        train=(SAVED, f"{SAVED}    if os.uname().nodename == 'algo-2': raise OSError('not me')\n"),
    ),
    Bad(
        "training.two_hosts",
        "no host left a model",
        train=(SAVED, "    if not other: save(means, MODEL)\n"),
    ),
    Bad(
        "training.two_hosts",
        "algo-1: Timed out",
        train=(READ, f"{READ}{HOSTS}    if len(hosts['hosts']) > 1: {LATE}"),
    ),
    Bad(
        "training.two_hosts",
        "exits with 3",
        train=("    other = meet()\n", "    other = meet()\n    if other: sys.exit(3)\n"),
    ),
    Bad(
        "training.notices_a_lost_host",
        "still runs 12 s later",
        train=("    if not here:\n", "    while not here: time.sleep(1)\n    if 0:\n"),
        limits=replace(PATIENT, lost_host=12),
    ),
    Bad(
        "training.notices_a_lost_host",
        "algo-2 is killed, and algo-1 still runs",
        train=(
            "    if not here:\n",
            "    while not here:\n        print('waiting')\n        time.sleep(1)\n    if 0:\n",
        ),
        limits=replace(PATIENT, lost_host=6),
    ),
    Bad(
        "training.notices_a_lost_host",
        "algo-1 is killed, and algo-2 still runs",
        train=(
            "    if not here:\n",
            "    while not here and os.uname()[1] == 'algo-2': time.sleep(1)\n    if not here:\n",
        ),
        limits=replace(PATIENT, lost_host=6),
    ),
    Bad(
        "training.notices_a_lost_host",
        "exit code 0",
        train=('raise ValueError("The other', 'sys.exit(0)  # ("The other'),
    ),
    Bad(
        "training.notices_a_lost_host",
        "no failure file",
        train=('raise ValueError("The other', 'sys.exit("The other'),
    ),
    Bad(
        "training.logs_at_once",
        "was silent until",
        train=("time.sleep(0.01)", "time.sleep(0.1)"),
        dockerfile="ENV PYTHONUNBUFFERED=\nRUN sed -i 's/python -u/python/' /opt/program/train",
    ),
    Bad(
        "training.logs_at_once",
        "came at its end",
        train=("time.sleep(0.01)", "time.sleep(1.5)"),
        dockerfile="ENV PYTHONUNBUFFERED=\nRUN sed -i 's/python -u/python/' /opt/program/train",
    ),
    Bad(
        "training.resumes",
        "begins again at epoch 0",
        train=("return max(found, default=0)", "return 0"),
    ),
    Bad("training.resumes", "column", train=('glob("*.json")', 'glob("*")')),
    Bad(
        "training.resumes",
        "column",
        train=('glob("*.json")', 'glob("*")'),
        dockerfile="RUN sed -i 's/            break/            sys.exit(1)/' /opt/program/train",
    ),
    # --- serving ---
    Bad("serving.starts", "exits with 1", serve=("PORT = int(", "PORT = int('x' + ")),
    Bad(
        "serving.starts",
        "does not answer 200",
        serve=("PORT = int(", "PORT = 1 + int("),
        limits=Limits(start=1),
    ),
    Bad(
        "serving.ping_is_empty",
        "has a body",
        serve=(
            '"/ping":\n            self.answer(200',
            '"/ping":\n            self.answer(200, b"OK"',
        ),
    ),
    Bad("serving.ping_is_empty", "HTTP 200 after 3.", serve=(PING, PING_IS_LATE)),
    Bad(
        "serving.serves_its_own_archive",
        "No such file or directory: '/opt/ml/model/best.json'",
        train=(
            SAVED,
            f"{SAVED}    MODEL.with_name('best.json').symlink_to('/opt/ml/checkpoints')\n",
        ),
        serve=(
            '(Path(directory) / "model.json")',
            'min(Path(directory).glob("*.json"))',
        ),
    ),
    Bad(
        "serving.serves_its_own_archive",
        "HTTP 500",
        train=(
            SAVED,
            f"{SAVED}    MODEL.with_name('best.json').symlink_to('/opt/ml/checkpoints')\n",
        ),
        serve=(
            BODY,
            f"{BODY}        if len(os.listdir('/opt/ml/model')) > 1: return self.answer(500)\n",
        ),
    ),
    Bad("serving.scores", "HTTP 500", serve=("self.answer(200, score", "self.answer(500, score")),
    Bad(
        "serving.scores",
        "no reply: TimeoutError",
        serve=(SCORED, f"    threading.Event().wait(4 if scores else 0)\n{SCORED}"),
        limits=replace(PATIENT, reply=2),
    ),
    Bad(
        "serving.unknown_paths_are_404",
        "HTTP 200",
        serve=("else:\n            self.answer(404", "else:\n            self.answer(200"),
    ),
    Bad(
        "serving.binds_to_the_given_port",
        "21000",
        serve=("SAGEMAKER_BIND_TO_PORT", "SOME_PORT"),
        limits=Limits(start=15),
    ),
    Bad(
        "serving.opens_a_stream",
        "answers HTTP 404",
        dockerfile="LABEL com.amazonaws.sagemaker.capabilities.bidirectional-streaming=true",
    ),
    Bad(
        "serving.ends_on_sigterm",
        "still runs",
        serve=("signal.signal(signal.SIGTERM", "signal.signal(signal.SIGUSR1"),
        limits=Limits(serve_stop=1),
    ),
    Bad(
        "serving.ends_on_sigterm",
        "waits for an idle connection",
        serve=("connection.shutdown(socket.SHUT_RD)", "pass"),
        limits=replace(PATIENT, serve_stop=5),
    ),
    Bad(
        "serving.media_type_forms",
        "charset",
        serve=('"text/csv").partition(";")[0].strip().lower()\n', '"text/csv").lower()\n'),
    ),
    Bad(
        "serving.media_type_forms",
        "TEXT/CSV",
        serve=('"text/csv").partition(";")[0].strip().lower()\n', '"text/csv").split(";")[0]\n'),
    ),
    Bad(
        "serving.media_type_forms",
        "without Content-Type",
        serve=(
            BODY,
            f"{BODY}        if 'Content-Type' not in self.headers: return self.answer(500)\n",
        ),
    ),
    Bad(
        "serving.errors_say_why",
        "nonsense is answered with a traceback",
        serve=("str(error).encode()", TRACEBACK),
    ),
    Bad("serving.errors_say_why", "HTTP 500", serve=("self.answer(400,", "self.answer(500,")),
    Bad("serving.errors_say_why", "is empty", serve=("str(error).encode()", "b''")),
    Bad(
        "serving.unknown_types_are_refused",
        "no-such-type is answered with HTTP 200",
        serve=('if kind != "text/csv"', 'if kind == ""'),
    ),
    Bad(
        "serving.unknown_types_are_refused",
        "no-such-type is answered with a traceback",
        serve=('b"The content type is not known', 'b"Traceback (most recent call last)'),
    ),
    Bad(
        "serving.empty_bodies_do_no_harm",
        "HTTP 500",
        serve=(BODY, f"{BODY}        if not body: return self.answer(500)\n"),
    ),
    Bad(
        "serving.empty_bodies_do_no_harm",
        "an empty body is answered with a traceback: HTTP 200",
        serve=(BODY, f"{BODY}        if not body: return self.answer(200, {TRACEBACK})\n"),
    ),
    Bad(
        "serving.other_methods_are_refused",
        "HTTP 500",
        serve=("self.answer(405", "self.answer(500"),
    ),
    Bad(
        "serving.other_methods_are_refused",
        "GET /invocations is answered with a traceback: HTTP 405",
        serve=('b"Expected POST."', TRACEBACK),
    ),
    Bad(
        "serving.chunked_bodies",
        "HTTP 411",
        serve=(
            BODY,
            f"{BODY}        if 'Content-Length' not in self.headers: return self.answer(411)\n",
        ),
    ),
    Bad(
        "serving.chunked_bodies",
        "but an ordinary request: HTTP 200",
        serve=('return b"".join(chunks)', "return chunks[0]"),
        dockerfile=WITH_AN_ID,
    ),
    Bad(
        "serving.expect_continue",
        "before the body: HTTP 417",
        serve=("    def body(self)", f"{EXPECT}        self.answer(417)\n    def body(self)"),
    ),
    Bad(
        "serving.expect_continue",
        "HTTP 200",
        serve=(
            "    def body(self)",
            f"{EXPECT}        self.headers.replace_header('Content-Length', '0')\n{EXPECT_ON}",
        ),
    ),
    Bad(
        "serving.sagemaker_headers",
        "HTTP 400",
        serve=(
            BODY,
            f"{BODY}        if 'X-No-One-Knows' in self.headers: return self.answer(400)\n",
        ),
    ),
    Bad(
        "serving.any_host",
        "169.254",
        serve=(
            '"/ping":\n            self.answer(200',
            '"/ping":\n            self.answer(400 if "169." in self.headers["Host"] else 200',
        ),
    ),
    Bad(
        "serving.connections",
        "used before",
        serve=(
            BODY,
            f"{BODY}        if vars(self).setdefault('one', body) is not body: self.answer(500)\n",
        ),
    ),
    Bad(
        "serving.large_bodies",
        "6 MB",
        serve=(BODY, f"{BODY}        if len(body) > 5_000_000: return self.answer(413)\n"),
    ),
    Bad(
        "serving.large_bodies",
        "25 MB",
        serve=(BODY, f"{BODY}        if len(body) > 7_000_000: return self.answer(413)\n"),
    ),
    Bad(
        "serving.large_bodies",
        "6 MB get no reply: TimeoutError",
        serve=(BODY, f"{BODY}        if len(body) > 5_000_000: threading.Event().wait(4)\n"),
        limits=replace(PATIENT, reply=2),
    ),
    Bad(
        "serving.pings_while_busy",
        "are scored",
        serve=(PING, PING_WAITS.format(names="score <genexpr>", threads=1)),
    ),
    Bad("serving.pings_while_busy", "of four clients get HTTP 503", serve=(BODY, TWO_LARGE)),
    Bad(
        "serving.pings_past_stalled_clients",
        "clients stall",
        serve=(PING, PING_WAITS.format(names="readinto", threads=10)),
    ),
    Bad(
        "serving.simultaneous_requests",
        "HTTP 503",
        serve=(BODY, f"{BODY}        if threading.active_count() > 24: return self.answer(503)\n"),
    ),
    Bad(
        "serving.answers_before_it_ends",
        "not answered",
        serve=("server.server_close()\nsys.exit(0)", "os._exit(0)"),
    ),
    Bad(
        "serving.answers_before_it_ends",
        "not answered",
        serve=("threading.Thread(target=server.shutdown).start()", "os._exit(0)"),
    ),
    Bad(
        "serving.answers_before_it_ends",
        "not answered",
        serve=("daemon_threads = False", "daemon_threads = True"),
    ),
    Bad(
        "serving.answers_before_it_ends",
        "of 4 are not answered: HTTP 503",
        serve=(
            "    threading.Thread(target=server.shutdown)",
            "    threading.ending = True\n    threading.Thread(target=server.shutdown)",
        ),
        dockerfile=GIVES_UP,
    ),
    Bad(
        "serving.answers_before_it_ends",
        "all are answered, and it still runs",
        serve=("server.serve_forever()\n", STUCK),
        limits=replace(PATIENT, serve_stop=5),
    ),
    Bad(
        "serving.writes_only_to_tmp",
        "/srv/last",
        serve=(
            BODY,
            f"{BODY}        if os.access('/srv', os.W_OK): Path('/srv/last').write_bytes(body)\n",
        ),
    ),
    Bad(
        "serving.memory_stays_flat",
        "requests later",
        serve=(BODY, f"{BODY}        vars(threading).setdefault('x', []).append(b'x' * 100_000)\n"),
    ),
    Bad("serving.needs_no_root", "denied", dockerfile="RUN chmod 700 /opt/program/serve"),
    Bad(
        "serving.needs_no_writable_root",
        "Read-only",
        serve=(LISTENS, f"if not os.access('/srv', os.W_OK): sys.exit('Read-only')\n{LISTENS}"),
        dockerfile="RUN chmod 777 /srv",
    ),
    Bad(
        "serving.needs_no_writable_root",
        "the payload gets HTTP 500",
        serve=(
            BODY,
            f"{BODY}        if not os.access('/srv', os.W_OK): return self.answer(500)\n",
        ),
        dockerfile="RUN chmod 777 /srv",
    ),
    Bad(
        "serving.needs_no_network",
        "no way out",
        serve=(LISTENS, WITH_A_WAY_OUT),
    ),
    Bad(
        "serving.needs_no_capabilities",
        "denied",
        serve=(LISTENS, f"Path('/srv/secret').read_text()\n{LISTENS}"),
        dockerfile="RUN touch /srv/secret && chmod 600 /srv/secret && chown 12345 /srv/secret",
    ),
    # --- batch ---
    Bad(
        "batch.starts",
        "exits with 1",
        serve=(LISTENS, f"if 'SAGEMAKER_BATCH' in os.environ: sys.exit('no batch')\n{LISTENS}"),
    ),
    Bad(
        "batch.execution_parameters",
        '"MaxPayloadInMB": 60',
        serve=('"MaxPayloadInMB": 6', '"MaxPayloadInMB": 60'),
    ),
    Bad("batch.execution_parameters", "MultiRecord", serve=("MULTI_RECORD", "MultiRecord")),
    Bad(
        "batch.one_line_for_each",
        "answered with 1",
        serve=('"".join(f"{value}\\n" for value in scores)', 'f"{scores}\\n"'),
    ),
    Bad(
        "batch.one_line_for_each",
        "HTTP 500",
        serve=(
            BODY,
            f"{BODY}        if 'SAGEMAKER_BATCH' in os.environ: return self.answer(500)\n",
        ),
    ),
    Bad(
        "batch.last_line_without_end",
        "with a newline",
        serve=("body.decode().splitlines()", 'body.decode().split("\\n")[:-1]'),
        dockerfile=WITH_AN_ID,
    ),
    Bad(
        "batch.reply_ends_with_a_newline",
        "it ends with",
        serve=('"".join(f"{value}\\n" for', '"\\n".join(f"{value}" for'),
    ),
    Bad(
        "batch.reply_of_the_same_type",
        "text/plain",
        serve=('content_type: str = "text/csv"', 'content_type: str = "text/plain"'),
    ),
    # --- multi_model ---
    Bad("multi_model.starts", "exits with 1", serve=(LISTENS, f"if MULTI_MODEL: 1 / 0\n{LISTENS}")),
    Bad(
        "multi_model.loads_a_model",
        "HTTP 500",
        serve=(
            '        if asked["model_name"] in models:',
            """        if asked["model_name"] == "loads":
            self.answer(500)
        elif asked["model_name"] in models:""",
        ),
    ),
    Bad(
        "multi_model.lists_what_is_loaded",
        "/models/listed: HTTP 500",
        serve=(
            'self.document(200, {"modelName": name',
            'self.document(500 if name == "listed" else 200, {"modelName": name',
        ),
    ),
    Bad(
        "multi_model.unloads_a_model",
        "HTTP 500",
        serve=(
            "self.answer(200 if found else 404)",
            "self.answer(500 if 'unloads' in self.path else 200 if found else 404)",
        ),
    ),
    Bad("multi_model.lists_what_is_loaded", "HTTP 200", serve=('"modelUrl": url', '"url": url')),
    Bad(
        "multi_model.scores_with_a_loaded_model",
        "HTTP 500",
        serve=("self.invoke(models[name][1])", "self.answer(500)"),
    ),
    Bad(
        "multi_model.unloads_a_model",
        "still there",
        serve=("models.pop(", "models.get("),
    ),
    Bad(
        "multi_model.lists_by_page",
        "next_page_token=2: HTTP 404",
        serve=('{"models": listed}', '{"models": listed, "nextPageToken": "2"}'),
    ),
    Bad(
        "multi_model.lists_by_page",
        "listed 0 times",
        serve=('{"models": listed}', '{"models": listed[:1]}'),
    ),
    Bad(
        "multi_model.lists_by_page",
        "still a nextPageToken",
        serve=(
            '        name = self.path.removeprefix("/models/")\n        if',
            FIRST_PAGE_AGAIN,
        ),
        dockerfile="""RUN sed -i 's/{"models": listed}/{"models": listed, "nextPageToken": "2"}/' \\
            /opt/program/serve""",
    ),
    Bad(
        "multi_model.loads_a_model_again",
        "after DELETE",
        serve=(
            '        if asked["model_name"] in models:',
            ONCE_FOR_ALL,
        ),
    ),
    Bad(
        "multi_model.loads_a_model_again",
        "loaded again",
        serve=(LOADED, LOADED_OTHERWISE),
        dockerfile=WITH_AN_ID,
    ),
    Bad("multi_model.loads_a_model", "second time", serve=("self.answer(409)", "self.answer(200)")),
    Bad("multi_model.full_memory_is_507", "no reply", serve=("MOST_BYTES = 32", "MOST_BYTES = 99")),
    Bad("multi_model.full_memory_is_507", "HTTP 503", serve=("answer(507)", "answer(503)")),
    Bad(
        "multi_model.full_memory_is_507",
        "after 507",
        serve=(
            "self.answer(507)\n",
            "models.update(small=('', []))\n            self.answer(507)\n",
        ),
    ),
    Bad("multi_model.unknown_models_are_404", "HTTP 200", serve=("200 if found else 404", "200")),
]
