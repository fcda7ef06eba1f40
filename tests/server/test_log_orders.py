"""Logs of a whole gateway: files are opened again, in every process."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from typing import Any

import trio

from gateway.observability import logs
from gateway.server.log_orders import obey
from tests.log_lines import parse_line
from tests.server.processes import AT_ONCE, HOST, PATIENCE, STARTED, running_gateway

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_worker_obeys() -> None:
    logs.configure(stream=io.StringIO())
    assert obey({"type": "reopen_logs"})
    assert not obey({"type": "stop"})


async def lines_of(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the lines of a file, once there are ``count``."""
    with trio.fail_after(PATIENCE):
        while True:
            data = _read(path)
            if data.count(b"\n") >= count:
                return [parse_line(line) for line in data.splitlines()]
            await trio.sleep(0.02)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


async def ask(port: int, path: str) -> None:
    async with await trio.open_tcp_stream(HOST, port) as stream:
        head = f"GET {path} HTTP/1.1\r\nHost: ci\r\nConnection: close\r\n"
        trace = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n\r\n"
        await stream.send_all((head + trace).encode())
        while await stream.receive_some():
            pass


async def test_logrotate(tmp_path: Path) -> None:
    more = AT_ONCE + "workers: 2\nlog: {access: {to: access.log}, audit: {to: audit.log}}\n"
    access, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    async with running_gateway(tmp_path, "http://127.0.0.1:9", more=more) as gateway:
        await gateway.running.wait_for(STARTED, count=2)
        for i in range(8):
            await ask(gateway.plain, f"/{i}")
        before = await lines_of(access, 8)
        assert {line["trace_id"] for line in before} == {TRACE}
        assert (tmp_path / "audit.log").exists()

        access.rename(moved)
        gateway.signal(signal.SIGUSR1)
        await gateway.running.wait_for("logs reopened")
        await lines_of(access, 0)
        with trio.fail_after(PATIENCE):
            for i in range(8, 10_000):  # until either worker has heard of it
                await ask(gateway.plain, f"/{i}")
                if len(await lines_of(access, 0)) >= 8:
                    break
        after = len(moved.read_bytes().splitlines())
        for _ in range(8):
            await ask(gateway.plain, "/last")
        await lines_of(access, 16)
        assert len(moved.read_bytes().splitlines()) == after

        # A file that cannot be opened is no configuration.
        config = tmp_path / "gateway.yaml"
        good = config.read_text()
        config.write_text(good.replace("audit.log", "no/audit.log"))
        gateway.signal(signal.SIGHUP)
        refused = "configuration not reloaded; the old one stays in force"
        line = await gateway.running.wait_for(refused)
        assert "no/audit.log cannot be opened: no such file" in line["reason"]
        config.write_text(good.replace("access.log", "other.log"))
        gateway.signal(signal.SIGHUP)
        await gateway.running.wait_for("worker has reloaded", count=2)
        await ask(gateway.plain, "/other")
        (other,) = await lines_of(tmp_path / "other.log", 1)
        assert other["path"] == "/other"
        gateway.signal(signal.SIGTERM)
        assert await gateway.running.wait() == 0
