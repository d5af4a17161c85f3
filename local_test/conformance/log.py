"""What the log of a job says: its metrics, how far it counts, and whether it goes on."""

from __future__ import annotations

import re

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NAMED = re.compile(rf"([A-Za-z][\w./-]*)['\"]? ?[=:] ?({_NUMBER})(?![\w:/-]|\.\w)")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_COUNT = re.compile(r"\b(epoch|global_step|iteration|iter|round|step)\W{1,3}(\d+)", re.IGNORECASE)
_NO_METRIC = re.compile(  # numbers that change from line to line, and say nothing of the model
    r"batch|elapsed|epochs?|eta|global_step|iter(ation)?s?|line|pid|rank|rounds?|seconds|steps?|time",
    re.IGNORECASE,
)
_METRIC = re.compile(
    r"(^|[^a-z])(acc(uracy)?|auc|bleu|brier|error|f1|(log_?)?loss|ma?pe|mae|merror|perplexity|precision"
    r"|r2|recall|r?mse|rouge|score)([^a-z]|$)",
    re.IGNORECASE,
)


def metrics(log: str) -> list[str]:
    """Return what looks like a metric, such as `loss=0.25`, the last one of each name.

    A name and a number are one if the number changes from line to line, or the name is that of a
    metric: `Python: 3.11` is neither. Coloured lines have none, since the codes part name and
    number.
    """
    seen: dict[str, list[str]] = {}
    last: dict[str, str] = {}
    for line in log.splitlines():
        if not _COLOUR.search(line):
            for match in _NAMED.finditer(line):
                seen.setdefault(match[1], []).append(match[2])
                last[match[1]] = match[0]
    return [
        last[name]
        for name, numbers in seen.items()
        if not _NO_METRIC.fullmatch(name) and (len({*numbers}) > 1 or _METRIC.search(name))
    ]


def is_number(text: str) -> bool:
    """Say whether a text is a number and nothing else."""
    return re.fullmatch(_NUMBER, text) is not None


def counts(log: str) -> dict[str, list[int]]:
    """Return the numbers of epochs and the like in a log, in its order, by their name."""
    found: dict[str, list[int]] = {}
    for name, number in _COUNT.findall(log):
        found.setdefault(name.lower(), []).append(int(number))
    return found


def goes_on(before: str, then: str, later: str) -> bool:
    """Say whether a job still trained between two moments, by its log then and later.

    It did if it counted on, or, where the log before that counts nothing, if it said more of the
    kind. Who only waits says something else, or the same again.
    """
    if counts(before):
        reached = counts(then)
        return any(found[-1] > max(reached.get(name, [0])) for name, found in counts(later).items())
    known = {_kind(line) for line in before.splitlines()}
    said = {*then.splitlines()}
    new = {line for line in later.splitlines() if line not in said}
    return any(_kind(line) in known for line in new)


def _kind(line: str) -> str:
    """Return a line without its numbers."""
    return re.sub(r"\d+", "#", line)
