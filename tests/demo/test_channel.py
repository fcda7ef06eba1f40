"""The stand-in controller's channel: chunks, counters, back-pressure, and the ways to end."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio

from gateway.demo.channel import (
    CLOSE_COMMAND,
    QUEUED_COMMANDS,
    Behaviour,
    CommandChannel,
    Source,
    StandInChannel,
    command,
    echo,
    sink,
)
from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.identity import InstanceIdentity
from gateway.demo.stream import ConnectionEnded, End
from tests.demo.raw_client import RawClient, dialog

Start = Callable[[Behaviour | None], Awaitable[StandInController]]


@pytest.fixture
def start(nursery: trio.Nursery, identity: InstanceIdentity) -> Start:
    """Start a controller with a node ``m`` and a behaviour."""

    async def starter(behaviour: Behaviour | None) -> StandInController:
        controller = StandInController({"m": INBOUND}, identity=identity, on_channel=behaviour)
        await nursery.start(controller.run)
        return controller

    return starter


def opened(client: RawClient, controller: StandInController) -> StandInChannel:
    """Open a channel from a client's thread; return the controller's end of it."""
    client.open("m", controller.secret("m"))
    return trio.from_thread.run(controller.wait_for_channel, "m")


def chunks(client: RawClient) -> list[tuple[bool, bytes]]:
    """Read one command's chunks: more to come, payload."""
    found: list[tuple[bool, bytes]] = []
    while not found or found[-1][0]:
        header = int.from_bytes(client.read(2))
        found.append((bool(header & 0x8000), client.read(header & 0x7FFF)))
    return found


def flood(client: RawClient, piece: bytes) -> int:
    """Send a piece over and over until that stops for a moment; return how often it went."""
    client.socket.settimeout(0.3)
    for sent in range(10_000):
        try:
            client.send(piece)
        except (TimeoutError, OSError):
            return sent
    return 10_000


def test_commands_are_opaque_but_look_like_javas() -> None:
    assert command("hello") == b"\xac\xed\x00\x05hello"
    assert command("hello", size=12) == b"\xac\xed\x00\x05hello..."
    assert CLOSE_COMMAND.startswith(b"\xac\xed\x00\x05")
    assert 900 < len(CLOSE_COMMAND) < 1100


async def test_commands_leave_in_chunks(start: Start) -> None:
    async def send(channel: CommandChannel) -> None:
        for size in (5, 8192, 8193, 200_000):
            await channel.send_command(command("", size=size))

    controller = await start(send)

    def talk(client: RawClient) -> tuple[StandInChannel, list[list[tuple[bool, bytes]]]]:
        return opened(client, controller), [chunks(client) for _ in range(4)]

    channel, found = await dialog(controller.agent_address, talk)
    await controller.attempts[-1].finished.wait()
    assert channel.counters.commands_sent == 4
    assert channel.counters.chunks_sent == 1 + 1 + 2 + 25
    assert channel.counters.bytes_sent == 5 + 8192 + 8193 + 200_000 + 2 * 29
    assert channel.tls_version == "TLSv1.3"
    assert [[len(body) for _more, body in part] for part in found] == [
        [5],
        [8192],
        [8192, 1],
        [8192] * 24 + [200_000 - 24 * 8192],
    ]
    assert all(more for part in found for more, _body in part[:-1])


async def test_commands_arrive_however_they_are_cut(start: Start) -> None:
    controller = await start(None)

    def talk(client: RawClient) -> None:
        channel = opened(client, controller)
        for piece in (b"\x80", b"\x03abc\x00", b"\x01d\x00\x02", b"ef\x00\x01"):
            client.send(piece)
        for expected in (b"abcd", b"ef"):
            assert trio.from_thread.run(channel.receive_command) == expected
        assert (channel.counters.bytes_received, channel.counters.chunks_received) == (14, 3)
        assert not channel.complete
        client.send(b"g")
        assert trio.from_thread.run(channel.receive_command) == b"g"
        assert channel.complete

    await dialog(controller.agent_address, talk)


async def test_capability_and_cookie_are_kept(start: Start) -> None:
    controller = await start(None)

    def talk(client: RawClient) -> None:
        cookie = client.open("m", controller.secret("m"))
        channel = trio.from_thread.run(controller.wait_for_channel, "m")
        assert channel.cookie == cookie
        assert channel.peer_capability.endswith("Af4=")
        assert channel.node == "m"

    await dialog(controller.agent_address, talk)


async def test_echo_until_the_close_command(start: Start) -> None:
    controller = await start(echo)

    def talk(client: RawClient) -> None:
        opened(client, controller)
        client.send(b"\x00\x02hi\x80\x01y\x00\x01o")
        assert client.read(8) == b"\x00\x02hi\x00\x02yo"
        client.send(len(CLOSE_COMMAND).to_bytes(2) + CLOSE_COMMAND)
        assert chunks(client) == [(False, CLOSE_COMMAND)]
        assert client.rest() == (b"", "bare eof")

    await dialog(controller.agent_address, talk)
    await controller.wait_for_no_channel("m")


async def test_sink_counts(start: Start) -> None:
    controller = await start(sink)

    def talk(client: RawClient) -> StandInChannel:
        channel = opened(client, controller)
        client.send((b"\xa0\x00" + b"x" * 8192 + b"\x00\x01y") * 100)
        client.socket.shutdown(socket.SHUT_WR)
        return channel

    channel = await dialog(controller.agent_address, talk)
    await channel.ended.wait()
    assert channel.counters.commands_received == 100
    assert channel.counters.bytes_received == 8197 * 100


async def test_source_sends_so_much_and_no_more(start: Start) -> None:
    controller = await start(Source(total=100_001, size=50_000))

    def talk(client: RawClient) -> list[int]:
        opened(client, controller)
        return [sum(len(body) for _more, body in chunks(client)) for _ in range(3)]

    assert await dialog(controller.agent_address, talk) == [50_000, 50_000, 4]


async def test_unread_commands_stop_the_reading(start: Start) -> None:
    controller = await start(None)

    def talk(client: RawClient) -> None:
        channel = opened(client, controller)
        one = b"\x00\x01z"
        client.send(one * 1000)
        for _ in range(1000):
            assert trio.from_thread.run(channel.receive_command) == b"z"
        assert flood(client, one + b"\x20\x00" + bytes(8192)) < 10_000
        assert channel.counters.commands_received <= 1000 + 10 * QUEUED_COMMANDS

    await dialog(controller.agent_address, talk)


async def test_stop_reading_and_resume(start: Start) -> None:
    controller = await start(sink)

    def talk(client: RawClient) -> None:
        channel = opened(client, controller)
        trio.from_thread.run_sync(channel.stop_reading)
        sent = flood(client, b"\x20\x00" + bytes(8192))
        assert sent < 10_000
        assert channel.counters.commands_received <= 8  # one read was under way
        trio.from_thread.run_sync(channel.resume_reading)
        client.socket.close()
        trio.from_thread.run(channel.ended.wait)
        assert channel.counters.commands_received >= sent

    await dialog(controller.agent_address, talk)


@pytest.mark.parametrize("last", [CLOSE_COMMAND, None])
async def test_close_is_a_last_command_and_a_bare_eof(start: Start, last: bytes | None) -> None:
    closed: list[CommandChannel] = []

    async def close(channel: CommandChannel) -> None:
        await channel.close(last_command=last)
        closed.append(channel)

    controller = await start(close)

    def talk(client: RawClient) -> None:
        client.open("m", controller.secret("m"))
        if last is not None:
            assert chunks(client) == [(False, last)]
        assert client.rest() == (b"", "bare eof")

    await dialog(controller.agent_address, talk)
    await controller.attempts[-1].finished.wait()
    assert controller.attempts[-1].end is End.HERE
    (channel,) = closed
    assert channel.end is End.HERE
    with pytest.raises(trio.EndOfChannel):
        await channel.receive_command()
    with pytest.raises(ConnectionEnded):
        await channel.send_command(b"x")


async def test_drop_says_nothing(start: Start) -> None:
    controller = await start(None)

    def talk(client: RawClient) -> tuple[bytes, str]:
        channel = opened(client, controller)
        trio.from_thread.run(lambda: channel.drop(linger=0))
        return client.rest()

    assert await dialog(controller.agent_address, talk) == (b"", "bare eof")


async def test_kill_is_a_reset(start: Start) -> None:
    controller = await start(None)

    def talk(client: RawClient) -> tuple[bytes, str]:
        channel = opened(client, controller)
        trio.from_thread.run_sync(channel.stop_reading)
        trio.from_thread.run_sync(channel.kill)
        return client.rest()

    assert await dialog(controller.agent_address, talk) == (b"", "reset")
    await controller.wait_for_no_channel("m")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("close_notify", End.CLOSE_NOTIFY),
        ("eof", End.BARE_EOF),
        ("reset", End.RESET),
        ("too big", End.VIOLATION),
    ],
)
async def test_ends_from_the_other_side(start: Start, end: str, expected: End) -> None:
    controller = await start(sink)

    def talk(client: RawClient) -> StandInChannel:
        channel = opened(client, controller)
        match end:
            case "close_notify":
                client.close_notify()
            case "eof":
                client.socket.shutdown(socket.SHUT_WR)
                assert client.rest()[1] == "bare eof"
            case "reset":
                linger = b"\1\0\0\0\0\0\0\0"
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.socket.close()
            case "too big":
                assert flood(client, (b"\xa0\x00" + bytes(8192)) * 10) < 10_000
        return channel

    channel = await dialog(controller.agent_address, talk)
    await channel.ended.wait()
    assert channel.end is expected
    await controller.wait_for_no_channel("m")


async def test_behaviour_gets_what_was_queued_at_the_end(start: Start) -> None:
    found: list[bytes] = []

    async def slow(channel: object) -> None:
        assert isinstance(channel, StandInChannel)
        await channel.ended.wait()
        found.extend([payload async for payload in channel])

    controller = await start(slow)

    def talk(client: RawClient) -> StandInChannel:
        channel = opened(client, controller)
        client.send(b"\x00\x01a\x00\x01b")
        return channel

    await dialog(controller.agent_address, talk)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert found == [b"a", b"b"]
