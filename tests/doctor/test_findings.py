from __future__ import annotations

from gateway.doctor.causes import Cause
from gateway.doctor.findings import Finding, Report, Severity, error, ranked, warning


def found(cause: Cause, severity: Severity = Severity.ERROR, seen: str = "seen") -> Finding:
    make = error if severity is Severity.ERROR else warning
    return make(cause, cause.value, seen=seen, meaning="m", remedy="r")


def test_errors_come_before_warnings_and_the_near_before_the_far() -> None:
    findings = [
        found(Cause.HEADER_LIMIT, Severity.WARNING),
        found(Cause.WRONG_SECRET),
        found(Cause.ADDRESS_DOWN, Severity.WARNING),
        found(Cause.SSO),
    ]
    assert [each.cause for each in ranked(findings)] == [
        Cause.SSO,
        Cause.WRONG_SECRET,
        Cause.ADDRESS_DOWN,
        Cause.HEADER_LIMIT,
    ]


def test_a_consequence_is_folded_under_its_cause() -> None:
    (only,) = ranked([found(Cause.GATEWAY_NOT_READY), found(Cause.TCP_PORT_DISABLED)])
    assert only.cause is Cause.TCP_PORT_DISABLED
    assert only.consequences == ("gateway-not-ready",)


def test_the_consequences_of_a_consequence_are_folded_too() -> None:
    causes = (
        Cause.GATEWAY_NOT_READY,
        Cause.PORT_BLOCKED,
        Cause.CONTROLLER_STARTING,
        Cause.CONTROLLER_DOWN,
    )
    (only,) = ranked([found(cause) for cause in causes])
    assert only.cause is Cause.CONTROLLER_STARTING
    assert set(only.consequences) == {"gateway-not-ready", "port-blocked", "controller-down"}


def test_one_cause_twice_is_one_finding_with_all_evidence() -> None:
    (only,) = ranked(
        [found(Cause.SSO, Severity.WARNING, "a"), found(Cause.SSO, seen="b"), found(Cause.SSO)]
    )
    assert only.severity is Severity.ERROR
    assert only.seen == ("a", "b", "seen")


def test_the_exit_status_is_the_worst_severity() -> None:
    assert Report("x").exit_status == 0
    warned = found(Cause.SSO, Severity.WARNING)
    assert Report("x", (warned,)).exit_status == 1
    assert Report("x", (warned, found(Cause.SSO))).exit_status == 2
