"""Each rule, held against an image that keeps it and against one that breaks it alone."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from contextlib import closing
from dataclasses import replace
from http.client import BadStatusLine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from conformance.check import check, rules
from conformance.engine import Engine, EngineError
from conformance.finding import BlockedError, Outcome
from conformance.given import Given
from conformance.log import metrics
from conformance.rule import Rule, judge
from conformance.run import Run
from conformance.server import Payload, enlarge

from tests.conformance.bad import (
    BAD,
    BODY,
    HOSTS,
    ONLY_TRAIN,
    PATIENT,
    READ,
    SCORED,
    SENT,
    SENT_SLOWLY,
    Bad,
)
from tests.conformance.conftest import engine_that_keeps, find
from tests.conftest import PROJECT
from tests.engine import docker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BY_KEY = {rule.key: rule for rule in rules()}

TRAIN = "/opt/program/train"
TESTS = "/usr/local/lib/python3.11/site-packages/x/tests"
KEY = "-----BEGIN PRIVATE KEY-----"

#: A run over the good image cannot try these, and why.
NOT_TRIED = {
    "image.entry_point_form": "it has no entry point",
    "serving.opens_a_stream": "it does not claim to",
}


def neighbours(key: str) -> list[Rule]:
    """Return a rule, and those that look at the same thing: they cost nothing more."""
    thing = BY_KEY[key].observes
    return [rule for rule in rules() if rule.key == key or (thing and rule.observes == thing)]


def name(bad: Bad) -> str:
    """Name a test after its rule."""
    return f"{bad.rule}: {bad.says}"


def run_of_nothing() -> Run:
    """Return a run that has not looked at anything, and over no image."""
    return Run(Engine("image"), Given("image"))


def test_every_rule_has_a_bad_image() -> None:
    """A check that never fails on anything proves nothing."""
    assert set(BY_KEY) == {bad.rule for bad in BAD}


def test_every_rule_says_what_it_asks_for() -> None:
    """A name of its own, a sentence, a row of the contract, and a thing that a run has."""
    assert [] == [key for key, times in Counter(rule.key for rule in rules()).items() if times > 1]
    assert [] == [rule.key for rule in rules() if not rule.sentence.endswith(".")]
    assert [] == [rule.key for rule in rules() if not rule.numbers]
    assert [] == [rule.key for rule in rules() if rule.observes and not hasattr(Run, rule.observes)]


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("|2 A=x y=1 TOKEN=s /bin/sh -c pip install x", Outcome.FAILED),
        ("RUN |2 A=-I /usr/include TOKEN=s /bin/bash -o pipefail -c make", Outcome.FAILED),
        ("RUN |1 TOKEN=s python -m pip install x", Outcome.FAILED),
        ("RUN |1 A=x y /bin/sh -c TOKEN=$(cat /run/secrets/token) make", Outcome.PASSED),
        ("RUN |1 A=x /usr/bin/env bash -c TOKEN=$(cat /run/secrets/token) make", Outcome.PASSED),
        ("|0 /bin/sh -c TOKEN=$(cat /run/secrets/token) make", Outcome.PASSED),
        ('|0 /bin/sh -c TOKEN="$(cat /run/secrets/token)" make', Outcome.PASSED),
        ("/bin/sh -c SECRET_KEY=none python manage.py collectstatic", Outcome.WARNED),
        ("RUN |1 A=x /bin/sh -c export HF_TOKEN='abc' && make # buildkit", Outcome.WARNED),
        ("/bin/sh -c pip install -i https://me:word@localhost/simple x", Outcome.FAILED),
        ("ADD https://me:word@localhost/x.tar.gz / # buildkit", Outcome.FAILED),
        ("/bin/sh -c pip install -i https://me:$(cat /run/secrets/x)@localhost x", Outcome.PASSED),
        (f"RUN /bin/sh -c huggingface-cli login --token hf_{'x' * 34}", Outcome.FAILED),
        ("/bin/sh -c pip install -i https://${TOKEN:-none}@localhost x", Outcome.PASSED),
        ("/bin/sh -c pip install secret==1.0", Outcome.PASSED),
        (f"|1 GH_PAT=ghp_{'x' * 36} /bin/sh -c make", Outcome.FAILED),
        (f"|1 A=x /bin/sh -c git clone https://ghp_{'x' * 36}@github.com/a/b", Outcome.FAILED),
        ("/bin/sh -c #(nop)  ENV INDEX=https://me:word@localhost/simple", Outcome.PASSED),
    ],
)
def test_what_the_history_shows(line: str, outcome: Outcome) -> None:
    """Arguments, which end where the shell begins, and what it is told; `no_secrets` has ENV."""
    run = run_of_nothing()
    run.made["image"] = SimpleNamespace(history=[line])

    finding = judge(BY_KEY["image.no_secrets_in_history"], run).finding

    assert outcome is finding.outcome
    assert [] == [secret for secret in ("word", "xxx", "abc") if secret in finding.observed.split()]


@pytest.mark.parametrize(
    ("entry_point", "outcome"),
    [
        (["/bin/sh", "-c", "exec train"], Outcome.FAILED),
        (["/bin/bash", "-o", "pipefail", "-c", "train"], Outcome.FAILED),
        (["bash", "-lc", "train"], Outcome.FAILED),
        (["bash", "/entry.sh", "-c", "/etc/app.conf"], Outcome.PASSED),
        (["python", "-c", "print()"], Outcome.PASSED),
        (["bash", "-c"], Outcome.PASSED),
    ],
)
def test_a_shell_that_is_given_a_text_is_no_exec_form(
    entry_point: list[str], outcome: Outcome
) -> None:
    """Whatever SHELL wrote it; a script with options of its own is one."""
    run = run_of_nothing()
    run.made["image"] = SimpleNamespace(entry_point=entry_point)

    assert outcome is judge(BY_KEY["image.entry_point_form"], run).finding.outcome


@pytest.mark.parametrize(
    ("error", "outcome", "says"),
    [
        (ConnectionResetError("gone"), Outcome.FAILED, "no reply: ConnectionResetError: gone"),
        (TimeoutError("slow"), Outcome.FAILED, "no reply: TimeoutError: slow"),
        (BadStatusLine("x"), Outcome.FAILED, "no reply: BadStatusLine: x"),
        (EngineError("docker cp exits with 1"), Outcome.ERROR, "docker cp exits with 1"),
        (OSError(28, "No space left"), Outcome.ERROR, "No space left"),
        (KeyError("name"), Outcome.ERROR, "KeyError('name') at line"),
        (BlockedError("no model"), Outcome.NOT_APPLICABLE, "no model"),
    ],
)
def test_only_what_the_image_does_is_its_fault(
    error: Exception, outcome: Outcome, says: str
) -> None:
    """Neither is Docker's trouble, nor this machine's; and no rule ends the run for the others."""

    def look(_: Run) -> NoReturn:
        raise error

    rule = Rule("area", "rule", ("H1",), "A sentence.", "", "", look)
    finding = judge(rule, run_of_nothing()).finding

    assert outcome is finding.outcome
    assert says in finding.observed


def test_an_engine_elsewhere_is_no_fault_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ports are not this machine's, so nothing is learnt of what listens there."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://build.example:2375")
    run = run_of_nothing()
    run.made["serves"] = True
    finding = judge(BY_KEY["serving.starts"], run).finding

    assert Outcome.ERROR is finding.outcome
    assert "Docker's engine is at tcp://build.example:2375" in finding.observed


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("train_loss=0.25; epoch=3;", ["train_loss=0.25"]),
        ("{'loss': 0.5, 'epoch': 1.0}", ["loss': 0.5"]),
        ('{"eval_loss": 0.25}', ['eval_loss": 0.25']),
        ("Python: 3.11", []),
    ],
)
def test_a_metric_has_a_name_and_a_number(line: str, found: list[str]) -> None:
    """As a regular expression of CloudWatch's finds them, in JSON and in Python's dicts too."""
    assert found == metrics(line)


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b"[[1, 2], [3, 4]]", lambda content: content),
        (b'{"instances": [{"features": [1, 2]}], "x": 1}', lambda content: content["instances"]),
        (b"[1, 2]", lambda content: [content]),
        (b"{}", lambda content: [content]),
    ],
)
def test_a_large_document_has_many_rows(body: bytes, rows: Callable[[Any], list[Any]]) -> None:
    """Where it is known what a row is; blanks fill the rest."""
    payload = enlarge(Payload(body, "application/json"), 10_000)
    assert payload
    content, few = json.loads(payload.body), rows(json.loads(body))

    assert 10_000 == len(payload.body)
    assert {repr(row) for row in few} == {repr(row) for row in rows(content)}
    assert len(rows(content)) > 100 or few == [json.loads(body)]


@pytest.mark.docker
@pytest.mark.parametrize("bad", BAD, ids=name)
def test_a_bad_image_is_caught_by_its_rule_alone(
    bad: Bad, bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """What broke is named, with a cure, and nothing else is."""
    image = bad_image(bad)
    with engine_that_keeps(bad.media_type):
        found = find(image, channel, neighbours(bad.rule), bad.limits, bad.hyperparameters)
    broken = {
        key: finding
        for key, finding in found.items()
        if finding.outcome in {Outcome.FAILED, Outcome.WARNED}
    }

    assert [bad.rule] == list(broken), found
    assert bad.says in broken[bad.rule].observed
    assert broken[bad.rule].cure


@pytest.mark.docker
def test_the_good_image_keeps_every_rule(good_image: str, channel: Path) -> None:
    """Not by being passed over: each rule is tried."""
    with engine_that_keeps("application/vnd.docker.distribution.manifest.v2+json"):
        found = find(good_image, channel, rules(), hyperparameters={"epochs": "2"})
    rest = {key: one for key, one in found.items() if one.outcome is not Outcome.PASSED}

    assert set(NOT_TRIED) == set(rest), rest
    assert {Outcome.NOT_APPLICABLE} == {finding.outcome for finding in rest.values()}


@pytest.mark.docker
def test_a_job_that_starts_slowly_is_not_stopped_before_it_trains(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """It has no model then, which is no fault of the image's: here only the endless job is slow."""
    slow = "    if setting('epochs', '2') != '2':\n        time.sleep(1)\n"
    early = "    if stopped:\n        sys.exit(0)\n"
    image = bad_image(Bad("", "", train=(READ, slow + early + READ)))
    found = find(image, channel, [rule for rule in rules() if rule.observes == "stopped"])

    assert {Outcome.PASSED} == {finding.outcome for finding in found.values()}, found


@pytest.mark.docker
@pytest.mark.parametrize(
    ("endless", "says"),
    [({}, "may not have heard the signal"), ({"unknown": "1"}, "before it could be stopped")],
)
def test_a_job_that_ends_anyhow_is_not_said_to_have_heard_a_signal(
    bad_image: Callable[[Bad], str], channel: Path, endless: dict[str, str], says: str
) -> None:
    """It ignores SIGTERM, and is done soon after; nor is it said to have saved what it had."""
    deaf = "RUN sed -i s/signal.SIGTERM,/signal.SIGUSR1,/ /opt/program/train"
    image = bad_image(Bad("", "", train=("time.sleep(0.01)", "time.sleep(1)"), dockerfile=deaf))
    keys = ["training.hears_sigterm", "training.stops_with_a_model"]
    found = find(image, channel, [BY_KEY[key] for key in keys], endless=endless)

    assert {Outcome.NOT_APPLICABLE} == {finding.outcome for finding in found.values()}, found
    assert says in found[keys[0]].observed
    assert "--endless epochs=1000000" in found[keys[0]].observed


@pytest.mark.docker
def test_a_job_that_ends_much_sooner_than_another_has_heard_the_signal(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """Though nobody says how to make it endless: fifteen seconds are long enough."""
    image = bad_image(Bad("", "", train=("time.sleep(0.01)", "time.sleep(1)")))
    key = "training.hears_sigterm"
    found = find(image, channel, [BY_KEY[key]], hyperparameters={"epochs": "15"}, endless={})

    assert Outcome.PASSED is found[key].outcome, found


@pytest.mark.docker
def test_a_host_that_trains_on_alone_needs_no_other(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """Its log counts on when the other one is gone, so there was nothing to notice."""
    image = bad_image(Bad("", "", train=("other = meet()", "other = None")))
    key = "training.notices_a_lost_host"
    found = find(image, channel, [BY_KEY[key]])

    assert Outcome.NOT_APPLICABLE is found[key].outcome, found
    assert "trains on without the other" in found[key].observed


@pytest.mark.docker
def test_two_hosts_may_be_refused(bad_image: Callable[[Bad], str], channel: Path) -> None:
    """With a sentence that says that one will do."""
    refuse = "raise ValueError('instance_count is 2; this program trains on one host')"
    image = bad_image(
        Bad("", "", train=(READ, f"{READ}{HOSTS}    if len(hosts['hosts']) > 1: {refuse}\n"))
    )
    key = "training.two_hosts"
    found = find(image, channel, [BY_KEY[key]])

    assert Outcome.NOT_APPLICABLE is found[key].outcome, found
    assert "it refuses a job of two hosts" in found[key].observed


@pytest.mark.docker
@pytest.mark.parametrize(
    ("key", "bad"),
    [
        (
            "image.unix_line_ends",
            Bad("", "", train=("-u\n", "-u\r\n"), dockerfile=f"RUN sed -i 's/\\r$//' {TRAIN}"),
        ),
        (
            "image.unix_line_ends",
            Bad("", "", train=("-u\n", "-u\r\n"), dockerfile="RUN rm -r /opt/program"),
        ),
        (
            "image.no_secrets",
            Bad("", "", dockerfile=f"RUN mkdir -p {TESTS} && echo '{KEY}' >{TESTS}/key.pem"),
        ),
        (
            "image.exec_format",
            Bad("", "", dockerfile=f"RUN mv {TRAIN} /srv && ln -s /srv/train {TRAIN}"),
        ),
        ("image.programs", Bad("", "", dockerfile=ONLY_TRAIN)),
    ],
    ids=["mended later", "removed later", "a library's test", "a link", "an entry point"],
)
def test_what_looks_like_a_fault_and_is_none(
    bad_image: Callable[[Bad], str], channel: Path, key: str, bad: Bad
) -> None:
    """The rule looks at what is run, and knows what libraries bring."""
    found = find(bad_image(bad), channel, [BY_KEY[key]])

    assert Outcome.PASSED is found[key].outcome, found


@pytest.mark.docker
def test_an_entry_point_is_asked_what_it_can_do(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """One that knows `train` alone is no failing server."""
    image = bad_image(Bad("", "", dockerfile=ONLY_TRAIN))
    keys = ["image.programs", "training.ends_with_0", "serving.starts"]
    found = find(image, channel, [BY_KEY[key] for key in keys])

    assert "knows train" in found[keys[0]].observed
    assert Outcome.PASSED is found[keys[1]].outcome, found
    assert Outcome.NOT_APPLICABLE is found[keys[2]].outcome, found


@pytest.mark.docker
def test_a_log_without_epochs_does_not_say_whether_a_job_goes_on(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """The report says so: what passes is not explained."""
    key = "training.resumes"
    image = bad_image(Bad("", "", train=("epoch={epoch}; ", "")))
    found = find(image, channel, [BY_KEY[key]])

    assert Outcome.NOT_APPLICABLE is found[key].outcome, found
    assert "counts no epochs" in found[key].observed


@pytest.mark.docker
@pytest.mark.parametrize(
    ("most", "says"),
    [(2_200_000, "2 MB are scored"), (1_000_000, "12 bytes as given (2 MB get HTTP 413)")],
)
def test_a_limit_of_bodies_is_not_taken_for_a_lost_request(
    bad_image: Callable[[Bad], str], channel: Path, most: int, says: str
) -> None:
    """A quick server that refuses larger bodies loses nothing when it is stopped."""
    quick = f"self.answer(413 if len(body) > {most} else 200, b'1\\n')"
    limit = f"{BODY}        {quick}\n        return\n"
    key = "serving.answers_before_it_ends"
    found = find(bad_image(Bad("", "", serve=(BODY, limit))), channel, [BY_KEY[key]])

    assert Outcome.NOT_APPLICABLE is found[key].outcome, found
    assert says in found[key].observed


@pytest.mark.docker
def test_a_model_that_is_given_is_served_from_its_archive(good_image: str, tmp_path: Path) -> None:
    """As one that the image's own job leaves, where no job is run."""
    (tmp_path / "model.json").write_text("[0.5, 1.5]", "utf-8")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "model.json", "./model.json")
    model = (tmp_path / "model.tar.gz").read_bytes()
    given = Given(good_image, model=model, payload=Payload(b"1,2\n", "text/csv"), limits=PATIENT)
    (verdict,) = check(given, [BY_KEY["serving.serves_its_own_archive"]])

    assert Outcome.PASSED is verdict.finding.outcome, verdict.finding
    assert f"an archive of {len(model)} bytes, HTTP 200" in verdict.finding.observed


@pytest.mark.docker
def test_a_stream_that_is_opened_is_what_the_label_claims(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """HTTP 101, and the connection is a WebSocket from then on."""
    route = 'elif self.path == "/execution-parameters"'
    opens = f'elif self.path.endswith("stream"):\n            self.answer(101)\n        {route}'
    label = "LABEL com.amazonaws.sagemaker.capabilities.bidirectional-streaming=true"
    key = "serving.opens_a_stream"
    image = bad_image(Bad("", "", serve=(route, opens), dockerfile=label))
    found = find(image, channel, [BY_KEY[key]])

    assert Outcome.PASSED is found[key].outcome, found


@pytest.mark.docker
def test_a_model_that_takes_its_time_is_not_asked_too_much(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """Milliseconds a row are no fault: large bodies are late, and no other rule suffers by it."""
    slow = "        for _ in body.splitlines(): threading.Event().wait(0.002)\n"
    image = bad_image(Bad("", "", serve=(BODY, BODY + slow)))
    keys = [rule.key for rule in rules("serve") if rule.area == "serving"]
    late = "serving.large_bodies"
    found = find(image, channel, [BY_KEY[key] for key in keys], replace(PATIENT, reply=20))
    bad = {key: one for key, one in found.items() if one.outcome in {Outcome.FAILED, Outcome.ERROR}}

    assert [late] == list(bad), bad
    assert "6 MB get no reply: TimeoutError" in bad[late].observed


@pytest.mark.docker
def test_a_body_that_was_made_wrong_is_no_limit_of_its_size(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """Such as a document that has one sample, and many of it when it is made larger."""
    one = f"{BODY}        if body.count(b'\\n') > 2: return self.answer(400, b'one row')\n"
    key = "serving.large_bodies"
    found = find(bad_image(Bad("", "", serve=(BODY, one))), channel, [BY_KEY[key]])

    assert Outcome.NOT_APPLICABLE is found[key].outcome, found
    assert "6 MB made of the given body are refused: HTTP 400" in found[key].observed


@pytest.mark.docker
def test_a_server_that_lacks_a_model_is_not_tried(good_image: str) -> None:
    """Where none was given, and no job is run: the report says what to give."""
    given = Given(good_image, payload=Payload(b"1,2\n", "text/csv"), limits=PATIENT)
    (verdict,) = check(given, [BY_KEY["serving.starts"]])

    assert Outcome.NOT_APPLICABLE is verdict.finding.outcome, verdict.finding
    assert "there is no model; give --train or --model" in verdict.finding.observed


@pytest.mark.docker
def test_a_reply_that_trickles_in_is_too_late(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """Though no client waits long for any of its bytes: the service counts them all."""
    key = "serving.scores"
    image = bad_image(Bad("", "", serve=(SENT, SENT_SLOWLY)))
    found = find(image, channel, [BY_KEY[key]], replace(PATIENT, reply=2))

    assert Outcome.FAILED is found[key].outcome, found
    assert "HTTP 200 after" in found[key].observed


@pytest.mark.docker
def test_few_requests_say_nothing_of_the_memory(
    bad_image: Callable[[Bad], str], channel: Path
) -> None:
    """A server that takes its time is not tried for a minute, nor passed unseen."""
    slow = f"    threading.Event().wait(0.1)\n{SCORED}"
    key = "serving.memory_stays_flat"
    limits = replace(PATIENT, often=1)
    found = find(bad_image(Bad("", "", serve=(SCORED, slow))), channel, [BY_KEY[key]], limits)

    assert Outcome.NOT_APPLICABLE is found[key].outcome, found
    assert "too few to tell" in found[key].observed


@pytest.mark.docker
@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("serving.starts", ("PORT = int(", "PORT = int('x' + ")),
        ("serving.scores", ("self.answer(200, score", "self.answer(500, score")),
    ],
)
def test_a_server_that_fails_on_any_model_is_no_fault_of_its_archive(
    bad_image: Callable[[Bad], str], channel: Path, rule: str, change: tuple[str, str]
) -> None:
    """One failure with one cure: links in the archive have nothing to do with it."""
    key = "serving.serves_its_own_archive"
    image = bad_image(Bad("", "", serve=change))
    found = find(image, channel, [BY_KEY[rule], BY_KEY[key]])

    assert Outcome.FAILED is found[rule].outcome, found
    assert Outcome.NOT_APPLICABLE is found[key].outcome, found


@pytest.mark.docker
def test_no_host_outlives_its_rule(bad_image: Callable[[Bad], str], channel: Path) -> None:
    """Though the first host of the long job has ended by itself, and the second would not."""
    alone = "sys.exit(0) if os.uname().nodename == 'algo-1' else time.sleep(600)"
    long = f"    if setting('epochs', '2') != '2':\n        {alone}\n"
    image = bad_image(Bad("", "", train=(READ, long + READ)))
    given = Given(image, channel, endless={"epochs": "1000000"}, limits=PATIENT)
    verdicts = check(given, [BY_KEY["training.notices_a_lost_host"]])
    with closing(verdicts):  # type: ignore[type-var]
        finding = next(verdicts).finding
        left = docker("ps", "--quiet", "--filter", f"label=conformance.image={image}")

    assert Outcome.NOT_APPLICABLE is finding.outcome, finding
    assert "ended before" in finding.observed
    assert "" == left


def test_every_rule_is_one_of_the_contract() -> None:
    """A number in a report leads to a row of docs/contract.md or docs/troubleshooting.md."""
    texts = [
        (PROJECT / "docs" / name).read_text("utf-8")
        for name in ("contract.md", "troubleshooting.md")
    ]
    rows = {
        row for text in texts for row in re.findall(r"^\| ([TLHBFIX]\d+) \|", text, re.MULTILINE)
    }

    assert set() == {number for rule in rules() for number in rule.numbers} - rows
