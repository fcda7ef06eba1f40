"""One examination: from outside, from inside, or both, as one report.

Owns: putting the two together. Must not know: how it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.checkup import CHECKS
from gateway.doctor.findings import Finding, Report, Setting, Step, ranked
from gateway.doctor.inside import (
    Inside,
    check_configuration,
    check_interval,
    check_listeners,
    check_state_dir,
)
from gateway.doctor.inside_controllers import check_controllers
from gateway.doctor.inside_running import check_running, reason_of_refusal
from gateway.doctor.question import Question
from gateway.doctor.remedies import GATEWAY
from gateway.doctor.runner import Check, Observer, run

_FILE: Final = ("config",)
INSIDE: Final[tuple[Check[Inside], ...]] = (
    Check("config", "the configuration", check_configuration),
    Check("gateway", "the gateway that runs", check_running, _FILE),
    Check("state_dir", "state_dir", check_state_dir, _FILE),
    Check("listeners", "the listeners", check_listeners, _FILE),
    Check("pings", "the interval of pings", check_interval, _FILE),
    Check("controllers", "the controllers", check_controllers, _FILE, within=300.0),
)
# Outside, a gateway says as little as it can of these; its log says more.
_REFUSALS: Final = {Cause.WRONG_SECRET, Cause.REFUSED, Cause.GATEWAY_NOT_READY}
# Outside, these mean that the gateway does not believe the proxy in front.
_NOT_BELIEVED: Final = {Cause.FORWARDED_WRONG, Cause.USE_HTTPS}


async def examine(question: Question | None, config: Path | None, observer: Observer) -> Report:
    """Return the report on a URL's path, on a gateway's own side of it, or on both."""
    steps: list[Step] = []
    findings: list[Finding] = []
    inside = None
    if config is not None:
        inside = Inside(path=config, node=None if question is None else question.node)
        steps, findings = await run(inside, INSIDE, observer)
    if question is not None:
        case = Case(question=question)
        try:
            more, found = await run(case, CHECKS, observer, hold=question.hold)
        finally:
            await case.leave()
        steps += more
        found = [_filled_in(question, each) for each in found]
        findings += found if inside is None else await _from_inside(inside, question, found)
    subject = question.url if question is not None else str(config)
    return Report(subject, ranked(findings), tuple(steps), _notes(question))


def _filled_in(question: Question, finding: Finding) -> Finding:
    """Put the real prefix into what is to be copied."""
    prefix = question.target.path.rstrip("/")
    settings = tuple(
        Setting(each.where, each.text.replace("PREFIX", prefix)) for each in finding.settings
    )
    return replace(finding, remedy=finding.remedy.replace("PREFIX", prefix), settings=settings)


def _notes(question: Question | None) -> tuple[str, ...]:
    if question is None or (question.node is not None and question.secret is not None):
        return ()
    return (
        "No agent was played: with --node and --secret-file also the upgrade, pings and idle timers"
        " are tried.",
    )


async def _from_inside(
    inside: Inside, question: Question, found: Sequence[Finding]
) -> list[Finding]:
    """Add to what was found outside what the gateway's own side says of it."""
    if inside.loaded is None:
        return list(found)
    found = _with_controller(inside, question, _with_trust(inside, found))
    if not any(each.cause in _REFUSALS for each in found):
        return list(found)
    reason = await reason_of_refusal(inside)
    if reason is None:
        return list(found)
    line = question.without_secrets(f"the gateway's own reason: {reason}")
    return [
        replace(each, seen=(*each.seen, line)) if each.cause in _REFUSALS else each
        for each in found
    ]


def _with_controller(inside: Inside, question: Question, found: Sequence[Finding]) -> list[Finding]:
    """Name the controller that a setting is for, where only one can be meant."""
    names = {
        route.controller
        for route in inside.config.routes
        if route.host in (question.target.host, "*")
    }
    if len(names) != 1:
        return list(found)
    (name,) = names
    return [
        replace(
            each,
            meaning=each.meaning.replace("controllers.NAME", f"controllers.{name}"),
            remedy=each.remedy.replace("controllers.NAME", f"controllers.{name}"),
            settings=tuple(
                Setting(s.where, s.text.replace("controllers: {NAME", f"controllers: {{{name}"))
                for s in each.settings
            ),
        )
        for each in found
    ]


def _with_trust(inside: Inside, found: Sequence[Finding]) -> list[Finding]:
    """Say which setting of this gateway decides whether the proxy in front is believed."""
    trusted = ", ".join(map(str, inside.config.trusted_proxies)) or "nobody"
    setting = Setting(GATEWAY, f"trusted_proxies in {inside.path}: it names {trusted} now")
    return [
        replace(each, settings=(setting, *each.settings)) if each.cause in _NOT_BELIEVED else each
        for each in found
    ]
