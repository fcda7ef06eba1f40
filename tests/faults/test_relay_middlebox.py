"""Middle-boxes that cut idle connections, around a relayed session and, as the proof of the
contrary, around the same session without the gateway.

    agent -- agent_box -- gateway -- controller_box -- controller
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from tests.agents.bridge import SECRET, agent_request, make_config, running_gateway
from tests.peers.middlebox import Fault, Middlebox
from tests.peers.raw_client import RawClient
from tests.peers.raw_frames import BINARY, CLOSE, MASK, PING
from tests.peers.ws_controller import WebSocketController
from tests.peers.ws_end import End

CLI: Final = (
    b"GET /cli/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
    b"Upgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
REQUESTS: Final = {"agent": agent_request(), "cli": CLI}


async def silent(end: End) -> None:
    """Answer, and say nothing by itself, as with ``jenkins.websocket.pingInterval=0``."""
    await end.serve()


async def pinging(end: End) -> None:
    """Ping every 30 s, the first time after 15 s, as Jenkins does by default (PROTOCOLS A.6)."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.serve)
        await trio.sleep(15)
        with trio.move_on_after(10_000):
            while not end.over.is_set():
                await end.send(PING)
                await trio.sleep(30)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def session(port: int, kind: str) -> AsyncIterator[End]:
    async with await RawClient.connect(port) as client:
        await client.send(REQUESTS[kind])
        assert (await client.read_head()).status == 101
        yield End(client.stream, MASK, bytes(client.buffer))


@asynccontextmanager
async def relayed(
    folder: Path, controller: WebSocketController, idle_cut: float, kind: str
) -> AsyncIterator[tuple[End, Middlebox, Middlebox]]:
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        far = Middlebox(("127.0.0.1", controller.port), idle_cut=idle_cut)
        await nursery.start(far.run)
        agents = {"transport": "websocket"}
        made = make_config(folder, f"http://127.0.0.1:{far.port}/", agents=agents)
        async with running_gateway(made) as port:
            near = Middlebox(("127.0.0.1", port), idle_cut=idle_cut)
            await nursery.start(near.run)
            async with session(near.port, kind) as end:
                yield end, near, far
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("idle_cut", "kind", "serve"),
    [
        (25.0, "agent", silent),
        (25.0, "agent", pinging),
        (60.0, "agent", silent),
        (25.0, "cli", silent),
        (60.0, "cli", silent),
    ],
)
async def test_idle_sessions_live(
    idle_cut: float, kind: str, serve: object, tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    controller = WebSocketController({"my-agent": SECRET}, serve)  # type: ignore[arg-type]
    async with (
        relayed(tmp_path, controller, idle_cut, kind) as (end, _, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(end.serve)
        await trio.sleep(300)
        assert not end.over.is_set()
        assert not any(line["event"] == "session ended" for line in log.entries)
        await end.send(BINARY, b"still there")
        far_end = await controller.wait_for_end()
        await trio.sleep(0.1)
        assert (BINARY, b"still there") in far_end.frames
        assert CLOSE not in {opcode for opcode, _ in end.frames}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("idle_cut", "serve"), [(25.0, silent), (25.0, pinging), (60.0, silent)])
async def test_without_the_gateway_they_die(
    idle_cut: float, serve: object, clock: MockClock
) -> None:
    """Jenkins' own pings, every 30 s, come too late for the one that cuts at 25 s."""
    controller = WebSocketController({"my-agent": SECRET}, serve)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        box = Middlebox(("127.0.0.1", controller.port), idle_cut=idle_cut)
        await nursery.start(box.run)
        async with session(box.port, "agent") as end:
            began = trio.current_time()
            with pytest.raises(trio.BrokenResourceError):
                await end.read_to_end()
            assert trio.current_time() - began < 15 + idle_cut + 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("where", ["near", "far"])
async def test_a_hole_on_one_leg_ends_the_other(
    where: str, tmp_path: Path, log: LogCapture, clock: MockClock
) -> None:
    controller = WebSocketController({"my-agent": SECRET}, silent)
    async with relayed(tmp_path, controller, 1e9, "agent") as (end, near, far):
        box = near if where == "near" else far
        (await box.wait_for_crossing()).strike(Fault.BLACK_HOLE)
        began = trio.current_time()
        survivor = end if where == "far" else await controller.wait_for_end()
        if where == "far":
            await end.serve()
        else:
            await survivor.over.wait()
        took = trio.current_time() - began
        assert survivor.frames[-1][0] == CLOSE
        assert survivor.frames[-1][1][:2] == (1011).to_bytes(2, "big")
        assert took < (70 if where == "near" else 315)
        if where == "far":
            assert took >= 300  # a controller may collect garbage for minutes
    (line,) = [line for line in log.entries if line["event"] == "session ended"]
    assert line["by"] == ("agent" if where == "near" else "controller")
