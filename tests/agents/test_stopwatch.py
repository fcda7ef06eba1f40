"""Phases follow each other without a gap."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from gateway.agents.stopwatch import Stopwatch
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Histogram, Samples
from gateway.observability.metrics.table import PHASE_DURATION


async def test_phases(autojump_clock: MockClock) -> None:
    meters = Meters()
    watch = Stopwatch(meters, "main")
    await trio.sleep(0.5)
    watch.lap("credentials")
    await trio.sleep(100)
    watch.restart()  # between two attempts
    await trio.sleep(2)
    watch.lap("queue")
    samples = Samples()
    meters.add_to(samples)
    sums = {
        labels: value.sum
        for labels, value in samples.of(PHASE_DURATION).items()
        if isinstance(value, Histogram)
    }
    assert sums == {("main", "credentials"): 0.5, ("main", "queue"): 2.0}
