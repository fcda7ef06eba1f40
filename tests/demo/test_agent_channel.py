"""The simulated agent's channel: frames as recorded, pings, fragments, closing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.demo.agent import SimulatedAgent
from gateway.demo.agent_channel import AgentChannel
from gateway.demo.channel import CLOSE_COMMAND
from gateway.demo.stream import ConnectionEnded, End
from tests.demo.raw_server import Visit, frame, serve

SUMMARY: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "wire-summary.json").read_text()
)
Opened = tuple[AgentChannel, Visit]
Open = Callable[..., Awaitable[Opened]]


@pytest.fixture
def opened(nursery: trio.Nursery) -> Open:
    """Open a channel; the test plays the server with the Visit."""

    async def opener(*, fragments: bool = False) -> Opened:
        visits: list[Visit] = []
        ready = trio.Event()

        async def script(visit: Visit) -> None:
            visits.append(visit)
            await visit.upgrade()
            ready.set()
            await trio.sleep_forever()

        port: int = await nursery.start(serve, script)
        agent = SimulatedAgent(f"http://127.0.0.1:{port}", "gold", "s", fragments=fragments)
        channel = await agent.connect(nursery)
        assert isinstance(channel, AgentChannel)
        await ready.wait()
        return channel, visits[0]

    return opener


async def test_one_chunk_is_one_message(opened: Open) -> None:
    channel, server = await opened()
    await channel.send_command(b"\xac\xed\x00\x05!")
    await channel.send_command(bytes(8193))
    assert await server.read_frame() == (1, 2, b"\x00\x05\xac\xed\x00\x05!")
    assert await server.read_frame() == (1, 2, b"\xa0\x00" + bytes(8192))
    assert await server.read_frame() == (1, 2, b"\x00\x01\x00")
    assert channel.counters.chunks_sent == 3
    assert channel.counters.bytes_sent == 7 + 8194 + 3


async def test_old_remoting_sends_header_and_body_as_fragments(opened: Open) -> None:
    channel, server = await opened(fragments=True)
    await channel.send_command(b"abc")
    assert await server.read_frame() == (0, 2, b"\x00\x03")
    assert await server.read_frame() == (1, 0, b"abc")


RECORDED = [
    pytest.param(side["first_messages"], id=f"{name}-{index}-{who}")
    for name, scenario in SUMMARY.items()
    if name.startswith("ws-")
    for index, connection in enumerate(scenario["connections"])
    for who in ("server",)
    if (side := connection.get(who)) is not None
]


@pytest.mark.parametrize("messages", RECORDED)
async def test_recorded_messages_of_controllers(
    opened: Open, messages: list[dict[str, Any]]
) -> None:
    channel, server = await opened()
    stream = b""
    for message in messages:
        body = bytes.fromhex(message["chunk_header_hex"]).ljust(message["len"], b".")
        stream += frame(message["opcode"], body, fin=int(message["fin"]))
    await server.send(stream)
    commands = sum(not int(message["chunk_header_hex"], 16) & 0x8000 for message in messages)
    for _ in range(commands):
        await channel.receive_command()
    assert channel.messages.largest == max(message["len"] for message in messages)
    assert channel.messages.cut_chunks == 0
    assert channel.counters.chunks_received <= len(messages)


async def test_any_slicing_is_understood_and_counted(opened: Open) -> None:
    channel, server = await opened()
    chunks = b"\x80\x01a\x00\x01b" + b"\x00\x02cd"
    await server.send(frame(2, chunks))
    assert [await channel.receive_command() for _ in range(2)] == [b"ab", b"cd"]
    assert (channel.messages.received, channel.messages.cut_chunks) == (1, 0)
    await server.send(frame(2, chunks[:4]) + frame(2, b"", fin=1) + frame(2, chunks[4:]))
    assert [await channel.receive_command() for _ in range(2)] == [b"ab", b"cd"]
    assert (channel.messages.received, channel.messages.cut_chunks) == (4, 1)
    fragments = frame(2, chunks[:1], fin=0) + frame(9, b"") + frame(0, chunks[1:])
    await server.send(fragments)
    assert [await channel.receive_command() for _ in range(2)] == [b"ab", b"cd"]
    assert (channel.messages.received, channel.messages.cut_chunks) == (5, 1)
    assert await server.read_frame() == (1, 10, b"")


async def test_byte_by_byte(opened: Open) -> None:
    channel, server = await opened()
    for byte in frame(2, b"\x00\x01a") + frame(9, b"p") + frame(2, b"\x00\x01b"):
        await server.send(bytes((byte,)))
    assert [await channel.receive_command() for _ in range(2)] == [b"a", b"b"]
    assert await server.read_frame() == (1, 10, b"p")


async def test_pings_are_answered_unless_told_otherwise(opened: Open) -> None:
    channel, server = await opened()
    await server.send(frame(9, b"one"))
    assert await server.read_frame() == (1, 10, b"one")
    channel.answer_pings = False
    await server.send(frame(9, b"two") + frame(2, b"\x00\x01a"))
    await channel.receive_command()
    assert channel.messages.pings == 2
    await channel.send_command(b"x")
    assert (await server.read_frame())[1] == 2
    await channel.ping(b"mine")
    assert await server.read_frame() == (1, 9, b"mine")


async def test_text_is_ignored(opened: Open) -> None:
    channel, server = await opened()
    await server.send(frame(1, b"hello") + frame(2, b"\x00\x01a"))
    assert await channel.receive_command() == b"a"


async def test_close_by_the_server(opened: Open) -> None:
    channel, server = await opened()
    await server.send(frame(2, b"\x00\x01a") + frame(8, b"\x03\xe8"))
    assert await channel.receive_command() == b"a"
    assert await server.read_frame() == (1, 8, b"\x03\xe8")
    server.stream.socket.close()
    await channel.ended.wait()
    assert (channel.end, channel.close_code) == (End.CLOSE_FRAME, 1000)
    with pytest.raises(trio.EndOfChannel):
        await channel.receive_command()


async def test_close_without_a_code(opened: Open) -> None:
    channel, server = await opened()
    await server.send(frame(8, b""))
    assert await server.read_frame() == (1, 8, b"")
    server.stream.socket.close()
    await channel.ended.wait()
    assert (channel.end, channel.close_code) == (End.CLOSE_FRAME, 1005)


async def test_bare_eof_from_the_server_is_answered_as_recorded(opened: Open) -> None:
    channel, server = await opened()
    await server.stream.send_eof()
    await channel.ended.wait()
    assert channel.end is End.BARE_EOF
    assert await server.read_frame() == (1, 8, b"\x03\xea")
    assert await server.read_end() == "eof"


async def test_broken_frames_end_the_channel(opened: Open) -> None:
    channel, server = await opened()
    await server.send(b"\xff\xff")
    fin, opcode, payload = await server.read_frame()
    assert (fin, opcode, payload[:2]) == (1, 8, b"\x03\xea")
    server.stream.socket.close()
    await channel.ended.wait()
    assert (channel.end, channel.close_code) == (End.VIOLATION, None)


async def test_close_by_the_agent(opened: Open, nursery: trio.Nursery) -> None:
    channel, server = await opened()
    nursery.start_soon(channel.close)
    assert (await server.read_frame())[2][2:] == CLOSE_COMMAND
    assert await server.read_frame() == (1, 8, b"\x03\xe8")
    await server.send(frame(2, b"\x00\x05reply") + frame(8, b"\x03\xe8"))
    assert await channel.receive_command() == b"reply"
    await server.stream.send_eof()
    await channel.ended.wait()
    assert (channel.end, channel.close_code) == (End.HERE, 1000)
    assert await server.read_end() == "eof"
    with pytest.raises(ConnectionEnded):
        await channel.send_command(b"late")


async def test_drop_is_a_bare_eof(opened: Open, nursery: trio.Nursery) -> None:
    channel, server = await opened()
    nursery.start_soon(channel.drop)
    with pytest.raises(EOFError):
        await server.read(1)
    assert channel.end is End.HERE


async def test_kill_is_a_reset(opened: Open) -> None:
    channel, server = await opened()
    channel.kill()
    assert await server.read_end() == "reset"


async def test_stop_reading_stops_pongs_too(opened: Open) -> None:
    channel, server = await opened()
    await trio.testing.wait_all_tasks_blocked(0.01)
    channel.stop_reading()
    await server.send(frame(2, b"\x00\x01a"))
    assert await channel.receive_command() == b"a"  # a read was under way
    await server.send(frame(9, b"late"))
    with trio.move_on_after(0.1) as scope:
        await server.read_frame()
    assert scope.cancelled_caught
    channel.resume_reading()
    assert await server.read_frame() == (1, 10, b"late")
