"""Rules for a training job of two hosts."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING

from conformance.finding import Finding, failed, not_applicable, passed, warned
from conformance.rule import rule
from conformance.training.refusals import no_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.run import Run

_REFUSES = re.compile(  # a sentence that says of several hosts that they are too many
    r"(?!.*(\btim(e|ed)[ -]?out\b|\bunreachable\b|connection refused|clients joined))"
    r"(?=.*\b(distributed|host|instance|machine|node)(s|_?count)?\b)"
    r"(?=.*((?<![\w-])(1|2|one|two|single|several|multiple|multi|many)\b|(not |un)supported))",
    re.IGNORECASE | re.DOTALL,
)


@rule("T36", "T50", "T51", observes="hosts")
def two_hosts(run: Run) -> Finding:
    """A job of two hosts ends, and leaves one model, unless they say that they are too many."""
    jobs = run.hosts
    ends = "; ".join(f"{name}: {job.failure or job.end}" for name, job in jobs.items())
    if any(job.exit_code is None for job in jobs.values()):
        return failed(ends, "Give up with a sentence when another host is not there in time.")
    if all(job.exit_code != 0 and _REFUSES.match(job.failure or "") for job in jobs.values()):
        return not_applicable(f"it refuses a job of two hosts, so it has to be given one: {ends}")
    if any(job.exit_code != 0 for job in jobs.values()):
        return failed(
            ends, "Let all hosts end with 0, or all say in their failure files that one will do."
        )
    models = {name: job.model for name, job in jobs.items() if job.model}
    if not models:
        found = failed("no host left a model", "Let the first of `hosts` save the model.")
        return found if run.trained.model else not_applicable("a job of one host leaves none, too")
    if clash := _clash(models):
        return warned(
            clash,
            "Let the first of `hosts` in resourceconfig.json save the model, and no other, or "
            "refuse to train on several.",
        )
    return passed(f"a model on {' and '.join(models)}")


def _clash(models: Mapping[str, Mapping[str, bytes]]) -> str:
    """Say in what the models that hosts left are more than one, or nothing if they are the same.

    All their files end up in one archive.
    """
    for (one, its), (other, theirs) in combinations(models.items(), 2):
        for name in sorted(its.keys() & theirs.keys()):
            if its[name] != theirs[name]:
                return f"the hosts leave different files named {name}, and one overwrites the other"
        if rest := sorted(its.keys() ^ theirs.keys()):
            whose = one if rest[0] in its else other
            return f"{one} and {other} leave files of different names: {rest[0]} is {whose}'s alone"
    return ""


@rule("T57", observes="bereft")
def notices_a_lost_host(run: Run) -> Finding:
    """Each host fails in time, and says why, when the other host of its job is killed."""
    cure = "Give all that waits for another host a time limit, and fail with a sentence at its end."
    limit = run.given.limits.lost_host
    noticed = []
    for lost, job in run.bereft.items():
        if job.goes_on:
            continue
        if job.exit_code is None:
            return failed(f"{lost} is killed, and {job.host} still runs {limit:g} s later", cure)
        if job.exit_code == 0:
            return failed(f"{lost} is killed, and {job.host} ends with exit code 0", cure)
        if wrong := no_refusal(run, job):
            return failed(f"when {lost} is killed, {wrong}", cure)
        noticed.append(f"without {lost}: {(job.failure or job.end).strip()}")
    if not noticed:
        return not_applicable("each host trains on without the other: neither needs it")
    return passed("; ".join(noticed))
