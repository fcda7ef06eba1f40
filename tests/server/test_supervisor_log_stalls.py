"""Going on when whoever reads a log stands still: a stopped pager, a collector that hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.demo.controller import StandInController
from gateway.observability.lines import MAX_HELD
from tests.server.processes import HOST, PATIENCE, STARTED, Gateway, running_gateway

# Nearly 1 KiB each, so that lines are long.
LONG = "x" * 1000


@asynccontextmanager
async def gateway_with_stdout(folder: Path) -> AsyncIterator[tuple[Gateway, int]]:
    """Run a gateway in front of a controller; yield it and the end of its standard output."""
    reader, writer = os.pipe()
    controller = StandInController({})
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(controller.run)
            async with running_gateway(folder, controller.url, stdout=writer) as gateway:
                os.close(writer)
                writer = -1
                yield gateway, reader
            nursery.cancel_scope.cancel()
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


async def ask(port: int, count: int, head: str) -> None:
    """Send ``count`` requests on one connection; each gets its answer before the next."""
    stream = await trio.open_tcp_stream(HOST, port)
    request = f"{head}Host: {HOST}\r\nUser-Agent: {LONG}\r\n\r\n".encode()
    async with stream:
        with trio.fail_after(PATIENCE):
            for _ in range(count):
                await stream.send_all(request)
                answer = b""
                while b"\r\n\r\n" not in answer:
                    data = await stream.receive_some()
                    assert data, answer
                    answer += data
                head_, _, body = answer.partition(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head_.splitlines()
                    if line.lower().startswith(b"content-length")
                )
                while len(body) < length:
                    body += await stream.receive_some()


async def read_lines(reader: int) -> list[dict[str, Any]]:
    """Read to the end."""
    data = b""
    with trio.fail_after(PATIENCE):
        while True:
            await trio.lowlevel.wait_readable(reader)
            piece = os.read(reader, 1 << 20)
            if not piece:
                return [json.loads(line) for line in data.splitlines()]
            data += piece


@pytest.mark.e2e
async def test_requests_are_answered_and_lost_lines_counted(tmp_path: Path) -> None:
    async with gateway_with_stdout(tmp_path) as (gateway, reader):
        line = 3 * len(LONG)  # at least: target and user agent are cut at 1 KiB each
        count = MAX_HELD // line + 200
        await ask(gateway.plain, count, f"POST /wsagents/{LONG}?{LONG} HTTP/1.1\r\n")
        gateway.signal(signal.SIGTERM)
        lines = await read_lines(reader)
        assert await gateway.running.wait() == 0
        (lost,) = gateway.running.all("lines of a log were dropped: its reader is too slow")
        assert lost["log"] == "access"
        assert lost["lines"] >= 1
        assert len(lines) + lost["lines"] == count
        assert MAX_HELD - 2 * line < sum(len(json.dumps(each)) for each in lines)


@pytest.mark.e2e
async def test_what_was_held_is_read_later(tmp_path: Path) -> None:
    async with gateway_with_stdout(tmp_path) as (gateway, reader):
        await ask(gateway.plain, 200, f"POST /wsagents/{LONG}?{LONG} HTTP/1.1\r\n")  # 600 KB
        gateway.signal(signal.SIGTERM)
        assert len(await read_lines(reader)) == 200
        assert await gateway.running.wait() == 0
        assert not [each for each in gateway.running.lines if "dropped" in each["event"]]


@pytest.mark.e2e
async def test_the_end_does_not_wait_for_a_reader(tmp_path: Path) -> None:
    async with gateway_with_stdout(tmp_path) as (gateway, _):
        await ask(gateway.plain, 200, f"POST /wsagents/{LONG}?{LONG} HTTP/1.1\r\n")
        gateway.signal(signal.SIGTERM)
        assert await gateway.running.wait() == 0


@pytest.mark.e2e
async def test_the_log_of_events_may_stand_still_too(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with trio.socket.socket() as probe:
        await probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    path = tmp_path / "gateway.yaml"
    path.write_text(
        f"state_dir: state\n"
        f'listeners: [{{address: "{HOST}:{port}"}}]\n'
        f'controllers: {{main: {{url: "http://{HOST}:1"}}}}\n'
    )
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "gateway", "run", "-c", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writer,
    )
    os.close(writer)
    try:
        log = b""
        while STARTED.encode() not in log:
            await trio.lowlevel.wait_readable(reader)
            log += os.read(reader, 65536)
        await ask(port, 400, f"POST /wsagents/{LONG} HTTP/1.1\r\n")  # 200 kB of refusals
        process.terminate()
        lines = await read_lines(reader)
        assert len([each for each in lines if each["event"] == "request refused"]) == 400
        assert lines[-1]["event"] != "request refused"
        assert await process.wait() == 0
    finally:
        os.close(reader)
        if process.returncode is None:
            process.kill()
            await process.wait()
