"""Counting: sums, buckets, and the bound on label values."""

from __future__ import annotations

from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Histogram, Samples
from gateway.observability.metrics.table import (
    REQUEST_DURATION,
    REQUESTS,
    ROUND_TRIP,
    SERIES_DROPPED,
    SESSIONS_OPENED,
)


def counted(meters: Meters) -> Samples:
    samples = Samples()
    meters.add_to(samples)
    return samples


def test_counters_add_up() -> None:
    meters = Meters()
    meters.count(SESSIONS_OPENED, "main", "jnlp4")
    meters.count(SESSIONS_OPENED, "main", "jnlp4", by=2)
    meters.count(SESSIONS_OPENED, "other", "jnlp4", by=0)
    assert counted(meters).of(SESSIONS_OPENED) == {("main", "jnlp4"): 3, ("other", "jnlp4"): 0}


def test_a_value_on_a_bound_is_within_it() -> None:
    meters = Meters()
    for value in (0.0, 0.001, 0.0011, 10.0, 10.1):
        meters.observe(ROUND_TRIP, value, "main")
    found = counted(meters).of(ROUND_TRIP)["main",]
    assert isinstance(found, Histogram)
    assert (found.counts[0], found.counts[1], found.counts[-2], found.counts[-1]) == (2, 1, 1, 1)
    assert sum(found.counts) == 5
    assert abs(found.sum - 20.1021) < 1e-9


def test_what_was_read_does_not_change_any_more() -> None:
    meters = Meters()
    meters.observe(ROUND_TRIP, 0.5, "main")
    before = counted(meters)
    meters.observe(ROUND_TRIP, 0.5, "main")
    found = before.of(ROUND_TRIP)["main",]
    assert isinstance(found, Histogram)
    assert sum(found.counts) == 1


def test_label_values_are_bounded() -> None:
    meters = Meters(most=2)
    for code in ("200", "404", "500", "502"):
        meters.count(REQUESTS, "r", "c", "GET", code)
        meters.observe(REQUEST_DURATION, 0.1, code, "c")
    meters.count(REQUESTS, "r", "c", "GET", "200")  # a known one goes on
    found = counted(meters)
    other = ("other",) * 4
    assert found.of(REQUESTS) == {
        ("r", "c", "GET", "200"): 2,
        ("r", "c", "GET", "404"): 1,
        other: 2,
    }
    assert set(found.of(REQUEST_DURATION)) == {("200", "c"), ("404", "c"), ("other", "other")}
    assert found.of(SERIES_DROPPED) == {(): 4}
