"""Tests of ``gateway.credentials.clock``: the clock may be set; what has ended stays ended."""

from __future__ import annotations

from gateway.credentials.clock import SteadyClock


class Times:
    def __init__(self) -> None:
        self.wall = 1000.0
        self.monotonic = 5.0


def test_the_clock_set_back_and_forward() -> None:
    times = Times()
    clock = SteadyClock(lambda: times.wall, lambda: times.monotonic)
    assert clock() == 1000.0
    times.wall, times.monotonic = 1010.0, 15.0
    assert clock() == 1010.0
    times.wall = 10.0  # set back
    assert clock() == 1010.0
    times.monotonic = 20.0
    assert clock() == 1015.0
    times.wall = 5000.0  # set forward: believed
    assert clock() == 5000.0
    times.wall = 1016.0  # and back to what it should be: no lasting harm
    assert clock() == 1016.0
