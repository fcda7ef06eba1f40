"""``kick``, ``block`` and their like: what is asked, printed, and returned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.command import cli
from gateway.errors import ConfigError

WHO = {"session": "a-b", "controller": "main", "node": "n\x1b1", "client": "192.0.2.1", "worker": 7}
BLOCK = {
    "node": "n1",
    "controller": None,
    "until": None,
    "since": "2026-01-01T00:00:00+00:00",
    "reason": "stolen",
    "by": "control socket",
}
ALL = {"partial": False, "missing_workers": []}


class Gateway:
    def __init__(self) -> None:
        self.answer: dict[str, Any] | ConfigError = {}
        self.asked: list[dict[str, Any]] = []

    async def ask(self, folder: Path, question: dict[str, Any], *, within: float) -> dict[str, Any]:
        self.asked.append(question)
        if isinstance(self.answer, ConfigError):
            raise self.answer
        return {"ok": True, **self.answer}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr("gateway.server.control_socket.ask", made.ask)
    return made


def run(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [command, "--state-dir", "/state", *arguments])


def test_kick(gateway: Gateway) -> None:
    gateway.answer = {"ended": [WHO], **ALL}
    result = run("kick", "n1", "--controller", "main", "--reason", "why", "--close-code", "4000")
    assert result.exit_code == 0
    assert result.output == "ended: n?1 at main, from 192.0.2.1\n"
    assert gateway.asked == [
        {"do": "kick", "node": "n1", "controller": "main", "reason": "why", "close_code": 4000}
    ]


def test_takeover(gateway: Gateway) -> None:
    gateway.answer = {"ended": [], "partial": True, "missing_workers": [7]}
    result = run("takeover", "n1")
    assert "no session of it was found" in result.output
    assert "worker 7 did not answer" in result.output
    assert gateway.asked == [{"do": "takeover", "node": "n1"}]


@pytest.mark.parametrize(
    ("arguments", "wish", "expected"),
    [
        ([], {"end_session": True}, "blocked until it is unblocked"),
        (["--for", "2h"], {"end_session": True, "duration_s": 7200.0}, "blocked until"),
        (["--keep-session"], {"end_session": False}, "blocked"),
    ],
)
def test_block(gateway: Gateway, arguments: list[str], wish: dict[str, Any], expected: str) -> None:
    gateway.answer = {"block": BLOCK, "ended": [], "kept": True, **ALL}
    result = run("block", "n1", *arguments)
    assert result.output.startswith(expected)
    assert gateway.asked == [{"do": "block", "node": "n1", "reason": "", **wish}]


def test_a_block_that_is_not_kept_is_told(gateway: Gateway) -> None:
    gateway.answer = {"block": BLOCK, "ended": [WHO], "kept": False, **ALL}
    output = run("block", "n1").output
    assert "ends with the gateway" in output
    assert "ended: n?1" in output


def test_a_time_that_is_none(gateway: Gateway) -> None:
    result = run("block", "n1", "--for", "soon")
    assert result.exit_code == 2
    assert 'such as "500ms"' in result.output
    assert gateway.asked == []


def test_unblock_and_blocks(gateway: Gateway) -> None:
    gateway.answer = {"block": BLOCK, "kept": True, **ALL}
    assert run("unblock", "n1").output == "unblocked\n"
    gateway.answer = {"items": [{**BLOCK, "node": "evil\x1b"}]}
    output = run("blocks").output
    assert "evil?" in output
    assert "stolen" in output
    assert json.loads(run("blocks", "--json").output) == gateway.answer


def test_log_level(gateway: Gateway) -> None:
    gateway.answer = {"level": "debug", "until": "2026-01-01T00:00:00+00:00"}
    assert run("log-level").output == "debug until 2026-01-01T00:00:00+00:00\n"
    assert run("log-level", "debug", "--for", "10m").exit_code == 0
    assert gateway.asked[-1] == {"do": "set-log-level", "level": "debug", "duration_s": 600.0}


def test_what_is_refused(gateway: Gateway) -> None:
    gateway.answer = {"ok": False, "reason": "there is no such session"}
    result = run("kick", "n1")
    assert (result.exit_code, result.output) == (1, "there is no such session\n")


def test_no_gateway(gateway: Gateway) -> None:
    gateway.answer = ConfigError("no gateway runs here")
    for command in ("kick", "takeover", "block", "unblock"):
        assert run(command, "n1").exit_code == 3
    assert run("blocks").exit_code == 3
