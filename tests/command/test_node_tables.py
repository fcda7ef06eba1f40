"""Tests of ``gateway.command.node_tables``: what strangers wrote is shown as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.command.node_tables import print_list, print_node
from gateway.credentials.node_exchange import to_listing
from tests.credentials.node_records import FULL


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    strange = replace(FULL, name="\x1b[31mred[/]", note="[bold]x")
    print_list([to_listing(each, 1500.0) for each in (FULL, strange)])
    out = capsys.readouterr().out
    head, _, first, second = [line for line in out.splitlines() if line.strip()]
    assert head.split()[:3] == ["CONTROLLER", "NODE", "STATE"]
    assert "build-1" in first
    assert "rotating" in first
    assert "10.0.0.0/8, fd00::/8" in first
    assert "?[31mred[/]" in second
    assert "[bold]x" in second


def test_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    print_list([])
    assert "CONTROLLER" in capsys.readouterr().out


def test_one_node(capsys: pytest.CaptureFixture[str]) -> None:
    listing = to_listing(FULL, 1500.0)
    listing["history"] = [{"at": "2026", "event": "issued", "operator": "bob", "client": "x"}]
    print_node(listing)
    out = capsys.readouterr().out
    for expected in ("san {node}.x", "stored", "ask Bob", "client x", "1970-01-01T00:16:41Z"):
        assert expected in out
