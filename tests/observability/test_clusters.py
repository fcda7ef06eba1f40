"""Tests of ``gateway.observability.clusters``: what is a cluster, and what only looks like one."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observability.clusters import (
    MIN_CLUSTER,
    SIGNIFICANCE,
    WINDOW,
    _chance,
    find_cluster,
)


def test_a_timer_is_found() -> None:
    found = find_cluster([5.0, 17.0, 42.0, *(60 + i / 100 for i in range(9)), 130.0], floor=3)
    assert found is not None
    assert (found.low, found.high, found.median, found.count) == (60.0, 60.08, 60.04, 9)
    assert 0 < found.chance <= SIGNIFICANCE


def test_fewer_than_the_stated_number_are_no_cluster() -> None:
    assert find_cluster([60.0] * (MIN_CLUSTER - 1), floor=3) is None
    assert find_cluster([60.0] * MIN_CLUSTER, floor=3) is not None


def test_values_more_than_the_window_apart_are_not_one_cluster() -> None:
    assert find_cluster([60 + i * 0.4 for i in range(12)], floor=3) is None


def test_the_pile_at_zero_is_not_looked_at() -> None:
    values = [i / 100 for i in range(40)]
    assert find_cluster(values, floor=3) is None
    assert find_cluster([2.9 + i / 100 for i in range(12)], floor=3) is None


def test_more_tests_need_more_evidence() -> None:
    values = [60.0] * 8
    assert find_cluster(values, floor=3, tests=4) is not None
    assert find_cluster(values, floor=3, tests=100) is None


@pytest.mark.parametrize(("wide", "at_most"), [(1.5, 10), (3.0, 2), (10.0, 0)])
def test_a_smooth_hump_is_no_timer(wide: float, at_most: int) -> None:
    """Builds that take 600 s, give or take a few: the narrower, the more they are like a timer."""
    rng = random.Random(1)
    claims = sum(
        find_cluster([rng.gauss(600, wide) for _ in range(100)], floor=10) is not None
        for _ in range(200)
    )
    assert claims <= at_most


def test_an_edge_is_no_timer() -> None:
    """Pings end idle times at 20 s: full density before it, nothing behind."""
    rng = random.Random(2)
    for _ in range(200):
        assert find_cluster([rng.uniform(0, 20) for _ in range(128)], floor=3) is None


def test_the_larger_of_two_timers_comes_first() -> None:
    found = find_cluster([30.0] * 20 + [60.0] * 25, floor=3)
    assert found is not None
    assert (found.median, found.count) == (60.0, 25)


@given(
    st.lists(st.floats(0, 1e6), max_size=128),
    st.floats(0, 100),
)
def test_whatever_is_claimed_holds(values: list[float], floor: float) -> None:
    found = find_cluster(values, floor=floor)
    if found is None:
        return
    assert found.low >= floor
    assert found.high - found.low <= WINDOW
    assert found.count == sum(found.low <= value <= found.high for value in values)
    assert found.count >= MIN_CLUSTER
    assert found.low <= found.median <= found.high
    assert found.chance <= SIGNIFICANCE


@given(
    st.lists(st.floats(0, 20), max_size=20),
    st.integers(12, 60),
    st.floats(100, 1e5),
)
def test_a_timer_far_from_the_rest_is_always_found(
    others: list[float], count: int, length: float
) -> None:
    found = find_cluster([*others, *([length] * count)], floor=3)
    assert found is not None
    assert found.count >= count - 1 or found.median <= 21


@given(st.integers(1, 40), st.integers(0, 40), st.sampled_from([3.0, 5.0]))
def test_the_chance_is_that_of_the_binomial(inside: int, beside: int, width: float) -> None:
    into = 1 / (1 + width)
    total = inside + beside
    below = math.fsum(
        math.comb(total, count) * into**count * (1 - into) ** (total - count)
        for count in range(inside)
    )
    found = _chance(inside, beside, width)
    if inside * width < 3 * beside:
        assert found == 1
    else:
        assert found == pytest.approx(1 - below, abs=1e-9)
