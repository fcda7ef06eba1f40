"""The control stream: framing, bounds, and ends at every place."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from gateway.server.control import MAX_MESSAGE, ControlBroken, ControlStream, Message

MESSAGES: list[Message] = [{"type": "start", "text": "ü\n\0"}, {}, {"list": [1, 2.5, None, "x"]}]


def encode(message: object) -> bytes:
    """Return a message as the other end's own code would write it."""
    data = json.dumps(message).encode()
    return len(data).to_bytes(4, "big") + data


async def received(*pieces: bytes) -> list[Message]:
    """Return what a stream makes of ``pieces`` and the end behind them."""
    near, far = trio.testing.memory_stream_pair()
    stream = ControlStream(near)
    messages = []

    async def feed() -> None:
        for piece in pieces:
            await far.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        await far.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        while (message := await stream.receive()) is not None:
            messages.append(message)
    return messages


async def test_messages_arrive_however_they_are_cut() -> None:
    data = b"".join(map(encode, MESSAGES))
    assert await received(data) == MESSAGES
    assert await received(*(data[i : i + 1] for i in range(len(data)))) == MESSAGES
    assert await received(*(data[i : i + 7] for i in range(0, len(data), 7))) == MESSAGES


async def test_what_one_end_sends_the_other_receives() -> None:
    near, far = trio.testing.memory_stream_pair()
    one, other = ControlStream(near), ControlStream(far)
    async with trio.open_nursery() as nursery:
        for message in MESSAGES:
            nursery.start_soon(one.send, message)
    found = [await other.receive() for _ in MESSAGES]
    assert sorted(map(str, found)) == sorted(map(str, MESSAGES))
    await one.aclose()
    assert await other.receive() is None


async def test_an_end_inside_a_message_is_an_end() -> None:
    data = encode(MESSAGES[0])
    for size in range(len(data)):
        assert await received(data[:size]) == []


async def test_a_cancelled_receive_loses_nothing() -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = ControlStream(near)
    data = encode(MESSAGES[0])
    for cut in (2, 10):
        await far.send_all(data[:cut])
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.receive)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        data = data[cut:]
    await far.send_all(data)
    assert await stream.receive() == MESSAGES[0]


@pytest.mark.parametrize(
    "data",
    [b"\x00\x00\x00\x00", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x01{", b"\x00\x00\x00\x02\xff\xff"],
    ids=["empty", "no object", "no JSON", "no UTF-8"],
)
async def test_what_is_not_a_message_is_refused(data: bytes) -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(data)
    with pytest.raises(ControlBroken):
        await ControlStream(near).receive()


async def test_deep_nesting_is_refused() -> None:
    data = b'{"a":' + b"[" * 200_000
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(len(data).to_bytes(4, "big") + data)
    with pytest.raises(ControlBroken):
        await ControlStream(near).receive()


async def test_the_size_is_judged_before_anything_is_kept() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all((MAX_MESSAGE + 1).to_bytes(4, "big"))
    with pytest.raises(ControlBroken, match=str(MAX_MESSAGE + 1)):
        await ControlStream(near).receive()


async def test_what_the_other_end_would_refuse_is_not_sent() -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = ControlStream(near, limit=20)
    await stream.send({"a": "x" * 11})
    with pytest.raises(ValueError, match="21 bytes; at most 20"):
        await stream.send({"a": "x" * 12})
    assert await ControlStream(far).receive() == {"a": "x" * 11}


async def test_sending_to_nobody_is_an_error() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await ControlStream(near).send({})


async def test_one_owner_hands_the_stream_to_the_next_between_messages() -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = ControlStream(near)
    data = encode(MESSAGES[0])
    await far.send_all(data[:6])
    with trio.move_on_after(0.01):
        await stream.receive()
    await stream.freeze()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send, MESSAGES[1])
        await trio.testing.wait_all_tasks_blocked()
        assert stream.unused == data[:6]
        stream.thaw()
    assert await ControlStream(far).receive() == MESSAGES[1]
    await far.send_all(data[6:])
    assert await ControlStream(near, received=data[:6]).receive() == MESSAGES[0]
