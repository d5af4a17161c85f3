"""What is shown of a run: on the terminal as it goes, and as JSON and JUnit at its end."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, TextIO
from xml.etree import ElementTree as ET

from conformance.finding import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.rule import Rule, Verdict

_MARKS = {
    Outcome.PASSED: "ok  ",
    Outcome.FAILED: "FAIL",
    Outcome.WARNED: "warn",
    Outcome.NOT_APPLICABLE: "n/a ",
    Outcome.ERROR: "ERR ",
}
#: What JUnit calls an image that is at fault, and what it calls a run that is.
_FAULTS = {Outcome.FAILED: "failure", Outcome.ERROR: "error"}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")


class Terminal:
    """A line for each rule when it ends; on a terminal, which one is tried meanwhile."""

    def __init__(self, stream: TextIO, total: int) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a log may have any character
        self._stream = stream
        self._total = total
        self._done = 0

    def trying(self, rule: Rule) -> None:
        """Show which rule is tried."""
        if self._stream.isatty():
            self._write(f"\r\033[K     {self._done + 1}/{self._total} {rule.key} ...")

    def show(self, verdict: Verdict) -> None:
        """Show what came of it, and unless it is kept, why and what to do."""
        self._done += 1
        if self._stream.isatty():
            self._write("\r\033[K")
        rule, finding = verdict.rule, verdict.finding
        self._write(f"{_MARKS[finding.outcome]} {rule.key} ({', '.join(rule.numbers)})\n")
        if finding.outcome is not Outcome.PASSED:
            self._write(f"       rule:  {rule.sentence}\n       found: {finding.observed}\n")
        if finding.cure:
            self._write(f"       cure:  {finding.cure}\n")

    def end(self, verdicts: Sequence[Verdict], seconds: float) -> None:
        """Show the numbers."""
        self._write(f"{summary(verdicts)} in {seconds:.0f} s\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many rules ended in which way; that all were tried goes without saying."""
    count = Counter(verdict.finding.outcome for verdict in verdicts)
    return ", ".join(
        f"{count[outcome]} {outcome.value}"
        for outcome in Outcome
        if count[outcome] or outcome is not Outcome.ERROR
    )


def as_json(image: str, verdicts: Sequence[Verdict]) -> str:
    """Return the report for programs."""
    rules = [
        {
            "rule": verdict.rule.key,
            "numbers": verdict.rule.numbers,
            "sentence": verdict.rule.sentence,
            "outcome": verdict.finding.outcome.value,
            "observed": verdict.finding.observed,
            "cure": verdict.finding.cure,
            "seconds": round(verdict.seconds, 3),
        }
        for verdict in verdicts
    ]
    return json.dumps({"image": image, "rules": rules}, indent=2) + "\n"


def as_junit(image: str, verdicts: Sequence[Verdict]) -> str:
    """Return the report as continuous integration reads it; a warning is text of a passed test."""
    count = Counter(verdict.finding.outcome for verdict in verdicts)
    suite = ET.Element(
        "testsuite",
        name=_xml(f"conformance of {image}"),
        tests=str(len(verdicts)),
        failures=str(count[Outcome.FAILED]),
        errors=str(count[Outcome.ERROR]),
        skipped=str(count[Outcome.NOT_APPLICABLE]),
    )
    for verdict in verdicts:
        rule, finding = verdict.rule, verdict.finding
        case = ET.SubElement(
            suite, "testcase", classname=rule.area, name=rule.name, time=f"{verdict.seconds:.3f}"
        )
        text = _xml(f"{rule.sentence}\n{finding.observed}\n{finding.cure}".strip())
        if finding.outcome in _FAULTS:
            fault = _FAULTS[finding.outcome]
            ET.SubElement(case, fault, message=_xml(finding.observed)).text = text
        elif finding.outcome is Outcome.NOT_APPLICABLE:
            ET.SubElement(case, "skipped", message=_xml(finding.observed))
        else:
            ET.SubElement(case, "system-out").text = text
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Return a text without what XML cannot hold, colour codes for example."""
    return _NOT_XML.sub("?", text)
