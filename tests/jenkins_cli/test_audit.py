"""The lines about commands."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture

from gateway.config.cli import CommandRules
from gateway.jenkins_cli.audit import Caller, CommandAudit, Mode
from gateway.jenkins_cli.policy import Command, Rules
from gateway.protocol.plain_cli import CliFrame, Op, text_frame

CALLER = Caller("s1", "main", "192.0.2.1", "alice", "http")


def command(*texts: str, deny: tuple[str, ...] = ()) -> Command:
    made = Command(Rules(CommandRules(deny=deny), refuse_files=False))
    for text in texts:
        made.take(text_frame(Op.ARG, text))
    made.take(CliFrame(Op.START))
    return made


async def test_a_command_from_start_to_end(
    log: LogCapture, autojump_clock: trio.testing.MockClock
) -> None:
    audit = CommandAudit("commands", CALLER)
    audit.started(command("build", "secret-job"))
    await trio.sleep(2.5)
    audit.ended(0)
    audit.ended(None)
    started, ended = log.entries
    assert started["event"] == "cli command started"
    assert {k: started[k] for k in ("session", "controller", "client", "user", "command")} == {
        "session": "s1",
        "controller": "main",
        "client": "192.0.2.1",
        "user": "alice",
        "command": "build",
    }
    assert "secret-job" not in str(log.entries)
    assert (ended["command"], ended["exit_code"], ended["duration_s"]) == ("build", 0, 2.5)


async def test_arguments_on_request_and_cut(log: LogCapture) -> None:
    audit = CommandAudit("arguments", CALLER)
    audit.started(command("build", "x" * 1000, *["y"] * 99))
    (line,) = log.entries
    assert line["arguments_count"] == 100
    assert len(line["arguments"]) == 64
    assert len(line["arguments"][0]) == 256


@pytest.mark.parametrize(("mode", "lines"), [("off", 1), ("commands", 2)])
async def test_a_refusal_is_always_told(log: LogCapture, mode: Mode, lines: int) -> None:
    audit = CommandAudit(mode, CALLER)
    audit.started(command("groovy", deny=("groovy",)))
    audit.ended(2)
    assert len(log.entries) == lines
    assert log.entries[0]["event"] == "cli command refused"
    assert "policy" in log.entries[0]["reason"]


async def test_off_says_nothing(log: LogCapture) -> None:
    audit = CommandAudit("off", CALLER)
    audit.started(command("build"))
    audit.ended(0)
    assert log.entries == []
