from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from gateway.demo.agent_http import Target
from gateway.demo.stream import End as Ending
from gateway.doctor.client import dial
from gateway.doctor.question import Question
from gateway.doctor.websocket import (
    AgentSocket,
    accept_value,
    agent_request,
    new_key,
    upgrade,
)
from tests.peers.raw_frames import BINARY, CLOSE, PING, PONG
from tests.peers.ws_controller import WebSocketController
from tests.peers.ws_end import End

Serve = Callable[[End], Awaitable[None]]


@asynccontextmanager
async def session(serve: Serve) -> AsyncIterator[AgentSocket]:
    """Give a session whose other end does ``serve``."""
    controller = WebSocketController({"a": "s"}, serve)
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        question = Question(Target("http", "127.0.0.1", controller.port, "/"))
        key = new_key()
        wire = await dial(question, None)
        request = agent_request(question, key, node="a", secret="s")
        found = await upgrade(question, request, key, wire, within=5)
        assert found.answer.status == 101
        assert found.is_accepted
        yield found.open()
        wire.abandon()
        nursery.cancel_scope.cancel()


def test_the_accept_value_is_that_of_the_rfc() -> None:
    assert accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


async def test_pings_are_answered_both_ways() -> None:
    seen: list[int] = []

    async def serve(end: End) -> None:
        await end.send(PING, b"")
        await end.send(BINARY, b"\0\5hello")
        seen.append((await end.read_until(PONG))[0])
        await end.serve()

    async with session(serve) as socket:
        took = await socket.ping(5)
        await socket.close()
    assert took is not None
    assert len(socket.pings) == 1
    assert socket.received == 7
    assert seen == [PONG]
    assert socket.ended is not None
    assert (socket.ended.how, socket.ended.code) == (Ending.CLOSE_FRAME, 1000)


async def test_a_cut_has_its_idle_time() -> None:
    async def serve(end: End) -> None:
        await trio.sleep(0.2)

    async with session(serve) as socket:
        await socket.read_until(trio.current_time() + 5)
    assert socket.ended is not None
    assert socket.ended.how is Ending.BARE_EOF
    assert 0.15 < socket.ended.idle < 2


async def test_a_close_frame_is_answered_and_no_byte_of_life() -> None:
    codes: list[bytes] = []

    async def serve(end: End) -> None:
        await trio.sleep(0.2)
        await end.close(1001)
        codes.append((await end.read_until(CLOSE))[1])

    async with session(serve) as socket:
        await socket.read_until(trio.current_time() + 5)
        await trio.sleep(0.05)
    assert socket.ended is not None
    assert socket.ended.code == 1001
    assert socket.ended.idle > 0.15
    assert codes == [b"\x03\xe9"]


async def test_what_is_no_frame_ends_the_session() -> None:
    async def serve(end: End) -> None:
        await end.stream.send_all(b"\xff\xff\xff\xff")
        await end.serve()

    async with session(serve) as socket:
        await socket.read_until(trio.current_time() + 5)
    assert socket.ended is not None
    assert socket.ended.how is Ending.VIOLATION


async def test_frames_that_come_with_the_101_count() -> None:
    async def serve(end: End) -> None:
        await end.send(PING, b"")
        await end.read_to_end()

    async with session(serve) as socket:
        socket.frames.receive_data(b"\x89\x00")  # as if it had
        await socket.read_until(trio.current_time() + 0.3)
    assert len(socket.pings) == 2


async def test_nobody_answers_a_ping() -> None:
    async def serve(end: End) -> None:
        end.answers = False
        await end.read_to_end()

    async with session(serve) as socket:
        assert await socket.ping(0.2) is None
        assert socket.ended is None
