"""Tests of ``gateway.credentials.conditions``: each condition, alone and together."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.config.credentials import ClientCertificateCondition, NodesConfig
from gateway.config.networks import is_in
from gateway.credentials.conditions import Conditions, NodeRules, Pattern, format_time
from gateway.credentials.policy import CertificateNames, Presented

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC).timestamp()


def presented(
    node: str = "build-1",
    address: str = "10.1.2.3",
    certificate: CertificateNames | None = None,
    controller: str = "main",
) -> Presented:
    return Presented(controller, node, "s", address, certificate)


def rules(*rules: dict[str, Any], unlisted: str = "allow") -> NodeRules:
    return NodeRules(NodesConfig.model_validate({"rules": rules, "unlisted": unlisted}))


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("build-1", ["build-1"], ["build-10", "Build-1", "xbuild-1", ""]),
        ("build-*", ["build-", "build-1", "build-*"], ["build", "xbuild-1"]),
        ("*", ["", "anything"], []),
        ("*-gpu", ["a-gpu", "-gpu"], ["gpu", "a-gpu2"]),
        ("a*b*c", ["abc", "a1b2c", "abbc", "abcbc"], ["ac", "acb", "ab", "abcx"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("*x*x*", ["xx", "1x2x3"], ["x"]),
        ("[ab]?", ["[ab]?"], ["a1", "b"]),
    ],
)
def test_patterns(pattern: str, fits: list[str], does_not: list[str]) -> None:
    assert [name for name in fits if not Pattern(pattern).fits(name)] == []
    assert [name for name in does_not if Pattern(pattern).fits(name)] == []


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("::ffff:10.0.0.1", True),
        ("fd00::1%eth0", True),
        ("fe80::1", False),
        ("unix", False),
        ("", False),
    ],
)
def test_networks(address: str, inside: bool) -> None:
    config = NodesConfig.model_validate(
        {"rules": [{"match": "*", "allow_from": ["10.0.0.0/8", "fd00::/8"]}]}
    )
    networks = config.rules[0].allow_from
    assert networks is not None
    assert is_in(networks, address) is inside
    failures = NodeRules(config).failures(presented(address=address), NOON)
    assert failures == ([] if inside else [f'rule "*": {address} is in none of its networks'])


SHOWN = CertificateNames(("build-1",), ("build-1.agents.example.com", "spiffe://x/build-1"))


@pytest.mark.parametrize(
    ("by", "name", "certificate", "failure"),
    [
        ("subject", "{node}", SHOWN, None),
        ("san", "{node}.agents.example.com", SHOWN, None),
        ("san", "spiffe://x/{node}", SHOWN, None),
        ("san", "{node}", SHOWN, "the client certificate's san is "),
        ("subject", "build-2", SHOWN, "the client certificate's subject is "),
        ("subject", "{node}", None, "no client certificate was shown"),
        ("subject", "{node}", CertificateNames(), "the client certificate's subject is nothing"),
        ("subject", "{node}", CertificateNames(("Build-1",)), "the client certificate's subject"),
    ],
)
def test_client_certificates(
    by: str, name: str, certificate: CertificateNames | None, failure: str | None
) -> None:
    condition = ClientCertificateCondition.model_validate({"by": by, "name": name})
    found = Conditions(certificate=condition).failures(presented(certificate=certificate), NOON)
    if failure is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(failure)


def test_times() -> None:
    conditions = Conditions(valid_from=NOON, valid_until=NOON + 60)
    assert conditions.failures(presented(), NOON - 0.001) == [
        "not valid before 2026-06-01T12:00:00Z"
    ]
    assert conditions.failures(presented(), NOON) == []
    assert conditions.failures(presented(), NOON + 59.999) == []
    assert conditions.failures(presented(), NOON + 60) == ["not valid since 2026-06-01T12:01:00Z"]


def test_every_rule_that_fits_must_hold_and_all_failures_are_told() -> None:
    found = rules(
        {"match": "*", "controllers": ["other"]},
        {"match": "build-*", "deny": True, "allow_from": ["192.0.2.0/24"]},
        {"match": "windows-*", "deny": True},
    ).failures(presented(), NOON)
    assert found == [
        'rule "*": not allowed on main',
        'rule "build-*": 10.1.2.3 is in none of its networks',
        'rule "build-*": denied',
    ]


def test_unlisted_nodes() -> None:
    listing = rules({"match": "build-*"}, unlisted="deny")
    assert listing.failures(presented(), NOON) == []
    assert listing.failures(presented("other"), NOON) == ["no rule lists the node"]
    assert rules().failures(presented(), NOON) == []


def test_the_first_end_of_a_nodes_rules() -> None:
    found = rules(
        {"match": "*", "valid_until": "2026-06-01T12:05:00Z"},
        {"match": "build-*", "valid_until": "2026-06-01T14:01:00+02:00"},
        {"match": "x", "valid_until": "2026-01-01T00:00:00Z"},
    )
    assert found.ends_at("build-1") == NOON + 60
    assert found.ends_at("other") == NOON + 300
    assert rules().ends_at("other") is None
    assert format_time(NOON + 60) == "2026-06-01T12:01:00Z"


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (253402300799.0, "9999-12-31T23:59:59Z"),
        (253402300800.0, "2.53402e+11 s after 1970"),
        (-1e300, "-1e+300 s after 1970"),
        (float("inf"), "inf s after 1970"),
        (float("nan"), "nan s after 1970"),
    ],
)
def test_every_time_can_be_shown(time: float, text: str) -> None:
    assert format_time(time) == text
    assert Conditions(valid_from=time).failures(presented(), -math.inf) in (
        [f"not valid before {text}"],
        [],  # there is no before for what is no number
    )
