"""The demonstration itself: it passes with the real gateway, and fails when something is wrong."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from rich.console import Console

from gateway.config.models import GatewayConfig
from gateway.demo import story
from gateway.demo.agent import SimulatedAgent, trusting
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.report import Report
from gateway.demo.story import run_demo
from gateway.transport.listeners import BoundListener

ROOT = Path(__file__).parents[2]


def told() -> tuple[int, Report, str]:
    """Run the demonstration; return its status, its checks and what it printed."""
    out = io.StringIO()
    report = Report(Console(file=out, highlight=False, emoji=False))
    return run_demo(stay=False, report=report), report, out.getvalue()


def test_everything_is_as_expected() -> None:
    status, report, text = told()
    assert [check for check in report.checks if not check.passed] == []
    assert status == 0
    assert len(report.checks) >= 20
    assert "Everything was as expected" in text
    assert "\x1b" not in text
    assert not re.search(r"\b[0-9a-f]{64}\b", text)  # neither secrets nor cookies


async def _deaf(
    listeners: Sequence[BoundListener],
    snapshot: GatewayConfig,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Play a gateway that accepts nobody."""
    task_status.started()
    try:
        await trio.sleep_forever()
    finally:
        for listener in listeners:
            listener.socket.close()


def test_a_gateway_that_does_nothing_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "serve", _deaf)
    monkeypatch.setattr(story, "STORY_TIMEOUT", 0.3)
    status, report, text = told()
    assert status == 1
    assert [check.what for check in report.checks if not check.passed] == ["time"]
    assert "The gateway's log\n(empty)" in text


async def _closing(
    listeners: Sequence[BoundListener],
    snapshot: GatewayConfig,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Play a gateway that closes every connection."""

    async def close(stream: trio.SocketStream) -> None:
        await stream.aclose()

    accepting = [trio.SocketListener(listener.socket) for listener in listeners]
    task_status.started()
    await trio.serve_listeners(close, accepting)


def test_a_gateway_that_hangs_up_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "serve", _closing)
    status, report, _text = told()
    assert status == 1
    assert [check.what for check in report.checks] == ["GET /login", "upgrade of a good agent"]
    assert not any(check.passed for check in report.checks)


@pytest.mark.e2e
async def test_stay_lets_a_real_agent_in(tmp_path: Path) -> None:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-W", "error", "-m", "gateway", "demo", "--stay"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    text = ""
    try:
        with trio.fail_after(40):
            while "Press Ctrl-C" not in text:
                piece = await process.stdout.receive_some()
                assert piece, text
                text += piece.decode()
            command = re.search(
                r"agent\.jar -url (\S+) -webSocket -name (\S+) -secret (\S+)"
                r' -cert "\$\(cat (\S+)\)"',
                text,
            )
            assert command is not None, text
            url, node, secret, certificate = command.groups()
            agent = SimulatedAgent(url, node, secret, tls=trusting(Path(certificate)))
            async with trio.open_nursery() as nursery:
                channel = await agent.connect(nursery)
                assert isinstance(channel, AgentChannel)
                await channel.send_command(b"\xac\xed\x00\x05hello")
                while f"{node} is connected" not in text:
                    text += (await process.stdout.receive_some()).decode()
                await channel.close()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await process.stdout.aclose()
    assert os.listdir(tmp_path) == []
