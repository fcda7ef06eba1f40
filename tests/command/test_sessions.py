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
    """Stands in for a gateway that runs, with these sessions and events."""

    def __init__(self) -> None:
        self.sessions: list[dict[str, Any]] = []
        self.silent: list[int] = []
        self.events: list[dict[str, Any]] = []
        self.failure: ConfigError | None = None
        self.asked: list[dict[str, Any]] = []

    async def ask(self, folder: Path, question: dict[str, Any], *, within: float) -> dict[str, Any]:
        assert folder == Path("/state")
        self.asked.append(question)
        if self.failure is not None:
            raise self.failure
        if question["do"] == "timeline":
            return {"ok": True, "items": self.events, "missing_workers": self.silent}
        begin = question["offset"]
        page = self.sessions[begin : begin + question["limit"]]
        total = len(self.sessions)
        return {"ok": True, "items": page, "total": total, "missing_workers": self.silent}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr("gateway.server.control_socket.ask", made.ask)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["sessions", "--state-dir", "/state", *arguments])


def test_the_table(gateway: Gateway) -> None:
    gateway.sessions, gateway.silent = [SESSION], [4713]
    result = run()
    assert result.exit_code == 0
    assert gateway.asked == [{"do": "sessions", "offset": 0, "limit": 1000}]
    head, row, count, *_ = result.output.splitlines()
    for title in ("CONTROLLER", "NODE", "FROM", "SINCE", "PING"):
        assert title in head
    for shown in ("main", "linux-1", "192.0.2.1", "41 s", "12.5 ms", "111/222", "4712", "suspect"):
        assert shown in row
    assert count == "1 sessions"
    assert "worker 4713 did not answer" in result.output


def test_a_nodes_timeline(gateway: Gateway) -> None:
    gateway.events = EVENTS
    result = run("linux-1")
    assert result.exit_code == 0
    assert [(each["do"], each["node"]) for each in gateway.asked] == [
        ("sessions", "linux-1"),
        ("timeline", "linux-1"),
    ]
    assert "SINCE" not in result.output
    row = " ".join(result.output.split())
    assert "2026-01-01T00:00:00.000Z main ended client=192.0.2.1, by=agent, reason=the" in row
    assert "agent_idle_s=60.0" in row


def test_filters(gateway: Gateway) -> None:
    arguments = ["linux-*", "--controller", "main", "--state", "suspect", "--transport", "jnlp4"]
    arguments += ["--from", "192.0.2.0/24", "--search", "x", "--sort", "-idle", "--limit", "5"]
    assert run(*arguments).exit_code == 0
    assert json.loads(run("a[1]*", "--json").stdout)["total"] == 0
    assert gateway.asked.pop()["node"] == "a[1]*"
    (question,) = gateway.asked  # a pattern is nobody's timeline
    assert question == {
        "do": "sessions",
        "node": "linux-*",
        "controller": "main",
        "state": "suspect",
        "transport": "jnlp4",
        "address": "192.0.2.0/24",
        "search": "x",
        "sort": "-idle",
        "offset": 0,
        "limit": 5,
    }


def test_more_than_a_page(gateway: Gateway) -> None:
    gateway.sessions = [{**SESSION, "node": f"n{i}"} for i in range(2500)]
    assert len(json.loads(run("--json").stdout)["sessions"]) == 2500
    assert [each["offset"] for each in gateway.asked] == [0, 1000, 2000]
    assert "2500 sessions, 1200 shown" in run("--limit", "1200").output


def test_for_programs(gateway: Gateway) -> None:
    gateway.sessions, gateway.events = [SESSION], EVENTS
    found = {"sessions": [SESSION], "total": 1, "silent": [], "events": EVENTS}
    assert json.loads(run("linux-1", "--json").stdout) == found


def test_nobody_is_connected(gateway: Gateway) -> None:
    result = run()
    assert result.exit_code == 0
    assert "0 sessions" in result.output


def test_an_unknown_node(gateway: Gateway) -> None:
    result = run("linux-9")
    assert result.exit_code == 1
    assert "nothing is known of a node 'linux-9' here" in result.output


def test_names_cannot_drive_a_terminal(gateway: Gateway) -> None:
    gateway.sessions = [{**SESSION, "node": "a\x1b[2J[red]b\u202e"}]
    output = run().output
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "a?[2J[red]b?" in output, "and markup is text"


def test_no_gateway(gateway: Gateway) -> None:
    gateway.failure = ConfigError("no gateway runs here")
    result = run()
    assert result.exit_code == 3
    assert "no gateway runs here" in result.output
