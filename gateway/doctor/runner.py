"""Running checks in the order of the path: each with its deadline, none whose ground is missing.

Owns: order, needs, deadlines, progress, and that a check which breaks breaks nothing else.

Must not know: what the checks are about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

import trio

from gateway.doctor.case import Subject
from gateway.doctor.causes import Cause
from gateway.doctor.client import Unanswered, os_words
from gateway.doctor.findings import Finding, Outcome, Severity, Step, error, warning

_S = TypeVar("_S", bound=Subject)
_ALWAYS: Final = 60.0
_Failed = Callable[..., Finding]  # error or warning


@dataclass(frozen=True, slots=True)
class Check(Generic[_S]):
    """One check. ``needs``: names of checks that must not have failed or been left out.

    ``unless``: says why it is not made of this subject, or nothing. ``within``: its deadline,
    seconds, besides the time that is held where ``holds``.
    """

    name: str
    what: str
    function: Callable[[_S], Awaitable[Sequence[Finding]]]
    needs: tuple[str, ...] = ()
    unless: Callable[[_S], str | None] = lambda _: None
    within: float = _ALWAYS
    holds: bool = False


class Observer:
    """Is told what happens; this one does nothing with it."""

    def begun(self, check: Check[Any]) -> None:
        """Note that a check begins."""

    def progress(self, check: Check[Any], text: str) -> None:
        """Note how far a check is that waits."""

    def ended(self, step: Step) -> None:
        """Note that a check has ended, or is left out."""


async def run(
    subject: _S, checks: Sequence[Check[_S]], observer: Observer, *, hold: float = 0.0
) -> tuple[list[Step], list[Finding]]:
    """Make all checks and return what came of them. ``hold``: seconds that one of them waits."""
    findings: list[Finding] = []
    steps: list[Step] = []
    lost: dict[str, str] = {}  # check that has no result to stand on -> why
    grounds = {name for check in checks for name in check.needs}
    for check in checks:
        missing = next((each for each in check.needs if each in lost), None)
        why = check.unless(subject) if missing is None else lost[missing]
        if why is not None:
            lost[check.name] = why
            step = Step(check.name, Outcome.SKIPPED, why)
        else:
            observer.begun(check)
            step, found = await _make(subject, check, observer, hold, grounds)
            findings += found
            subject.causes |= {each.cause for each in found}
            if step.outcome is Outcome.FAILED:
                lost[check.name] = f"not looked at: {found[0].title}"
        steps.append(step)
        observer.ended(step)
    return steps, findings


async def _make(
    subject: _S, check: Check[_S], observer: Observer, hold: float, grounds: Collection[str]
) -> tuple[Step, list[Finding]]:
    """Make one check. What fails without a verdict is an error where others stand on it."""
    failed = error if check.name in grounds else warning
    subject.saw = ""
    subject.tell = lambda text: observer.progress(check, subject.hide(text))
    within = check.within + (hold if check.holds else 0)
    begun = trio.current_time()
    found: list[Finding] = []
    with trio.move_on_after(within) as scope:
        try:
            found = list(await check.function(subject))
        except Unanswered as problem:
            found = [_unanswered(failed, check, str(problem))]
        except OSError as problem:
            found = [_unanswered(failed, check, os_words(problem))]
        except Exception as problem:  # what strangers send may be odd beyond all checks
            words = str(problem) or type(problem).__name__
            found = [_unanswered(failed, check, f"what came cannot be read: {words}")]
    if scope.cancelled_caught:
        found = [_too_slow(failed, check, within)]
    found = [_without_secrets(subject, replace(each, check=check.name)) for each in found]
    saw = subject.hide(subject.saw)
    return Step(check.name, _outcome(found), saw, trio.current_time() - begun), found


def _without_secrets(subject: Subject, finding: Finding) -> Finding:
    hide = subject.hide
    return replace(finding, title=hide(finding.title), seen=tuple(map(hide, finding.seen)))


def _outcome(found: Sequence[Finding]) -> Outcome:
    if any(each.severity is Severity.ERROR for each in found):
        return Outcome.FAILED
    return Outcome.FOUND if found else Outcome.OK


def _unanswered(failed: _Failed, check: Check[Any], reason: str) -> Finding:
    """Return the finding for a check that got no answer where others had got some."""
    return failed(
        Cause.CHECK_FAILED,
        f"{check.what}: no answer that can be used, though others came",
        seen=reason,
        meaning="Something on the path drops this kind of request, or everything now and then.",
        remedy="Look for this request in the log of the proxy in front.",
    )


def _too_slow(failed: _Failed, check: Check[Any], within: float) -> Finding:
    return failed(
        Cause.CHECK_FAILED,
        f"{check.what}: nothing was found out within {within:g} s",
        seen="answers came, but too slowly, or not at all",
        meaning="This part of the path is slow or stuck; nothing else is known of it.",
        remedy="Try again; if it stays so, look at the load of the proxy and the controller.",
    )
