"""What the doctor found: findings, steps, and the report of both.

Owns: severities, the ranking, the folding of consequences under their cause, the exit status.

Must not know: how anything was found, or how it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum

from gateway.doctor.causes import EXPLAINS, Cause, rank


class Severity(IntEnum):
    """How bad it is; the value is the exit status, as monitoring plug-ins have it."""

    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Setting:
    """What to write where: ``where`` is a product (``nginx``), ``text`` its lines or clicks."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    ``title``: the cause in one line. ``seen``: the evidence. ``meaning``: what follows from it.
    ``remedy``: the one thing to do first. ``settings``: how, product by product.
    ``check``: which step found it; the runner fills it in. ``consequences``: titles of findings
    that this one explains.
    """

    cause: Cause
    severity: Severity
    title: str
    seen: tuple[str, ...]
    meaning: str
    remedy: str
    settings: tuple[Setting, ...] = ()
    check: str = ""
    consequences: tuple[str, ...] = ()


def error(
    cause: Cause,
    title: str,
    *,
    seen: Sequence[str] | str,
    meaning: str,
    remedy: str,
    settings: Sequence[Setting] = (),
) -> Finding:
    """Return a finding that keeps agents, or whoever else comes, from working."""
    lines = (seen,) if isinstance(seen, str) else tuple(seen)
    return Finding(cause, Severity.ERROR, title, lines, meaning, remedy, tuple(settings))


def warning(
    cause: Cause,
    title: str,
    *,
    seen: Sequence[str] | str,
    meaning: str,
    remedy: str,
    settings: Sequence[Setting] = (),
) -> Finding:
    """Return a finding that breaks something besides, or will break something later."""
    lines = (seen,) if isinstance(seen, str) else tuple(seen)
    return Finding(cause, Severity.WARNING, title, lines, meaning, remedy, tuple(settings))


class Outcome(Enum):
    """What became of a check."""

    OK = "ok"
    FOUND = "found"  # something, with which the path goes on all the same
    FAILED = "failed"  # nothing that needs it can work
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One check that was made, or not. ``saw``: what, in a few words; for SKIPPED why."""

    name: str
    outcome: Outcome
    saw: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Everything: ``findings`` ranked, the first is the one to begin with."""

    subject: str
    findings: tuple[Finding, ...] = ()
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_status(self) -> int:
        """Return the worst severity: 0 nothing, 1 warnings, 2 errors."""
        return max((finding.severity.value for finding in self.findings), default=0)


def ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings, worst and nearest first, without those that another one explains.

    Several of one cause are one, with the evidence of all.
    """
    merged: dict[Cause, Finding] = {}
    for finding in findings:
        known = merged.get(finding.cause)
        merged[finding.cause] = finding if known is None else _merge(known, finding)
    explained = {other for cause in merged for other in EXPLAINS.get(cause, ())}
    left = []
    for cause, finding in merged.items():
        if cause in explained:
            continue
        titles = [merged[each].title for each in _all_explained_by(cause, set(merged))]
        left.append(replace(finding, consequences=tuple(titles)))
    return tuple(sorted(left, key=lambda each: (-each.severity, rank(each.cause))))


def _merge(first: Finding, second: Finding) -> Finding:
    worse = first if first.severity >= second.severity else second
    seen = tuple(dict.fromkeys((*first.seen, *second.seen)))
    return replace(worse, seen=seen)


def _all_explained_by(cause: Cause, present: set[Cause]) -> list[Cause]:
    """Return what ``cause`` explains, directly or by way of others, in the order of the path."""
    found: set[Cause] = set()
    open_ends = [cause]
    while open_ends:
        for other in EXPLAINS.get(open_ends.pop(), frozenset()) & present - found - {cause}:
            found.add(other)
            open_ends.append(other)
    return sorted(found, key=rank)
