"""Tests of ``gateway.observability.idle_fingerprint``: what is claimed of a path, in which words.

How rarely a claim is false, and how soon a true one is made: ``test_idle_fingerprint_odds``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.observability.idle_fingerprint import (
    APART,
    KEEP,
    MAX_ENDS,
    MIN_ENDS,
    Cut,
    Fingerprints,
    Leg,
    Measure,
    site_of,
)

NOW = 1_780_000_000.0
CUT = Cut(
    controller="main",
    leg=Leg.AGENT,
    address="10.2.3.4",
    at=NOW,
    age=1000.0,
    received_idle=60.0,
    sent_idle=60.1,
    ping_interval=20.0,
    round_trip=0.05,
)


def history(*cuts: Cut) -> list[Cut]:
    """Return ``cuts`` a minute apart, each with an age of its own, unless it is given one."""
    return [
        replace(cut, at=NOW + 60 * number, age=cut.age if cut.age != CUT.age else 37.7 * number)
        for number, cut in enumerate(cuts)
    ]


def others(count: int, network: str = "10.2") -> list[Cut]:
    """Return ends at idle times that are spread."""
    return [
        replace(
            CUT,
            address=f"{network}.{200 + number % 20}.1",
            received_idle=100 + 7.3 * number,
            sent_idle=104 + 7.3 * number,
        )
        for number in range(count)
    ]


def cut_by_a_timer(count: int) -> list[Cut]:
    return [replace(CUT, address=f"10.2.{number * 13 % 256}.9") for number in range(count)]


def test_the_sentence() -> None:
    prints = Fingerprints()
    for cut in history(*others(4), *cut_by_a_timer(37)):
        prints.record(cut)
    (found,) = prints.findings(NOW + 3600)
    assert found.sentence() == (
        "37 of 41 cut sessions from 10.2.0.0/16 ended 60.0 s after the last byte:"
        " an idle timer of 60 s lies between agent and gateway"
        " (nginx, AWS ALB and HAProxy examples use 60 s);"
        " our ping interval on that path is 20 s; it does not count our pings: raise it there"
    )
    fields = found.as_fields()
    assert fields["text"] == found.sentence()
    assert (fields["network"], fields["count"], fields["total"]) == ("10.2.0.0/16", 37, 41)
    assert (fields["first_at"], fields["last_at"]) == (NOW + 240, NOW + 2400)
    assert (fields["measure"], fields["seconds"], fields["leg"]) == ("idle", 60.0, "agent")


@pytest.mark.parametrize(
    ("change", "measure", "words"),
    [
        (
            {"received_idle": 50.2, "sent_idle": 50.1, "ping_interval": 55.0},
            Measure.IDLE,
            "after the last byte: an idle timer of 50 s lies between agent and gateway"
            " (IBM Cloud ALB uses 50 s); our ping interval on that path is 55 s;"
            " set agents.keepalive.interval to 17s, or raise it",
        ),
        (
            {"received_idle": 75.0, "sent_idle": None},
            Measure.RECEIVED,
            "after the last byte from the agent: an idle timer of 75 s lies between agent and"
            " gateway; our",
        ),
        (
            {"received_idle": None, "sent_idle": 51.0, "ping_interval": 55.0},
            Measure.SENT,
            "after the last byte to the agent: an idle timer of 50 s lies between agent and"
            " gateway (IBM Cloud ALB uses 50 s); our ping interval on that path is 55 s;"
            " set agents.keepalive.interval to 17s, or raise it",
        ),
        (
            {"received_idle": None, "sent_idle": None, "age": 30.02},
            Measure.AGE,
            "after their beginning: an age limit of 30 s lies between agent and gateway"
            " (Google Cloud Application Load Balancer uses 30 s); our ping interval on that path"
            " is 20 s; no ping helps: raise the limit there, or find what stops agents at that age",
        ),
        (
            {"received_idle": 240.0, "sent_idle": 241.0, "leg": Leg.CONTROLLER}
            | {"ping_interval": None, "address": "jenkins"},
            Measure.IDLE,
            "to jenkins ended 240.0 s after the last byte: an idle timer of 240 s lies between"
            " gateway and controller (Azure Load Balancer uses 240 s); nothing is pinged on that"
            " path; raise it there, or let Jenkins ping its agents more often than every 240 s",
        ),
    ],
)
def test_what_a_timer_counts(change: dict[str, float | None], measure: Measure, words: str) -> None:
    """None stands for times that are spread."""
    prints = Fingerprints()
    cuts = [
        replace(
            CUT,
            **{  # type: ignore[arg-type]
                name: 3.5 + 2.3 * number if value is None and name != "ping_interval" else value
                for name, value in change.items()
            },
        )
        for number in range(20)
    ]
    for cut in history(*cuts):
        prints.record(cut)
    (found,) = prints.findings(NOW + 3600)
    assert (found.measure, found.count) == (measure, 20)
    assert words in found.sentence()


def test_nothing_is_claimed_below_the_stated_number() -> None:
    prints = Fingerprints()
    ends = history(*cut_by_a_timer(MIN_ENDS))
    for cut in ends[:-1]:
        assert prints.record(cut) == []
        assert prints.findings(cut.at) == []
    assert len(prints.record(ends[-1])) == 1


def test_a_claim_is_made_once() -> None:
    prints = Fingerprints()
    made = [prints.record(cut) for cut in history(*cut_by_a_timer(60))]
    assert sum(map(len, made)) == 1


def test_a_claim_that_came_true_again_is_made_again() -> None:
    prints = Fingerprints(max_ends=20)
    made = [
        len(prints.record(cut))
        for cut in history(*cut_by_a_timer(20), *others(20), *cut_by_a_timer(20))
    ]
    assert (sum(made[:20]), sum(made[20:40]), sum(made[40:])) == (1, 0, 1)


def test_two_timers_on_one_path() -> None:
    prints = Fingerprints()
    long = [replace(cut, received_idle=350.1, sent_idle=350.3) for cut in cut_by_a_timer(15)]
    for cut in history(*cut_by_a_timer(20), *long):
        prints.record(cut)
    assert {(each.count, round(each.seconds)) for each in prints.findings(NOW + 3600)} == {
        (20, 60),
        (15, 350),
    }


def test_the_smallest_network_is_named() -> None:
    prints = Fingerprints()
    near = [replace(CUT, address=f"10.2.3.{128 + number}") for number in range(20)]
    for cut in history(*others(10), *near):
        prints.record(cut)
    (found,) = prints.findings(NOW + 3600)
    assert (found.network, found.count, found.total) == ("10.2.3.128/27", 20, 20)


def test_one_machine_is_named_alone() -> None:
    prints = Fingerprints()
    for cut in history(*others(10), *([CUT] * 20)):
        prints.record(cut)
    (found,) = prints.findings(NOW + 3600)
    assert (found.network, found.total) == ("10.2.3.4", 20)


def test_paths_are_apart() -> None:
    """Another controller, leg or site has nothing to do with it."""
    prints = Fingerprints()
    for number in range(9):
        at = NOW + 60 * number
        for change in ({}, {"controller": "b"}, {"leg": Leg.CONTROLLER}, {"address": "10.3.0.1"}):
            prints.record(replace(CUT, at=at, **change))
    assert len(prints) == 4
    assert prints.findings(NOW + 3600) == []


# -- what looks like a timer and is none -----------------------------------------------------------


def test_an_end_that_answers_our_ping_has_no_idle_time() -> None:
    """A machine that was switched off is reset by its next ping, 18 to 20 s after its last byte."""
    answered = replace(CUT, received_idle=19.2, sent_idle=0.06, round_trip=0.05)
    prints = Fingerprints()
    for cut in history(*([answered] * 60)):
        assert prints.record(cut) == []
    slow = replace(answered, sent_idle=2.5, round_trip=2.0)
    assert slow.value(Measure.RECEIVED) is None
    assert replace(slow, round_trip=None).value(Measure.RECEIVED) == 19.2
    assert answered.value(Measure.AGE) == 1000


def test_ends_that_come_together_count_once() -> None:
    """All agents began within a second and a restart ended them within another, every night."""
    prints = Fingerprints()
    for night in range(7):
        for agent in range(200):
            ended = NOW + 86400 * night + agent / 200
            cut = replace(CUT, address=f"10.2.0.{agent}", at=ended, age=86_000 + agent / 200)
            prints.record(replace(cut, received_idle=10, sent_idle=10))
    assert prints.findings(NOW + 6 * 86400) == []


def test_a_rolling_restart_is_no_age_limit() -> None:
    """They began within a second, and end over several minutes: the ages are spread as far."""
    prints = Fingerprints()
    for agent in range(600):
        cut = replace(CUT, at=NOW + agent, age=5000 + agent + agent % 7 / 7)
        assert prints.record(replace(cut, received_idle=7, sent_idle=0.5)) == []


def test_ends_that_are_apart_count() -> None:
    prints = Fingerprints()
    made = [
        prints.record(replace(CUT, at=NOW + APART * number, age=number * 31.3))
        for number in range(12)
    ]
    assert len(made[-1]) == 1


def test_what_is_old_is_forgotten() -> None:
    prints = Fingerprints()
    for cut in history(*cut_by_a_timer(20)):
        prints.record(cut)
    assert len(prints.findings(NOW + KEEP)) == 1
    assert prints.findings(NOW + KEEP + 1200) == []


# -- bounds ----------------------------------------------------------------------------------------


def test_the_last_ends_of_a_path_are_kept() -> None:
    prints = Fingerprints()
    for cut in history(*others(300), *cut_by_a_timer(20)):
        prints.record(cut)
    (found,) = prints.findings(NOW + 3600 * 8)
    assert found.total == MAX_ENDS


def test_the_quietest_path_goes_first() -> None:
    prints = Fingerprints(max_paths=2)
    ends = history(*cut_by_a_timer(20))
    for number, cut in enumerate(ends):
        prints.record(cut)
        prints.record(replace(cut, address=f"172.{16 + number % 10}.0.1"))
    assert len(prints) == 2
    assert [each.count for each in prints.findings(NOW + 3600)] == [20]


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("10.2.3.4", "10.2.0.0/16"),
        ("::ffff:10.2.3.4", "10.2.0.0/16"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("unix", "unix"),
        ("unknown", "unknown"),
    ],
)
def test_sites(address: str, site: str) -> None:
    assert site_of(address) == site


@pytest.mark.parametrize("address", ["unix", "2001:db8:1::7", "::ffff:10.2.3.4"])
def test_any_kind_of_address_will_do(address: str) -> None:
    prints = Fingerprints()
    for cut in history(*([replace(CUT, address=address)] * 20)):
        prints.record(cut)
    (found,) = prints.findings(NOW + 3600)
    assert found.network == address.removeprefix("::ffff:")
    assert found.total == 20
