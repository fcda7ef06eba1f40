"""Tests of ``gateway.config.networks``: one address for one client, and the networks it is in."""

from __future__ import annotations

import ipaddress

import pytest

from gateway.config.networks import (
    LOOPBACK,
    Network,
    is_in,
    is_ip_address,
    is_loopback,
    peer_address,
    read_address,
    site_of,
)

NETWORKS: list[Network] = [
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_network("fd00::/8"),
    ipaddress.ip_network("fe80::/10"),
]


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("::FFFF:0a01:0203", True),
        ("::ffff:11.1.2.3", False),
        ("fd00::1", True),
        ("fe80::1%eth0", True),
        ("::1", False),
        ("unix", False),
        ("unknown", False),
        ("", False),
        ("%", False),
    ],
)
def test_addresses_in_networks(host: str, *, inside: bool) -> None:
    assert is_in(NETWORKS, host) is inside
    assert not is_in([], host)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("::192.0.2.7", "::c000:207"),  # not that: the old "compatible" form is a real IPv6 address
        ("192.0.2.07", None),
        ("192.0.2", None),
        ("192.0.2.7/32", None),
        ("fe80::1%eth0", None),
        ('fe80::1%";proto=https;for=1.2.3.4', None),
        ("unknown", None),
        ("unix:", None),
        ("", None),
    ],
)
def test_addresses_as_text(text: str, address: str | None) -> None:
    found = read_address(text)
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("2001:db8::1", True),
        ("localhost", False),
        ("jenkins.example.com", False),
        ("1.2.3", False),
        ("[::1]", False),
        ("", False),
    ],
)
def test_addresses_and_names(name: str, *, is_one: bool) -> None:
    assert is_ip_address(name) is is_one


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("128.0.0.1", False),
        ("::2", False),
        ("localhost", False),  # whoever allows the name says so
        ("unix", False),
        ("", False),
    ],
)
def test_addresses_of_this_machine(host: str, *, local: bool) -> None:
    assert is_loopback(host) is local
    assert is_in(LOOPBACK, host) is local


@pytest.mark.parametrize(
    ("host", "address", "site"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1:2::3", "2001:db8:0:1:2::3", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("unix", None, None),
        ("unknown", None, None),
        ("", None, None),
    ],
)
def test_peers(host: str, address: str | None, site: str | None) -> None:
    found = peer_address(host)
    assert (None if found is None else str(found)) == address
    assert site_of(host) == site
