"""``allow`` and ``deny``: never more open than it was without saying so."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.importing.nginx_access import NOBODY, Rules, closing, read_rules
from gateway.importing.report import Report
from tests.importing.trees import left_out, parse, server


@pytest.mark.parametrize(
    ("text", "rules", "left"),
    [
        ("", Rules(), 0),
        ("allow 10.0.0.0/8; deny all;", Rules(("10.0.0.0/8",)), 0),
        ("allow 10.0.0.0/8; allow unix:; deny all;", Rules(("10.0.0.0/8",)), 0),
        ("deny all;", Rules(NOBODY), 0),
        ("deny all; allow 10.0.0.0/8;", Rules(NOBODY), 0),
        ("allow 10.0.0.0/8;", Rules(), 0),
        ("allow all; deny all;", Rules(), 0),
        ("deny 10.0.0.1; allow 10.0.0.0/8; deny all;", Rules(understood=False), 3),
        ("deny 10.0.0.1;", Rules(understood=False), 1),
    ],
)
def test_rules(tmp_path: Path, text: str, rules: Rules, left: int) -> None:
    report = Report()
    said = list(parse(tmp_path, text))
    assert read_rules(said, report) == rules
    assert len([each for each in left_out(report) if "unix" not in each]) == left
    assert all(report.is_settled(each) for each in said)


def test_what_closes_a_block(tmp_path: Path) -> None:
    assert closing(server(tmp_path, "deny all;"))
    assert closing(server(tmp_path, "return 404;"))
    assert not closing(server(tmp_path, "allow 10.0.0.1; deny all;"))
    assert not closing(server(tmp_path, "return 302 /x;"))
