"""``allow`` and ``deny``: never more open than it was without saying so."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from gateway.importing.nginx_access import NOBODY, closing, of_both, read_rules
from gateway.importing.report import Report
from tests.importing.trees import left_out, parse, server

_LOWER_AND_ONE = ("0.0.0.0/1", "192.0.2.0/32", "::/0")


@pytest.mark.parametrize(
    ("text", "rules", "left"),
    [
        ("", None, 0),
        ("allow 10.0.0.0/8; deny all;", ("10.0.0.0/8",), 0),
        ("allow 10.0.0.0/8; allow unix:; deny all;", ("10.0.0.0/8",), 0),
        ("deny all;", NOBODY, 0),
        ("deny all; allow 10.0.0.0/8;", NOBODY, 0),
        ("allow 10.0.0.0/8;", None, 0),
        ("allow all; deny all;", None, 0),
        ("deny unix:; allow 10.0.0.0/8; deny all;", ("10.0.0.0/8",), 0),
        ("deny 10.0.0.0/9; allow 10.0.0.0/8; deny all;", ("10.128.0.0/9",), 0),
        ("allow 10.0.0.0/8; deny 10.0.0.0/9; deny all;", ("10.0.0.0/8",), 0),
        ("deny 10.0.0.0/8; allow 10.1.0.0/16; deny all;", NOBODY, 0),
        ("deny 10.0.0.0/8; allow fd00::/8; deny all;", ("fd00::/8",), 0),
        ("deny 128.0.0.0/1;", ("0.0.0.0/1", "::/0"), 0),
        ("deny ::/0; allow all;", ("0.0.0.0/0",), 0),
        ("allow 192.0.2.0; deny 128.0.0.0/1;", _LOWER_AND_ONE, 0),
        ("allow 192.0.2.0; deny 128.0.0.0/1; allow all;", _LOWER_AND_ONE, 0),
        ("deny 192.0.2.1; allow 192.0.2.0/31; deny 128.0.0.0/1;", _LOWER_AND_ONE, 0),
        ("deny 128.0.0.0/1; allow 192.0.2.1;", ("0.0.0.0/1", "::/0"), 0),
        ("allow 10.0.0.0/8; deny 10.1.0.0/16;", None, 0),
        ("deny 0.0.0.0/0; deny ::/0;", NOBODY, 0),
    ],
)
def test_rules(tmp_path: Path, text: str, rules: tuple[str, ...] | None, left: int) -> None:
    report = Report()
    said = list(parse(tmp_path, text))
    assert read_rules(said, report) == rules
    assert len([each for each in left_out(report) if "unix" not in each]) == left
    assert all(report.is_settled(each) for each in said)


def test_one_address_less(tmp_path: Path) -> None:
    said = list(parse(tmp_path, "deny 10.0.0.5; allow 10.0.0.0/29; deny all;"))
    assert read_rules(said, Report()) == ("10.0.0.0/30", "10.0.0.4/32", "10.0.0.6/31")


def test_whom_no_rule_fits_and_who_was_let_in_before(tmp_path: Path) -> None:
    said = list(parse(tmp_path, "allow 10.0.0.5; deny 10.0.0.0/8;"))
    found = [ip_network(each) for each in read_rules(said, Report()) or ()]
    for address, is_in in (("10.0.0.5", True), ("10.0.0.4", False), ("11.0.0.1", True)):
        assert any(ip_address(address) in each for each in found) is is_in


def test_more_networks_than_anybody_reads_are_closed(tmp_path: Path) -> None:
    report = Report()
    said = list(parse(tmp_path, "".join(f"deny {i}.1.1.1;" for i in range(1, 200))))
    assert read_rules(said, report) == NOBODY
    assert len(left_out(report)) == len(said)


def test_many_networks_where_nobody_is_refused_are_everybody(tmp_path: Path) -> None:
    said = list(
        parse(tmp_path, "".join(f"allow 10.1.{i}.0/24; allow {i}.1.1.1;" for i in range(200)))
    )
    assert read_rules(said, Report()) is None


def test_whom_both_lists_let_in() -> None:
    assert of_both(None, ("10.0.0.0/8",)) == of_both(("10.0.0.0/8",), None) == ("10.0.0.0/8",)
    assert of_both(("10.0.0.0/8", "::1/128"), ("10.1.0.0/16", "192.0.2.1/32")) == ("10.1.0.0/16",)
    assert of_both(("10.0.0.0/8",), ("192.0.2.1/32",)) == NOBODY


def test_what_closes_a_block(tmp_path: Path) -> None:
    assert closing(server(tmp_path, "deny all;"))
    assert closing(server(tmp_path, "return 404;"))
    assert closing(server(tmp_path, "return 503;"))
    assert not closing(server(tmp_path, "return 200 ok;"))
    assert not closing(server(tmp_path, "allow 10.0.0.1; deny all;"))
    assert not closing(server(tmp_path, "return 302 /x;"))
