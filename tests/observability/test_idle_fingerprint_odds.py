"""How often ``idle_fingerprint`` claims what is not there, and how soon what is: over histories.

The chance is seeded: the same histories each time. Each is looked at after each of its ends, as the
gateway does, so that a claim at any moment counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from gateway.observability.idle_fingerprint import Cut, Finding, Fingerprints, Leg, Measure

Times = tuple[float, float, float]  # received idle, sent idle, age
Draw = Callable[[random.Random], Times]

HISTORIES = 400
ENDS = 60


def claims_of(rng: random.Random, draw: Draw) -> list[Finding]:
    """Return all claims made in the course of one history."""
    prints = Fingerprints()
    made: list[Finding] = []
    at = 1_780_000_000.0
    for _ in range(ENDS):
        at += 10 + rng.expovariate(1 / 600)
        received, sent, age = draw(rng)
        address = f"10.2.{rng.randrange(256)}.{rng.randrange(256)}"
        made += prints.record(
            Cut("main", Leg.AGENT, address, at, age, received, sent, 20.0, round_trip=0.02)
        )
    return made


def uniform(rng: random.Random) -> Times:
    return rng.uniform(0, 20), rng.uniform(0, 20), rng.uniform(0, 7200)


def short(rng: random.Random) -> Times:
    return rng.expovariate(1 / 10), rng.expovariate(1 / 10), rng.expovariate(1 / 60)


def long(rng: random.Random) -> Times:
    return rng.expovariate(1 / 300), rng.expovariate(1 / 300), rng.expovariate(1 / 86400)


def pinged(rng: random.Random) -> Times:
    """A session with some traffic and our pings, each answered, that ends at any moment."""
    until, now = rng.uniform(100, 140), 0.0
    mean = rng.choice([5, 60, 1000])
    while (then := now + min(rng.uniform(18, 20), rng.expovariate(1 / mean))) <= until:
        now = then
    idle = until - now
    return max(idle - 0.02, 0.0), idle, rng.expovariate(1 / 3600)


def builds(rng: random.Random) -> Times:
    """Agents that live for one build of about ten minutes."""
    return rng.uniform(0, 20), rng.uniform(0, 20), rng.gauss(600, 15)


def periodic(rng: random.Random) -> Times:
    """A build each quarter of an hour, of three minutes, more or less."""
    age = 900 * rng.randrange(1, 40) + rng.gauss(180, 20)
    return rng.uniform(0, 20), rng.uniform(0, 20), age


def office(rng: random.Random) -> Times:
    """Switched off by people, at lunch or in the evening."""
    age = rng.choice([rng.gauss(4 * 3600, 900), rng.gauss(9 * 3600, 1200)])
    return rng.uniform(0, 20), rng.uniform(0, 20), age


@pytest.mark.parametrize("draw", [uniform, short, long, pinged, builds, periodic, office])
def test_false_claims_are_rare(draw: Draw) -> None:
    """At most 1 history in 400 of each kind, and 2,800 in all."""
    rng = random.Random(7)
    claims = sum(bool(claims_of(rng, draw)) for _ in range(HISTORIES))
    assert claims <= 1


def idle_60(rng: random.Random) -> Times:
    return 60 + rng.gauss(0, 0.05), 60.02 + rng.uniform(0, 30), rng.expovariate(1 / 3600)


def received_60(rng: random.Random) -> Times:
    return 60 + rng.gauss(0, 0.1), rng.uniform(0, 20), rng.expovariate(1 / 3600)


def idle_15(rng: random.Random) -> Times:
    return 15 + rng.gauss(0, 0.05), 15.02, rng.expovariate(1 / 3600)


def age_3600(rng: random.Random) -> Times:
    received, sent, _ = pinged(rng)
    return received, sent, 3600 + rng.gauss(0, 0.1)


@pytest.mark.parametrize(
    ("timer", "others", "measure", "seconds"),
    [
        (idle_60, long, Measure.IDLE, 60),
        (received_60, pinged, Measure.RECEIVED, 60),
        (idle_15, pinged, Measure.IDLE, 15),
        (age_3600, pinged, Measure.AGE, 3600),
    ],
)
@pytest.mark.parametrize(("share", "at_least"), [(0.9, 40), (0.5, 37), (0.25, 28)])
def test_a_timer_is_found(
    timer: Draw, others: Draw, measure: Measure, seconds: float, share: float, at_least: int
) -> None:
    """In so many of 40 histories of 60 ends, of which the timer made ``share``."""
    rng = random.Random(9)

    def mixed(rng: random.Random) -> Times:
        return timer(rng) if rng.random() < share else others(rng)

    found = 0
    for _ in range(40):
        found += any(
            each.measure is measure and abs(each.seconds - seconds) <= 0.5
            for each in claims_of(rng, mixed)
        )
    assert found >= at_least
