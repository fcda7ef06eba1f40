"""Tests of ``gateway.runtime.admission``."""

from __future__ import annotations

import pytest

from gateway.errors import LimitExceeded
from gateway.runtime.admission import ConnectionPlaces, counted_sites


def test_connections_are_counted() -> None:
    places = ConnectionPlaces(2, per_address=2)
    with places.place("192.0.2.1"), places.place("192.0.2.2"):
        assert places.held == 2
        with pytest.raises(LimitExceeded, match="2 connections are open"):
            places.place("192.0.2.3").__enter__()
        assert places.held == 2
    assert places.held == 0
    with pytest.raises(LookupError), places.place("192.0.2.1"):
        raise LookupError
    assert places.held == 0


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8:0:0:ffff::1", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2", "fe81::1"),
    ],
)
def test_an_address_gets_so_many_and_no_more(one: str, same: str, other: str) -> None:
    places = ConnectionPlaces(10, per_address=2)
    with places.place(one), places.place(same):
        with pytest.raises(LimitExceeded, match="connections_per_address"):
            places.place(one).__enter__()
        with places.place(other):
            assert places.held == 3
    # What was given back can be had again, and nothing is left behind.
    with places.place(one), places.place(same):
        assert places.held == 2


def test_proxies_in_front_and_unix_peers_may_have_all_but_no_more() -> None:
    places = ConnectionPlaces(4, per_address=1, is_exempt="10.0.0.1".__eq__)
    with (
        places.place("10.0.0.1"),
        places.place("10.0.0.1"),
        places.place("unix"),
        places.place("unix"),
        pytest.raises(LimitExceeded, match=r"4 connections are open \(limits.connections\)"),
    ):
        places.place("10.0.0.1").__enter__()
    assert places.held == 0


def test_who_counts_as_which_address() -> None:
    site = counted_sites(lambda host: host == "10.0.0.1")
    for _ in range(2):  # also when it is remembered
        assert site("192.0.2.1") == site("::ffff:192.0.2.1") == "192.0.2.1"
        assert site("2001:db8::1") == site("2001:db8::ffff:1") != site("2001:db8:0:1::1")
        assert site("10.0.0.1") is site("unix") is None


def test_limits_change_in_place() -> None:
    places = ConnectionPlaces(2, per_address=1)
    with places.place("192.0.2.1"):
        places.change(1, per_address=5, is_exempt="192.0.2.9".__eq__)
        with pytest.raises(LimitExceeded, match="1 connections are open"):
            places.place("192.0.2.2").__enter__()
        places.change(9, per_address=2)
        with places.place("192.0.2.1"):
            assert places.held == 2
            with pytest.raises(LimitExceeded, match="2 connections from"):
                places.place("192.0.2.1").__enter__()
    assert places.held == 0
