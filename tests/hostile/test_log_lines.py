"""What agents and people call themselves, in the lines of a whole gateway.

Every line that comes is one object of JSON that the documentation has (``parse_line``), and what
goes to a terminal is printable.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from tests.log_lines import parse_line
from tests.server.processes import AT_ONCE, HOST, PATIENCE, running_gateway

NAMES = [
    b"<script>alert(1)</script>",
    b"n" * 300,
    "\u202eexe.txt\u2066".encode(),
    b"\x9b31m\x85\xa0",  # C1 controls: field values may have them
    b"\xff\xfe\x80",
    b'"}\t{"level": "error"',
    b"%1b[2J%0d%0a",
]


async def ask(port: int, name: bytes) -> None:
    """Ask as an agent, and as somebody who puts it into an address and a user agent."""
    agent = b"Node-Name: %b\r\nSecret-Key: hunter2\r\nUser-Agent: %b\r\n" % (name, name)
    path = name.replace(b" ", b"").replace(b"\t", b"")
    upgrade = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nConnection: Upgrade\r\n"
    for target, more in ((b"/wsagents/", agent + upgrade + key), (b"/" + path, agent)):
        async with await trio.open_tcp_stream(HOST, port) as stream:
            await stream.send_all(b"GET %b HTTP/1.1\r\nHost: ci\r\n%b\r\n" % (target, more))
            with trio.fail_after(PATIENCE):
                assert await stream.receive_some()


@pytest.mark.parametrize("form", ["json", "console", "combined"])
async def test_hostile_names(tmp_path: Path, form: str) -> None:
    more = f"{AT_ONCE}log: {{access: {{to: access.log, format: {form}}}}}\n"
    async with running_gateway(tmp_path, "http://127.0.0.1:9", more=more) as gateway:
        for name in NAMES:
            await ask(gateway.plain, name)
        gateway.signal(signal.SIGTERM)
        assert await gateway.running.wait() == 0
    lines = (tmp_path / "access.log").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 2 * len(NAMES)
    for line in lines:
        assert line.isascii()
        assert line.decode().isprintable()
        if form == "json":
            parse_line(line)
    # Reading them has checked each line of the other channels.
    refused = gateway.running.all("request refused") + gateway.running.all("request failed")
    nodes = {line.get("node") for line in refused}
    assert {name[:256].decode("latin-1") for name in NAMES} <= nodes
    assert "hunter2" not in str(gateway.running.lines)
