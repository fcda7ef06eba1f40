"""Tests of ``gateway.command.node_options``: values of options, and who the operator is."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.command import cli
from gateway.command.node_options import operator


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "state_dir: state\n"
        'listeners: [{address: "127.0.0.1:1"}]\n'
        'controllers: {main: {url: "http://j", credentials: {modes: [nodes]}}}\n'
    )
    return path


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["issue", "main", "a", "--allow-from", "10.0.0.1/8"], "without host bits"),
        (["issue", "main", "a", "--certificate", "issuer"], "allowed: subject, san"),
        (["issue", "main", "a", "--valid-from", "tomorrow"], "allowed: a time with its offset"),
        (["issue", "main", "a", "--valid-until", "2026-01-01T00:00:00"], "with its offset"),
        (["issue", "main", "a", "--valid-from", "0001-01-01T00:00:00+12:00"], "1970 to 9999"),
        (["expire", "main", "a", "--at", "9999-12-31T23:59:59-12:00"], "1970 to 9999"),
        (["expire", "main", "a", "--in", "99999999d"], "allowed: 36500d or less"),
        (["rotate", "main", "a", "--overlap", "9" * 400 + "d"], "allowed: 36500d or less"),
        (
            [
                *("issue", "main", "a", "--upstream-secret-file", "-"),
                *("--valid-from", "2027-01-01T00:00:00Z", "--valid-until", "2026-01-01T00:00:00Z"),
            ],
            "allowed: an end after the beginning",
        ),
        (["rotate", "main", "a", "--overlap", "1"], "allowed: a number and a unit"),
        (["rotate", "mian", "a"], 'CONTROLLER: found "mian"; allowed: "main". Did you mean'),
        (["rotate", "main", "日本"], "NODE: allowed: a name of up to 1024"),
        (["rotate", "main", " a"], "NODE: allowed: a name without white space around it"),
        (["change", "main", "a"], "Give what is to change"),
        (["change", "main", "a", "--drop", "all"], "'all' is not one of"),
        (["expire", "main", "a"], "Give one of --at TIME"),
        (["expire", "main", "a", "--never", "--in", "1h"], "Give one of --at TIME"),
        (["unlock"], "Give CONTROLLER NODE"),
        (["unlock", "main"], "NODE is missing"),
        (["unlock", "main", "a", "--all"], "Give CONTROLLER NODE"),
        (["unlock", "--address", "x"], 'found "x"; allowed: an IP address'),
    ],
)
def test_what_is_wrong(config: Path, arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(cli, ["nodes", *arguments, "-c", str(config)], input="0" * 64)
    assert result.exit_code in {1, 2}
    assert text in " ".join(result.output.split())
    assert not (config.parent / "state" / "store.key").exists()


def test_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "eve")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert operator() == pwd.getpwuid(0).pw_name
    monkeypatch.setenv("SUDO_USER", "bob")
    assert operator() == f"bob as {pwd.getpwuid(0).pw_name}"
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    assert operator() == "uid 4000000001"
