"""The command line: `check.sh` runs this."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.check import AREAS, check, rules
from conformance.engine import EngineError
from conformance.finding import Outcome
from conformance.given import Given
from conformance.report import Terminal, as_json, as_junit
from conformance.server import Payload

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

    from conformance.rule import Verdict

_FAILURES, _NOT_RUN = 1, 3

_EXIT_CODES = """\
The exit code is 0 if no rule failed, 1 if one did, 2 for wrong arguments, 3 if no run was possible,
or not of each rule.

  check.sh IMAGE --train DIR --payload rows.csv --content-type text/csv
  check.sh IMAGE --only serve --model model.tar.gz --payload row.json \\
    --content-type application/json"""


def main() -> int:
    """Check the image that the command line names; return the exit code."""
    parser = _parser()
    given = _given(parser, arguments := parser.parse_args())
    subjects = rules(given.only)
    terminal = Terminal(sys.stdout, len(subjects))
    began = time.monotonic()
    verdicts = []
    left: list[str] = []
    try:
        _hear_signals()
        found = check(given, subjects, terminal.trying, left.append)
        with closing(found):  # type: ignore[type-var]
            for verdict in found:
                terminal.show(verdict)
                verdicts.append(verdict)
        terminal.end(verdicts, time.monotonic() - began)
    except EngineError as error:
        sys.stderr.write(f"check.sh: {error}\n")
        return _NOT_RUN
    except KeyboardInterrupt:
        rest = "" if left else "; nothing of it is left in Docker"
        sys.stderr.write(f"\ncheck.sh: stopped{rest}.\n")
        return _NOT_RUN
    except BrokenPipeError:  # `check.sh IMAGE | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOT_RUN
    finally:
        for sentence in left:
            sys.stderr.write(f"check.sh: {sentence}\n")
    try:
        for path, report in ((arguments.json, as_json), (arguments.junit, as_junit)):
            if path:
                path.write_text(report(given.image, verdicts), "utf-8")
    except OSError as error:
        sys.stderr.write(f"check.sh: the report cannot be written: {error}\n")
        return _NOT_RUN
    return _exit_code(verdicts)


def _exit_code(verdicts: list[Verdict]) -> int:
    outcomes = {verdict.finding.outcome for verdict in verdicts}
    if Outcome.FAILED in outcomes:
        return _FAILURES
    return _NOT_RUN if Outcome.ERROR in outcomes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check.sh",
        description="Run an image as SageMaker would, and say rule by rule what would go wrong.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("image", metavar="IMAGE", help="the image, by name or id")
    add("--train", type=Path, metavar="DIR", help="files to train on, as the channel `train`")
    add("--hyperparameter", action="append", default=[], metavar="NAME=VALUE", help="of each job")
    add(
        *("--endless", "--endless-hyperparameter"),
        **_repeated("a hyperparameter that makes a job long enough to be stopped"),
    )
    add("--model", type=Path, metavar="FILE", help="a model.tar.gz to serve instead of a job's")
    add("--payload", type=Path, metavar="FILE", help="a body that the model can score")
    add("--content-type", metavar="TYPE", help="its media type, such as text/csv")
    add("--only", choices=AREAS, help="one kind of use; the rules of the image always apply")
    add("--json", type=Path, metavar="FILE", help="write the report as JSON")
    add("--junit", type=Path, metavar="FILE", help="write the report as JUnit's XML")
    return parser


def _repeated(text: str) -> dict[str, Any]:
    return {"action": "append", "default": [], "metavar": "NAME=VALUE", "help": text}


def _given(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Given:
    """Return what the command line says, or end with a sentence that says what is wrong with it."""
    if bool(arguments.payload) != bool(arguments.content_type):
        parser.error("--payload and --content-type belong together; give both")
    channel, payload = arguments.train, arguments.payload
    if channel and not any(path.is_file() for path in channel.rglob("*")):
        parser.error(f"--train {channel} is no directory with files that can be read")
    for report in (arguments.json, arguments.junit):
        if report and (report.is_dir() or not report.absolute().parent.is_dir()):
            parser.error(f"{report} cannot be written: name a file in a directory that is there")
    try:
        return Given(
            image=arguments.image,
            channel=channel,
            payload=Payload(payload.read_bytes(), arguments.content_type) if payload else None,
            model=_archive(arguments.model) if arguments.model else None,
            hyperparameters=_pairs(parser, arguments.hyperparameter),
            endless=_pairs(parser, arguments.endless),
            only=arguments.only,
        )
    except (OSError, EOFError, tarfile.TarError) as error:
        parser.error(str(error))


def _archive(path: Path) -> bytes:
    with tarfile.open(path) as archive:
        archive.getmembers()  # or it is none
    return path.read_bytes()


def _pairs(parser: argparse.ArgumentParser, given: list[str]) -> dict[str, str]:
    wrong = [pair for pair in given if "=" not in pair]
    if wrong:
        parser.error(f"{wrong[0]!r} is no NAME=VALUE, such as epochs=10")
    return dict(pair.split("=", 1) for pair in given)


def _hear_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _give_up)


def _give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    """End as Ctrl-C does, so that containers are removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
