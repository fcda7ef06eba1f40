"""The stand-in controller's own limits are Java's: on a mock clock, in clear for simplicity."""

from __future__ import annotations

import json

import trio
from trio.testing import MockClock

from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.faults import Delay, Faults, Stage
from gateway.demo.identity import InstanceIdentity
from gateway.demo.wire import JNLP4_PLAINTEXT
from tests.demo.raw_client import CAPABILITY, framed

PREAMBLE = framed("Protocol:JNLP4-plaintext")


async def start(nursery: trio.Nursery, identity: InstanceIdentity) -> StandInController:
    """Start a controller that speaks in clear."""
    controller = StandInController({"m": INBOUND}, identity=identity, protocols=(JNLP4_PLAINTEXT,))
    await nursery.start(controller.run)
    return controller


async def read(stream: trio.SocketStream, size: int) -> bytes:
    """Read exactly ``size`` bytes."""
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        assert piece
        data += piece
    return data


async def frame(stream: trio.SocketStream) -> bytes:
    """Read one string with a 16-bit length."""
    return await read(stream, int.from_bytes(await read(stream, 2)))


async def hello(controller: StandInController, secret: str, **more: str) -> trio.SocketStream:
    """Go on to the point where the verdict is due."""
    stream = await trio.open_tcp_stream(*controller.agent_address)
    headers = json.dumps({"Node-Name": "m", "Secret-Key": secret, **more})
    await stream.send_all(PREAMBLE + framed("ACK") + framed(headers))
    assert await frame(stream) == b"ACK"
    assert b"cookie" in await frame(stream)
    return stream


async def test_ack_is_awaited_for_ten_seconds(
    nursery: trio.Nursery, jumping_clock: MockClock, identity: InstanceIdentity
) -> None:
    controller = await start(nursery, identity)
    async with await trio.open_tcp_stream(*controller.agent_address) as stream:
        before = trio.current_time()
        await stream.send_all(PREAMBLE)
        assert await frame(stream) == b"ACK"
        assert await stream.receive_some() == b""
        assert trio.current_time() - before == 10
        assert controller.attempts[-1].detail == "Timeout waiting for ACK"


async def test_confirmation_of_a_refusal_is_awaited_for_ten_seconds(
    nursery: trio.Nursery, jumping_clock: MockClock, identity: InstanceIdentity
) -> None:
    controller = await start(nursery, identity)
    before = trio.current_time()
    async with await hello(controller, "wrong") as stream:
        assert await frame(stream) == b"ERROR: Authorization failure"
        assert await stream.receive_some() == b""
        assert trio.current_time() - before == 10


async def test_live_channel_is_given_fifteen_seconds_to_die(
    nursery: trio.Nursery, jumping_clock: MockClock, identity: InstanceIdentity
) -> None:
    controller = await start(nursery, identity)
    controller.faults = Faults({Stage.DISCONNECT: Delay(60)})
    secret = controller.secret("m")
    async with await hello(controller, secret) as first:
        await first.send_all(framed("OK") + framed(CAPABILITY))
        channel = await controller.wait_for_channel("m")
        assert channel.cookie is not None
        before = trio.current_time()
        more = {"JnlpAgentProtocol.cookie": channel.cookie}
        async with await hello(controller, secret, **more) as second:
            assert await frame(second) == b"ERROR: Failed to disconnect the current client"
            assert trio.current_time() - before == 15
    await controller.wait_for_no_channel("m")


async def test_nothing_else_has_a_limit(
    nursery: trio.Nursery, jumping_clock: MockClock, identity: InstanceIdentity
) -> None:
    controller = await start(nursery, identity)
    async with await trio.open_tcp_stream(*controller.agent_address) as stream:
        await trio.sleep(3600)  # no read timeout before the protocol's name
        await stream.send_all(PREAMBLE + framed("ACK"))
        assert await frame(stream) == b"ACK"
        await frame(stream)
        await trio.sleep(3600)  # nor on headers
        headers = json.dumps({"Node-Name": "m", "Secret-Key": controller.secret("m")})
        await stream.send_all(framed(headers))
        assert await frame(stream) == b"OK"
        await trio.sleep(3600)  # nor on the verdict
        await stream.send_all(framed("OK"))
        assert await frame(stream) == CAPABILITY
        await trio.sleep(3600)  # nor on the capability
        await stream.send_all(framed(CAPABILITY))
        await controller.wait_for_channel("m")
