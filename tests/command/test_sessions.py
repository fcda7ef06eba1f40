"""``remoting-gateway sessions``: what is asked, printed, and returned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.command import cli
from gateway.errors import ConfigError

SESSION: dict[str, Any] = {
    "session": "k3vq-9x2m",
    "controller": "main",
    "node": "linux-1",
    "client": "192.0.2.1",
    "since": "2026-01-01T00:00:00+00:00",
    "suspect": True,
    "takeovers": 0,
    "transport": "jnlp4",
    "controller_address": "192.0.2.9:50000",
    "age_s": 12.3,
    "agent_idle_s": 41.2,
    "controller_idle_s": 1.0,
    "bytes_from_agent": 111,
    "bytes_to_agent": 222,
    "round_trip_ms": 12.5,
    "config_generation": 1,
    "worker": 4712,
}
EVENTS: list[dict[str, Any]] = [
    {
        "time": "2026-01-01T00:00:00.000Z",
        "controller": "main",
        "event": "ended",
        "client": "192.0.2.1",
        "by": "agent",
        "reason": "the agent closed the connection without a Close frame",
        "agent_idle_s": 60.0,
        "worker": 4712,
    }
]


class Gateway:
    """Stands in for a gateway that runs."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | ConfigError = {}
        self.asked: list[tuple[Path, dict[str, Any]]] = []

    async def ask(self, folder: Path, question: dict[str, Any], *, within: float) -> dict[str, Any]:
        self.asked.append((folder, question))
        if isinstance(self.answer, ConfigError):
            raise self.answer
        return self.answer


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr("gateway.server.control_socket.ask", made.ask)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["sessions", "--state-dir", "/state", *arguments])


def test_the_table(gateway: Gateway) -> None:
    gateway.answer = {"ok": True, "sessions": [SESSION], "silent": [4713]}
    result = run()
    assert result.exit_code == 0
    assert gateway.asked == [(Path("/state"), {"do": "sessions"})]
    head, row, count, *_ = result.output.splitlines()
    for title in ("CONTROLLER", "NODE", "FROM", "SINCE", "PING"):
        assert title in head
    for shown in ("main", "linux-1", "192.0.2.1", "41 s", "12.5 ms", "111/222", "4712", "suspect"):
        assert shown in row
    assert count == "1 sessions"
    assert "worker 4713 did not answer" in result.output


def test_a_nodes_timeline(gateway: Gateway) -> None:
    gateway.answer = {"ok": True, "sessions": [], "silent": [], "events": EVENTS}
    result = run("linux-1")
    assert result.exit_code == 0
    assert gateway.asked == [(Path("/state"), {"do": "sessions", "node": "linux-1"})]
    assert "SINCE" not in result.output
    row = " ".join(result.output.split())
    assert "2026-01-01T00:00:00.000Z main ended client=192.0.2.1, by=agent, reason=the" in row
    assert "agent_idle_s=60.0" in row


def test_for_programs(gateway: Gateway) -> None:
    found = {"sessions": [SESSION], "silent": [], "events": EVENTS}
    gateway.answer = {"ok": True, **found}
    assert json.loads(run("linux-1", "--json").stdout) == found


def test_nobody_is_connected(gateway: Gateway) -> None:
    gateway.answer = {"ok": True, "sessions": [], "silent": []}
    result = run()
    assert result.exit_code == 0
    assert "0 sessions" in result.output


def test_an_unknown_node(gateway: Gateway) -> None:
    gateway.answer = {"ok": True, "sessions": [], "silent": [], "events": []}
    result = run("linux-9")
    assert result.exit_code == 1
    assert "nothing is known of a node 'linux-9' here" in result.output


def test_names_cannot_drive_a_terminal(gateway: Gateway) -> None:
    evil = {**SESSION, "node": "a\x1b[2J[red]b"}
    gateway.answer = {"ok": True, "sessions": [evil], "silent": []}
    output = run().output
    assert "\x1b" not in output
    assert "a?[2J[red]b" in output, "and markup is text"


def test_no_gateway(gateway: Gateway) -> None:
    gateway.answer = ConfigError("no gateway runs here")
    result = run()
    assert result.exit_code == 3
    assert "no gateway runs here" in result.output
