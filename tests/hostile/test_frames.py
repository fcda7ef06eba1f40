"""Hostile agents: they have a session, and then send what RFC 6455 or PROTOCOLS A.6 forbids."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.hostile.site import (
    SESSIONS,
    Attack,
    Site,
    at_once,
    read_to_end,
    reset,
    running_site,
)
from tests.peers.raw_client import RawClient
from tests.peers.raw_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close,
    frame,
)
from tests.peers.ws_agent import AgentFrames, CloseConnection
from tests.process_watch import MIB

pytestmark = pytest.mark.e2e

ROUNDS: Final = 3
ANY_CODE: Final = (1002, 1003, 1007, 1009, 1011)


@dataclass(frozen=True)
class Frames:
    """Bytes inside a session, and what they are answered with: one of ``codes``, ``reason``."""

    name: str
    data: bytes = field(repr=False)
    codes: tuple[int, ...] = (1002,)
    reason: str = ""
    then_eof: bool = False  # it may look like the beginning of something


def frames() -> Iterator[Frames]:
    """Yield what breaks a rule."""
    yield Frames("not masked", frame(BINARY, b"\0\1x", mask=None), reason="must mask")
    for bits in (1, 2, 4, 7):
        yield Frames(f"reserved {bits}", frame(BINARY, b"\0\1x", reserved=bits), reason="reserved")
    for opcode in (*range(3, 8), *range(11, 16)):
        yield Frames(f"opcode {opcode}", frame(opcode, b"x"), reason="unknown opcode")
    for opcode in (CLOSE, PING, PONG):
        yield Frames(f"control of 126 {opcode}", frame(opcode, bytes(126)), reason="125")
        yield Frames(f"control of 2**62 {opcode}", frame(opcode, length=1 << 62, length_bytes=8))
        yield Frames(
            f"fragmented control {opcode}",
            frame(opcode, b"", final=False),
            reason="fragmented control",
        )
    yield Frames("2**63 - 1", frame(BINARY, length=(1 << 63) - 1), (1009,), "longer than")
    yield Frames("2**63", frame(BINARY, length=1 << 63, length_bytes=8), reason="highest bit")
    yield Frames("2**64 - 1", frame(BINARY, length=(1 << 64) - 1, length_bytes=8))
    yield Frames("5 bytes in 16 bits", frame(BINARY, b"12345", length_bytes=2), reason="shortest")
    yield Frames("5 bytes in 64 bits", frame(BINARY, b"12345", length_bytes=8), reason="shortest")
    yield Frames("a continuation", frame(CONTINUATION, b"x"), reason="without a message")
    yield Frames(
        "a message in a message",
        frame(BINARY, b"\0\1", final=False) + frame(BINARY, b"x"),
        reason="inside a fragmented one",
    )
    yield Frames("text", frame(TEXT, b"hello"), (1003,), "only binary")
    yield Frames("unframed remoting 4.0", frame(BINARY, b"\xac\xed\0\5"), reason="too old")
    yield Frames("Close of one byte", frame(CLOSE, b"\3"), reason="one byte")
    for code in (0, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000, 65535):
        yield Frames(f"Close {code}", close(code), reason=f"code {code}")
    yield Frames("Close that is not UTF-8", close(1000, b"\xff\xfe"), (1007,), "not UTF-8")
    rng = random.Random(11)
    for number in range(10):
        # Never final and binary, so that the fast path does not take it for payload.
        noise = bytes((rng.randrange(0x83, 0x100),)) + rng.randbytes(3000)
        yield Frames(f"noise {number}", noise, ANY_CODE, then_eof=True)


async def _send_badly(site: Site, bad: Frames) -> None:
    """Send frames and read the Close frame that they are answered with."""
    async with site.hostile_session() as (node, client):
        code = await _send_and_read_code(client, bad)
        assert code in bad.codes, bad.name
    (line,) = await site.gateway.log.wait_for("session ended", node=node)
    assert line["by"] == "agent", bad.name
    assert bad.reason in line["reason"], bad.name
    assert line["close_code"] == code, bad.name


async def _send_and_read_code(client: RawClient, bad: Frames) -> int | None:
    assert isinstance(client.stream, trio.SSLStream)
    code: int | None = None
    agent = AgentFrames()
    agent_data = bytes(client.buffer)

    async def read() -> None:
        nonlocal code, agent_data
        agent_data += await read_to_end(client.stream)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        try:
            await client.send(bad.data)
            if bad.then_eof:
                await client.stream.transport_stream.send_eof()
        except trio.BrokenResourceError:
            pass  # the answer may be there all the same
    for event in agent.receive(agent_data):
        if isinstance(event, CloseConnection):
            code = int(event.code)
    return code


async def _leave(site: Site, data: bytes, *, by_reset: bool) -> None:
    """Send something unfinished, and go without a Close frame."""
    async with site.hostile_session() as (node, client):
        assert isinstance(client.stream, trio.SSLStream)
        sock = client.stream.transport_stream
        await client.send(data)
        if by_reset:
            reset(sock)
        else:
            await sock.send_eof()
            await read_to_end(sock)
    (line,) = await site.gateway.log.wait_for("session ended", node=node)
    assert line["by"] == "agent"
    assert line["reason"].startswith(
        ("the connection was lost", "the agent closed the connection without")
    )


async def _legal_nonsense(site: Site, data: bytes) -> None:
    """Send what no rule forbids but nobody needs, and then a Close frame."""
    async with site.hostile_session() as (node, client):

        async def send() -> None:
            for _ in range(5):
                await client.send(data)
            await client.send(close(1000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await read_to_end(client.stream)
    (line,) = await site.gateway.log.wait_for("session ended", node=node)
    assert line["reason"] == "the agent closed the session with 1000"


async def _pings_without_reading(site: Site) -> None:
    """Ask for pongs until the gateway takes nothing more, then go."""
    pings = frame(PING, bytes(125)) * 1000
    async with site.hostile_session() as (node, client):
        assert isinstance(client.stream, trio.SSLStream)
        sent = 0
        while True:
            with trio.move_on_after(0.3) as scope:
                await client.send(pings)
                sent += len(pings)
            if scope.cancelled_caught:
                break
            assert sent < 100 * MIB, "somebody keeps pongs for a peer that does not read"
        reset(client.stream.transport_stream)
    (line,) = await site.gateway.log.wait_for("session ended", node=node)
    assert line["by"] == "agent"


def attacks(site: Site) -> list[Attack]:
    """Return one round."""
    found: list[Attack] = [partial(_send_badly, site, bad) for bad in frames()]
    half = frame(BINARY, b"\x20\x00" + bytes(8192))
    unfinished = (b"\x82", half[:2], half[:7], half[:-1], frame(BINARY, bytes(99), final=False))
    found += [
        partial(_leave, site, data, by_reset=by_reset)
        for data in unfinished
        for by_reset in (False, True)
    ]
    found.append(partial(_leave, site, frame(BINARY, bytes(9), length=15 * MIB), by_reset=True))
    return found


async def test_frames_that_break_a_rule(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:

        async def one_round() -> None:
            await at_once(attacks(site))

        await site.endure(one_round, rounds=ROUNDS, tolerance=SESSIONS)


async def test_a_message_without_end(tmp_path: Path) -> None:
    """16 MiB in fragments are relayed, and then it is enough."""
    piece = b"\x7f" * 65_000  # as chunks, so that the controller has little to do with them
    bad = Frames(
        "a message above 16 MiB",
        frame(BINARY, piece, final=False) + frame(CONTINUATION, piece, final=False) * 260,
        (1009,),
        "longer than",
    )
    async with running_site(tmp_path) as site:

        async def one_round() -> None:
            await at_once([partial(_send_badly, site, bad)] * 2)

        await site.endure(one_round, rounds=2, tolerance=SESSIONS)


NONSENSE: Final = {
    "empty fragments": frame(BINARY, final=False)
    + frame(CONTINUATION, final=False) * 2000
    + frame(CONTINUATION),
    "fragments of a byte": frame(BINARY, final=False)
    + b"".join(frame(CONTINUATION, byte, final=False) for byte in (b"\0", b"\1", b"x")) * 700
    + frame(CONTINUATION),
    "empty messages": frame(BINARY) * 2000,
    "pongs that nobody asked for": frame(PONG, bytes(125)) * 2000,
    "pings": frame(PING) * 300,
}


async def test_endless_nonsense_that_no_rule_forbids(tmp_path: Path) -> None:
    """Such a session lives until its agent ends it, and costs nobody but itself."""
    async with running_site(tmp_path) as site:

        async def one_round() -> None:
            async with trio.open_nursery() as nursery:
                for data in NONSENSE.values():
                    nursery.start_soon(_legal_nonsense, site, data)
                await site.check_healthy()

        await site.endure(one_round, rounds=2, tolerance=SESSIONS)


async def test_pings_of_an_agent_that_does_not_read(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:

        async def one_round() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(_pings_without_reading, site)
                await site.check_healthy()

        await site.endure(one_round, rounds=2, tolerance=SESSIONS)
