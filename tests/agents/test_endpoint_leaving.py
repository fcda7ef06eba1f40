"""``/wsagents/``: agents that leave before their answer. Nobody is waited for, nothing is kept."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture

from gateway.http.exchange import Exchange
from gateway.transport.stream import Stream
from tests.agents.bridge import (
    COOKIE,
    SECRET,
    agent_request,
    bridged,
    everything_logged,
    leaving_nothing_behind,
)
from tests.peers import scripted_controller as scripted
from tests.peers.raw_client import RawClient
from tests.peers.scripted_controller import ScriptedController, Stage, stay_silent, stopping_at

REQUEST: Final = agent_request({"Connection-Cookie": COOKIE})
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Leave = Callable[[RawClient], Awaitable[None]]


async def by_closing(client: RawClient) -> None:
    await client.stream.aclose()


async def by_fin(client: RawClient) -> None:
    """End the sending side only: an agent does not go on after that either."""
    assert isinstance(client.stream, trio.SocketStream)
    await client.stream.send_eof()


async def by_reset(client: RawClient) -> None:
    assert isinstance(client.stream, trio.SocketStream)
    client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    client.stream.socket.close()


def check_left(log: LogCapture) -> None:
    """Check that leaving is one quiet line."""
    lines = [entry for entry in log.entries if "error_id" in entry]
    assert [entry["status"] for entry in lines] == [499]
    assert lines[0]["log_level"] == "info"
    assert not any(entry["event"].startswith("session") for entry in log.entries)
    assert SECRET not in everything_logged(log)


@pytest.mark.parametrize("leave", [by_closing, by_fin, by_reset])
@pytest.mark.parametrize(
    "stage", [Stage.ACK, Stage.TLS, Stage.HEADERS, Stage.VERDICT, Stage.CAPABILITY]
)
async def test_while_the_controller_thinks(
    stage: Stage, leave: Leave, tmp_path: Path, log: LogCapture
) -> None:
    """Its leg is closed at once, so that it does not take an agent in who is gone."""
    controller = ScriptedController(stopping_at(stage, stay_silent))
    async with bridged(tmp_path, controller) as port, leaving_nothing_behind():
        client = await RawClient.connect(port)
        await client.send(REQUEST)
        visit = await controller.wait_for_agents()
        # Up to where it falls silent.
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not visit.ended.is_set()
        await leave(client)
        with trio.fail_after(5):
            await visit.ended.wait()
        with suppress(OSError):
            await client.stream.aclose()
    check_left(log)


@pytest.mark.parametrize("leave", [by_closing, by_fin, by_reset])
async def test_while_discovery_is_asked(leave: Leave, tmp_path: Path, log: LogCapture) -> None:
    controller = ScriptedController()
    controller.on_request = stay_silent
    async with bridged(tmp_path, controller) as port, leaving_nothing_behind():
        client = await RawClient.connect(port)
        await client.send(REQUEST)
        visit = await controller.wait_for_requests()
        await leave(client)
        with trio.fail_after(5):
            await visit.ended.wait()
        await client.stream.aclose()
    assert controller.connections == 0
    check_left(log)


async def test_between_the_handshake_and_the_101(
    tmp_path: Path, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last moment: the controller has said yes, the agent is gone when the 101 is sent."""
    reached, left = trio.Event(), trio.Event()
    upgrade = Exchange.upgrade

    async def late(exchange: Exchange, headers: list[tuple[bytes, bytes]]) -> tuple[Stream, bytes]:
        reached.set()
        await left.wait()
        return await upgrade(exchange, headers)

    monkeypatch.setattr(Exchange, "upgrade", late)
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port, leaving_nothing_behind():
        client = await RawClient.connect(port)
        await client.send(REQUEST)
        await reached.wait()
        await by_reset(client)
        await trio.testing.wait_all_tasks_blocked(0.01)
        left.set()
        visit = await controller.wait_for_agents()
        with trio.fail_after(5):
            await visit.ended.wait()
        assert visit.verdict == "OK"
        assert visit.capability == "", "the controller never heard of a channel"
        assert not visit.reset, "it ends in order, so that the node is free at once"
    check_left(log)


async def test_many_at_once(tmp_path: Path) -> None:
    """A storm that turns away again leaves the controller alone and the gateway as it was."""
    controller = ScriptedController(stopping_at(Stage.VERDICT, stay_silent))
    async with bridged(tmp_path, controller) as port, leaving_nothing_behind():
        clients = [await RawClient.connect(port) for _ in range(80)]  # more than there are places
        for client in clients:
            await client.send(REQUEST)
        await controller.wait_for_agents(64)
        for client in clients:
            await by_reset(client)
    assert len(controller.agents) == 64
    assert all(visit.ended.is_set() for visit in controller.agents)


async def test_a_session_leaves_nothing_behind(tmp_path: Path) -> None:
    """So that the other tests here mean something: accepted ones give everything back too."""
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port, leaving_nothing_behind():
        for leave in (by_closing, by_fin, by_reset):
            client = await RawClient.connect(port)
            await client.send(REQUEST)
            assert (await client.read_head()).status == 101
            await leave(client)
            await client.stream.aclose()
    assert all(visit.ended.is_set() for visit in controller.agents)


async def test_a_refused_leg_leaves_nothing_behind(tmp_path: Path) -> None:
    controller = ScriptedController()
    async with bridged(tmp_path, controller) as port, leaving_nothing_behind():
        for script, status in (
            (scripted.refusing("ERROR: Authorization failure"), 403),
            (stopping_at(Stage.HEADERS, stay_silent, identity=scripted.other_identity()), 502),
            (stopping_at(Stage.VERDICT, scripted.reset), 503),
        ):
            controller.script = script
            # A node of its own: a secret that was refused is not asked about again for a minute.
            request = agent_request({"Node-Name": f"node-{status}"})
            async with await RawClient.connect(port) as client:
                await client.send(request)
                assert (await client.read_answer()).status == status
