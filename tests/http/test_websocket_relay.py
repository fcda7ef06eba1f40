"""One relayed session: bytes, pings, endings. Time is a mock clock that jumps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import structlog
import trio
import trio.lowlevel
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.errors import Draining
from gateway.http.websocket_relay import RelayLimits
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import Limits
from tests.http.relayed import LIMITS, relayed
from tests.http.serving import make_config
from tests.peers.raw_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from tests.peers.ws_end import End


@pytest.fixture
def log() -> LogCapture:
    capture = LogCapture()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    return capture


@pytest.fixture
def clock() -> MockClock:
    """Jump once nothing has happened for a moment of real time, which is there for the kernel."""
    return MockClock(autojump_threshold=0.05)


async def read_bytes(end: End, size: int) -> bytes:
    while len(end.raw) < size:
        assert await end.receive()
    return end.raw


# -- bytes -----------------------------------------------------------------------------------------


async def test_frames_pass_unchanged_both_ways(clock: MockClock) -> None:
    async with relayed() as run:
        run.client.answers = run.controller.answers = False
        sent = await run.client.send(BINARY, b"\0\5hello")
        sent += await run.client.send(BINARY, b"\0\5", final=False)
        sent += await run.client.send(PING, b"theirs")
        sent += await run.client.send(CONTINUATION, b"world")
        sent += await run.client.send(TEXT, b"x" * 70_000)
        sent += await run.client.send(PONG, b"unasked")
        assert await read_bytes(run.controller, len(sent)) == sent
        back = await run.controller.send(BINARY, b"y" * 8194)
        back += await run.controller.send(PING, b"")
        back += await run.controller.send(PONG, b"theirs")
        assert await read_bytes(run.client, len(back)) == back


async def test_what_arrived_with_the_handshakes_goes_first(clock: MockClock) -> None:
    up, down = frame(BINARY, b"early"), frame(BINARY, b"early, too", mask=None)
    async with relayed(client_leading=up, controller_leading=down) as run:
        sent = await run.client.send(BINARY, b"later")
        assert await read_bytes(run.controller, len(up + sent)) == up + sent
        assert await read_bytes(run.client, len(down)) == down


async def test_compressed_frames_pass(clock: MockClock) -> None:
    async with relayed() as run:
        sent = frame(BINARY, b"deflated", reserved=4)
        await run.client.stream.send_all(sent)
        assert await read_bytes(run.controller, len(sent)) == sent


async def test_a_receiver_that_is_slow_stops_the_sender(clock: MockClock) -> None:
    """In flight is one receive and what kernels hold, however much is sent."""
    async with relayed(buffer=8192) as run:
        sent = b""
        data = run.client.frame(BINARY, bytes(1000))
        with trio.move_on_after(0.9):  # before the first ping
            while True:
                await run.client.stream.send_all(data)
                sent += data
        assert 10_000 < len(sent) < 1_000_000
        run.controller.answers = False
        assert (await read_bytes(run.controller, len(sent))).startswith(sent)


async def test_many_tiny_frames(clock: MockClock) -> None:
    async with relayed() as run:
        data = run.client.frame(BINARY, b"") * 20_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.client.stream.send_all, data)
            assert await read_bytes(run.controller, len(data)) == data


# -- pings -----------------------------------------------------------------------------------------


async def test_both_idle_legs_are_pinged_and_pongs_swallowed(clock: MockClock) -> None:
    async with relayed() as run:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.client.serve)
            nursery.start_soon(run.controller.serve)
            await trio.sleep(600)
            nursery.cancel_scope.cancel()
        assert run.result is None
        for end in (run.client, run.controller):
            # Only pings of ours: the pongs of the other side were swallowed.
            assert {opcode for opcode, _ in end.frames} == {PING}
            assert 30 <= len(end.frames) <= 34
            assert len({payload for _, payload in end.frames}) == len(end.frames)
        assert run.session._client_watch.round_trip is not None


async def test_a_leg_that_we_send_on_is_pinged_too(clock: MockClock) -> None:
    """Once in an interval: only a pong shows what was read."""
    async with relayed() as run:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.client.serve)
            nursery.start_soon(run.controller.serve)
            for _ in range(20):
                await trio.sleep(10)
                await run.client.send(BINARY, b"up")
                await run.controller.send(BINARY, b"down")
            nursery.cancel_scope.cancel()
        for end in (run.client, run.controller):
            opcodes = [opcode for opcode, _ in end.frames]
            assert set(opcodes) == {BINARY, PING}
            assert 6 <= opcodes.count(PING) <= 11


async def test_the_pings_of_two_gateways_are_told_apart(clock: MockClock) -> None:
    """The pong that answers another gateway's ping goes on to that one."""
    async with relayed() as run, relayed() as other:
        _, theirs = await other.client.read_until(PING)
        await run.controller.send(PING, theirs)
        while (PING, theirs) not in run.client.frames:
            await run.client.receive()
        while (PONG, theirs) not in run.controller.frames:
            await run.controller.receive()


async def test_a_ping_waits_for_the_end_of_a_frame(clock: MockClock) -> None:
    async with relayed() as run:
        run.controller.answers = False  # it is inside a frame of its own
        whole = run.controller.frame(BINARY, bytes(1000))
        await run.controller.stream.send_all(whole[:500])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.controller.serve)
            await trio.sleep(50)  # well over the interval
            await run.controller.stream.send_all(whole[500:])
            await run.client.read_until(PING)
            nursery.cancel_scope.cancel()
        assert run.client.raw.startswith(whole)
        assert [opcode for opcode, _ in run.client.frames] == [BINARY, PING]


async def test_a_client_that_cannot_be_asked_is_not_blamed(clock: MockClock) -> None:
    """The controller stands still in the middle of a frame, as when it collects garbage."""
    async with relayed() as run:
        whole = run.controller.frame(BINARY, bytes(1000))
        await run.controller.stream.send_all(whole[:500])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.client.serve)
            await trio.sleep(200)
            await run.controller.stream.send_all(whole[500:600])
            await trio.sleep(200)
            assert run.result is None
            assert not run.session.suspect
            await run.controller.stream.send_all(whole[600:])
            await trio.sleep(1)
            assert [opcode for opcode, _ in run.client.frames] == [BINARY, PING]
            nursery.start_soon(run.controller.serve)
            await trio.sleep(200)
            assert run.result is None
            nursery.cancel_scope.cancel()


async def test_a_controller_that_stops_in_the_middle_of_a_frame_is_to_blame(
    clock: MockClock,
) -> None:
    """And not the client, who lives and cannot be asked, however long that takes."""
    async with relayed() as run:
        await trio.sleep(10)
        await run.controller.stream.send_all(run.controller.frame(BINARY, bytes(1000))[:500])
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.client.serve)
            await run.ended.wait()
            nursery.cancel_scope.cancel()
        end = await run.wait_end()
        assert (end.side, end.close_code) == (Side.CONTROLLER, 1011)
        assert end.reason == "no byte for 300 s, in the middle of a frame"
        assert 300 <= trio.current_time() - began < 306


async def test_a_client_that_stops_in_the_middle_of_a_frame_is_to_blame(clock: MockClock) -> None:
    async with relayed() as run:
        await run.client.stream.send_all(run.client.frame(BINARY, bytes(1000))[:500])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.controller.serve)
            end = await run.wait_end()
            nursery.cancel_scope.cancel()
        assert end.side is Side.AGENT
        assert end.reason == "no byte for 60 s, in the middle of a frame"


@pytest.mark.parametrize("by", [Side.AGENT, Side.CONTROLLER])
async def test_a_frame_that_moves_may_take_its_time(by: Side, clock: MockClock) -> None:
    """Neither its sender nor the other side, who cannot be asked meanwhile, is lost."""
    async with relayed() as run:
        one, other = run.client, run.controller
        if by is Side.CONTROLLER:
            one, other = other, one
        one.answers = False  # it is inside a frame of its own
        whole = one.frame(BINARY, bytes(64_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.serve)
            nursery.start_soon(other.serve)
            for at in range(0, len(whole), 1000):
                await one.stream.send_all(whole[at : at + 1000])
                await trio.sleep(15)
                assert run.result is None
                assert not run.session.suspect
            one.answers = True
            await trio.sleep(400)
            assert run.result is None
            nursery.cancel_scope.cancel()
        assert [opcode for opcode, _ in other.frames][:2] == [BINARY, PING]


@pytest.mark.parametrize("first", [Side.AGENT, Side.CONTROLLER])
async def test_two_that_stand_still_in_the_middle_of_a_frame_end(
    first: Side, clock: MockClock
) -> None:
    """The one that was silent first is to blame."""
    async with relayed() as run:
        ends = [run.client, run.controller]
        if first is Side.CONTROLLER:
            ends.reverse()
        began = trio.current_time()
        for end in ends:
            await end.stream.send_all(end.frame(BINARY, bytes(1000))[:500])
            await trio.sleep(2)
        ended = await run.wait_end()
        assert ended.side is first
        assert ended.reason == "no byte for 300 s, in the middle of a frame"
        assert 300 <= trio.current_time() - began < 306


async def test_waiting_for_the_end_of_a_frame_is_no_round_trip(
    clock: MockClock, log: LogCapture
) -> None:
    async with relayed() as run:
        run.controller.answers = False
        whole = run.controller.frame(BINARY, bytes(1000))
        await run.controller.stream.send_all(whole[:500])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.client.serve)
            await trio.sleep(50)
            await run.controller.stream.send_all(whole[500:])
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert run.session._client_watch.round_trip == pytest.approx(0, abs=0.5)
        assert not run.session.suspect


async def test_the_pings_of_the_two_legs_are_told_apart(clock: MockClock) -> None:
    """What answers a ping to the client is no answer of the controller's."""
    async with relayed() as run:
        _, to_client = await run.client.read_until(PING)
        await run.controller.send(PONG, to_client)
        while (PONG, to_client) not in run.client.frames:
            await run.client.receive()


async def test_only_what_came_is_counted(clock: MockClock, log: LogCapture) -> None:
    """No pings of ours, sent at once or behind a frame, and no pongs that answer them."""
    early = frame(BINARY, b"early")
    async with relayed(client_leading=early) as run:
        whole = run.controller.frame(BINARY, bytes(1000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.client.serve)
            nursery.start_soon(run.controller.serve)
            await trio.sleep(100)
            sent = await run.client.send(BINARY, b"x" * 100)
            run.controller.answers = False
            await run.controller.stream.send_all(whole[:500])
            await trio.sleep(50)
            await run.controller.stream.send_all(whole[500:])
            await trio.sleep(1)
            run.session.end(SessionEnd.of(Side.GATEWAY, Draining()))
            await run.wait_end()
            nursery.cancel_scope.cancel()
        assert [opcode for opcode, _ in run.client.frames].count(PING) > 3
    line = log.entries[-1]
    assert line["bytes_from_agent"] == len(early + sent)
    assert line["bytes_to_agent"] == len(whole)


# -- who is lost -----------------------------------------------------------------------------------


async def test_a_silent_client_is_lost_after_60_s(clock: MockClock) -> None:
    async with relayed() as run:
        run.client.answers = False
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.client.serve)
            frames = await run.controller.read_to_end()
            nursery.cancel_scope.cancel()
        assert 60 <= trio.current_time() - began < 66
        assert frames[-1] == (CLOSE, (1011).to_bytes(2, "big") + b"no byte for 60 s")
        end = await run.wait_end()
        assert (end.side, end.close_code) == (Side.AGENT, 1011)


async def test_a_silent_controller_is_lost_after_5_min(clock: MockClock) -> None:
    async with relayed() as run:
        run.controller.answers = False
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.controller.serve)
            frames = await run.client.read_to_end()
            nursery.cancel_scope.cancel()
        assert 300 <= trio.current_time() - began < 306
        assert frames[-1] == (CLOSE, (1011).to_bytes(2, "big") + b"no byte for 300 s")
        assert (await run.wait_end()).side is Side.CONTROLLER


def test_limits_come_from_the_configuration() -> None:
    config = make_config(
        agents={"keepalive": {"interval": "5s", "controller_dead_after": "2m"}},
        limits={"websocket_frame": "1MiB"},
    )
    limits = RelayLimits.of(config)
    assert limits == RelayLimits(Limits(5, 20, 60), Limits(5, 20, 120), 1 << 20)
    assert RelayLimits.of(make_config()).max_frame == 16 << 20


# -- endings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [Side.AGENT, Side.CONTROLLER])
async def test_a_close_frame_is_passed_and_answered(
    by: Side, clock: MockClock, log: LogCapture
) -> None:
    async with relayed() as run:
        one, other = run.client, run.controller
        if by is Side.CONTROLLER:
            one, other = other, one
        await one.send(BINARY, b"last")
        await one.close(1001)
        await other.read_until(CLOSE)
        await other.send(BINARY, b"on its way")
        await other.close(1001)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.read_to_end)
            nursery.start_soon(other.read_to_end)
        assert other.frames == [(BINARY, b"last"), (CLOSE, b"\x03\xe9")]
        assert one.frames == [(BINARY, b"on its way"), (CLOSE, b"\x03\xe9")]
        end = await run.wait_end()
        assert (end.side, end.close_code, end.level) == (by, 1001, "info")
        assert end.reason == f"the {by.value} closed the session with 1001"
    started, ended = (dict(line) for line in log.entries)
    assert (started["event"], ended["event"]) == ("session started", "session ended")
    assert started["transport"] == "websocket"
    assert ended["by"] == by.value
    assert {"session", "node", "client", "controller", "duration_s"} <= ended.keys()
    assert {"bytes_from_agent", "bytes_to_agent", "agent_idle_s", "controller_idle_s"} <= (
        ended.keys()
    )


async def test_a_close_frame_that_is_not_answered(clock: MockClock) -> None:
    async with relayed() as run:
        await run.client.close(1000)
        await run.controller.read_until(CLOSE)
        began = trio.current_time()
        await run.wait_end()
        assert trio.current_time() - began <= 10.1


async def test_a_close_frame_that_is_answered_by_an_eof(clock: MockClock) -> None:
    async with relayed() as run:
        await run.client.close(4000)
        await run.controller.read_until(CLOSE)
        await run.controller.stream.aclose()
        frames = await run.client.read_to_end()
        assert frames == [(CLOSE, (4000).to_bytes(2, "big"))]
        end = await run.wait_end()
        assert end.reason == "the agent closed the session with 4000"


@pytest.mark.parametrize("by", [Side.AGENT, Side.CONTROLLER])
async def test_an_eof_becomes_a_close_frame(by: Side, clock: MockClock) -> None:
    async with relayed() as run:
        one, other = run.client, run.controller
        if by is Side.CONTROLLER:
            one, other = other, one
        await one.send(BINARY, b"last")
        await one.stream.aclose()
        frames = await other.read_to_end()
        assert frames[0] == (BINARY, b"last")
        assert frames[1][0] == CLOSE
        assert frames[1][1].startswith((1011).to_bytes(2, "big"))
        end = await run.wait_end()
        assert end.side is by
        assert end.reason == f"the {by.value} closed the connection without a Close frame"


async def test_in_the_middle_of_a_frame_nothing_can_be_said(clock: MockClock) -> None:
    async with relayed() as run:
        part = run.client.frame(BINARY, bytes(1000))[:500]
        await run.client.stream.send_all(part)
        await read_bytes(run.controller, 500)
        await run.client.stream.aclose()
        await run.controller.read_to_end()
        assert run.controller.raw == part


async def test_draining(clock: MockClock) -> None:
    async with relayed() as run:
        await run.client.send(BINARY, b"x")
        await run.controller.read_until(BINARY)
        run.session.end(SessionEnd.of(Side.GATEWAY, Draining()))
        (_, to_client) = await run.client.read_until(CLOSE)
        (_, to_controller) = await run.controller.read_until(CLOSE)
        assert int.from_bytes(to_client[:2], "big") == 1012
        assert int.from_bytes(to_controller[:2], "big") == 1001  # as a client says it
        assert (await run.wait_end()).side is Side.GATEWAY


@pytest.mark.parametrize("waits", [False, True])
async def test_draining_in_the_middle_of_a_frame(waits: bool, clock: MockClock) -> None:
    """The rest of it is let through, and nothing behind it but the Close frame."""
    async with relayed() as run:
        whole = run.controller.frame(BINARY, bytes(1000))
        await run.controller.stream.send_all(whole[:500])
        if waits:  # a ping does, for the same place
            await trio.sleep(50)
        await run.client.receive()
        run.session.end(SessionEnd.of(Side.GATEWAY, Draining()))
        await run.controller.read_until(CLOSE)
        await trio.sleep(0.5)
        await run.controller.stream.send_all(whole[500:] + whole + whole[:7])
        frames = await run.client.read_to_end()
        expected = [BINARY, PING, CLOSE] if waits else [BINARY, CLOSE]
        assert [opcode for opcode, _ in frames] == expected
        assert frames[-1][1].startswith((1012).to_bytes(2, "big"))


@pytest.mark.parametrize("by", [Side.AGENT, Side.CONTROLLER])
async def test_draining_waits_a_second_for_the_end_of_a_frame(by: Side, clock: MockClock) -> None:
    async with relayed() as run:
        one, other = run.client, run.controller
        if by is Side.CONTROLLER:
            one, other = other, one
        part = one.frame(BINARY, bytes(1000))[:500]
        await one.stream.send_all(part)
        await read_bytes(other, 500)
        began = trio.current_time()
        run.session.end(SessionEnd.of(Side.GATEWAY, Draining()))
        assert await other.read_to_end() == []
        assert other.raw == part
        assert trio.current_time() - began == pytest.approx(1, abs=0.5)
        await one.read_until(CLOSE)


@pytest.mark.parametrize("size", [0, 120, 1000, 30_000])
async def test_a_pump_that_is_stopped_in_the_middle_of_a_send_loses_nothing(
    size: int, clock: MockClock
) -> None:
    """The Close frame stands behind all that was taken from the other side, not inside of it."""
    async with relayed(buffer=4096) as run:
        data = run.client.frame(BINARY, bytes(size))
        with trio.move_on_after(0.9):  # before the first ping
            for _ in range(100_000):
                await run.client.stream.send_all(data)
        run.session.end(SessionEnd.of(Side.GATEWAY, Draining()))
        await trio.lowlevel.checkpoint()
        frames = await run.controller.read_to_end()
        cut = len(run.controller.raw) - len(data) * (len(run.controller.raw) // len(data))
        if frames and frames[-1][0] == CLOSE:
            assert {opcode for opcode, _ in frames[:-1]} == {BINARY}
            assert frames[-1][1].startswith((1001).to_bytes(2, "big"))
        else:
            assert cut, "a Close frame had its place there"
            whole = data * (len(run.controller.raw) // len(data) + 1)
            assert whole.startswith(run.controller.raw)


async def test_a_frame_that_is_too_long_ends_the_session(clock: MockClock) -> None:
    async with relayed() as run:
        await run.client.send(BINARY, b"good")
        await run.client.stream.send_all(frame(BINARY, b"bad", length=1 << 40))
        for end in (run.client, run.controller):
            _, said = await end.read_until(CLOSE)
            assert int.from_bytes(said[:2], "big") == 1009
        assert run.controller.frames[0] == (BINARY, b"good")
        assert (await run.wait_end()).side is Side.AGENT


async def test_how_long_a_frame_may_be_is_configured(clock: MockClock) -> None:
    async with relayed(limits=replace(LIMITS, max_frame=70_000)) as run:
        sent = await run.client.send(BINARY, bytes(70_000))
        assert len(await read_bytes(run.controller, len(sent))) == len(sent)
        await run.client.stream.send_all(frame(BINARY, b"bad", length=70_001))
        _, said = await run.client.read_until(CLOSE)
        assert int.from_bytes(said[:2], "big") == 1009
        assert (await run.wait_end()).reason == "frame longer than 70000 bytes"


async def test_a_controller_that_closes_while_it_is_sent_to(clock: MockClock) -> None:
    """Its Close frame reaches the client, although sending to it failed."""
    async with relayed() as run:
        await run.controller.close(1001)
        await run.controller.stream.aclose()
        await run.client.send(BINARY, bytes(8000))
        assert await run.client.read_until(CLOSE) == (CLOSE, b"\x03\xe9")


async def test_cancelled_from_outside(clock: MockClock, log: LogCapture) -> None:
    async with relayed() as run:
        await run.client.send(BINARY, b"x")
        await run.controller.read_until(BINARY)
    assert [line["event"] for line in log.entries] == ["session started", "session ended"]
    assert log.entries[-1]["reason"] == "the gateway cut the session"
