from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gateway.doctor.case import Subject
from gateway.doctor.causes import Cause
from gateway.doctor.client import Unanswered
from gateway.doctor.findings import Finding, Outcome, Step, error, warning
from gateway.doctor.runner import Check, Observer, run

FOUND = error(Cause.SSO, "a login page", seen="s", meaning="m", remedy="r")
WARNED = warning(Cause.CLOCK_SKEW, "late", seen="s", meaning="m", remedy="r")


def giving(*found: Finding) -> Callable[[Subject], Awaitable[Sequence[Finding]]]:
    async def check(subject: Subject) -> Sequence[Finding]:
        await trio.lowlevel.checkpoint()
        subject.note("looked")
        return found

    return check


class Recorder(Observer):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def begun(self, check: Check[Any]) -> None:
        self.seen.append(f"begun {check.name}")

    def progress(self, check: Check[Any], text: str) -> None:
        self.seen.append(text)

    def ended(self, step: Step) -> None:
        self.seen.append(f"ended {step.name}")


async def test_what_needs_a_check_that_failed_is_left_out() -> None:
    checks = [
        Check("first", "w", giving(FOUND)),
        Check("second", "w", giving(FOUND), needs=("first",)),
        Check("third", "w", giving(FOUND), needs=("second",)),
        Check("other", "w", giving(WARNED)),
        Check("last", "w", giving(), needs=("other",)),
    ]
    steps, findings = await run(Subject(), checks, Observer())
    assert [step.outcome for step in steps] == [
        Outcome.FAILED,
        Outcome.SKIPPED,
        Outcome.SKIPPED,
        Outcome.FOUND,
        Outcome.OK,
    ]
    assert steps[2].saw == "not looked at: a login page"
    assert [each.check for each in findings] == ["first", "other"]


async def test_a_check_may_make_no_sense() -> None:
    subject = Subject()
    checks = [Check("one", "w", giving(FOUND), unless=lambda _: "not wanted")]
    steps, findings = await run(subject, checks, Observer())
    assert (steps[0].outcome, steps[0].saw, findings) == (Outcome.SKIPPED, "not wanted", [])


async def test_later_checks_know_the_causes_so_far() -> None:
    subject = Subject()
    await run(subject, [Check("one", "w", giving(FOUND))], Observer())
    assert subject.causes == {Cause.SSO}


async def test_each_check_has_its_deadline(autojump_clock: MockClock) -> None:
    async def stuck(subject: Subject) -> Sequence[Finding]:
        await trio.sleep_forever()
        return ()

    checks: list[Check[Subject]] = [
        Check("stuck", "what", stuck, within=10),
        Check("holds", "what", stuck, within=10, holds=True),
        Check("after", "what", giving()),
    ]
    begun = trio.current_time()
    steps, findings = await run(Subject(), checks, Observer(), hold=100)
    assert trio.current_time() - begun == 120
    assert [each.cause for each in findings] == [Cause.CHECK_FAILED] * 2
    assert "10 s" in findings[0].title
    assert steps[2].outcome is Outcome.OK


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unanswered("the connection was reset"), "the connection was reset"),
        (ConnectionRefusedError(111, "x"), "connection refused"),
        (ValueError("odd"), "what came cannot be read: odd"),
        (OverflowError(), "what came cannot be read: OverflowError"),
    ],
)
async def test_no_answer_is_a_finding_and_no_crash(error: Exception, words: str) -> None:
    async def silent(subject: Subject) -> Sequence[Finding]:
        await trio.lowlevel.checkpoint()
        raise error

    _, (finding,) = await run(Subject(), [Check("one", "what", silent)], Observer())
    assert (finding.cause, finding.seen) == (Cause.CHECK_FAILED, (words,))


@pytest.mark.parametrize(("needs", "severity"), [((), 1), (("one",), 2)])
async def test_what_others_stand_on_is_no_warning_where_it_breaks(
    needs: tuple[str, ...], severity: int
) -> None:
    async def broken(subject: Subject) -> Sequence[Finding]:
        await trio.lowlevel.checkpoint()
        raise ValueError("odd")

    checks = [Check("one", "what", broken), Check("two", "what", giving(), needs=needs)]
    steps, (finding,) = await run(Subject(), checks, Observer())
    assert finding.severity == severity
    assert steps[1].outcome is (Outcome.SKIPPED if needs else Outcome.OK)


async def test_a_secret_in_a_strangers_words_is_not_shown() -> None:
    class Careful(Subject):
        def hide(self, text: str) -> str:
            return text.replace("s3cret", "***")

    async def quoting(subject: Subject) -> Sequence[Finding]:
        await trio.lowlevel.checkpoint()
        subject.note("it said s3cret")
        subject.tell("s3cret so far")
        return [error(Cause.SSO, "s3cret", seen="s3cret", meaning="m", remedy="r")]

    recorder = Recorder()
    steps, found = await run(Careful(), [Check("one", "what", quoting)], recorder)
    assert "s3cret" not in repr((steps, found, recorder.seen))


async def test_progress_is_told() -> None:
    async def telling(subject: Subject) -> Sequence[Finding]:
        await trio.lowlevel.checkpoint()
        subject.tell("half way")
        return ()

    recorder = Recorder()
    await run(Subject(), [Check("one", "what", telling)], recorder)
    assert recorder.seen == ["begun one", "half way", "ended one"]
