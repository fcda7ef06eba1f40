"""Adding processes up, and the form between them."""

from __future__ import annotations

import json
import math

import pytest

from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Histogram, Samples
from gateway.observability.metrics.table import (
    ADDRESS_UP,
    CONNECTIONS,
    NODE_START,
    READY,
    ROUND_TRIP,
    SESSIONS_OPENED,
)


def worker(connections: int, up: int, start: float) -> Samples:
    meters = Meters()
    meters.count(SESSIONS_OPENED, "main", "jnlp4", by=connections)
    meters.observe(ROUND_TRIP, 0.002, "main")
    samples = Samples()
    meters.add_to(samples)
    samples.add(CONNECTIONS, connections)
    samples.add(ADDRESS_UP, up, "main", "127.0.0.1:80")
    samples.add(NODE_START, start, "main", "a")
    return samples


def test_each_kind_has_its_rule() -> None:
    both = worker(3, 1, 10.0)
    both.merge(worker(4, 0, 20.0))
    assert both.of(SESSIONS_OPENED) == {("main", "jnlp4"): 7}
    assert both.of(CONNECTIONS) == {(): 7}
    assert both.of(ADDRESS_UP) == {("main", "127.0.0.1:80"): 0}
    assert both.of(NODE_START) == {("main", "a"): 20.0}
    histogram = both.of(ROUND_TRIP)["main",]
    assert isinstance(histogram, Histogram)
    assert (sum(histogram.counts), histogram.sum) == (2, 0.004)


def test_of_the_ended_only_counts_are_kept() -> None:
    kept = Samples()
    kept.merge(worker(3, 1, 1.0), gauges=False)
    assert {metric for metric, _ in kept} == {SESSIONS_OPENED, ROUND_TRIP}


def test_merging_changes_nothing_of_the_other() -> None:
    one, other = worker(1, 1, 1.0), worker(1, 1, 1.0)
    total = Samples()
    total.merge(one)
    total.merge(other)
    assert one.in_words() == other.in_words()


def test_there_and_back() -> None:
    samples = worker(3, 1, 1.5)
    words = json.loads(json.dumps(samples.in_words()))
    assert Samples.of_words(words).in_words() == samples.in_words()


NAME = SESSIONS_OPENED.name


@pytest.mark.parametrize(
    "words",
    [
        None,
        [],
        {"remoting_gateway_of_the_future": [[[], 1]]},
        {NAME: None},
        {NAME: [None, 1, [["main", "jnlp4"]], [["main"], 1], [["main", "jnlp4"], "1"]]},
        {NAME: [[["main", "jnlp4"], math.nan], [["main", "jnlp4"], math.inf]]},
        {NAME: [[["main", "jnlp4"], [1, [1]]]]},
        {ROUND_TRIP.name: [[["main"], 1], [["main"], [1, [1, 2]]]]},
        {ROUND_TRIP.name: [[["main"], [1, ["a"] * (len(ROUND_TRIP.buckets) + 1)]]]},
    ],
)
def test_what_does_not_fit_is_left_out(words: object) -> None:
    assert list(Samples.of_words(words)) == []


def test_a_value_can_be_taken_out() -> None:
    samples = worker(1, 1, 1.0)
    samples.without(NODE_START, "main", "a")
    samples.without(READY)  # was never there
    assert samples.of(NODE_START) == {}


def test_a_histogram_is_no_number() -> None:
    with pytest.raises(TypeError):
        worker(1, 1, 1.0).add(ROUND_TRIP, 1, "main")
