"""The bridge's data phase: byte transparency, liveness, endings."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from gateway.errors import Draining
from gateway.runtime.ended_session import EndedSession
from gateway.runtime.session_end import SessionEnd, Side
from gateway.transport.stream import Stream
from tests.agents.rig import Rig, running_session
from tests.peers.ws_agent import (
    AgentFrames,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    payload_of,
)

# Sockets of one process answer within microseconds; a quarter of a second without anything is
# idleness.
IDLE = 0.05


@pytest.fixture(autouse=True)
def _no_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep mock time from stopping each second of a silence."""
    monkeypatch.setattr("gateway.runtime.lost_time.BEAT", 100.0)


def chunk(body: bytes, *, more: bool = False) -> bytes:
    return struct.pack("!H", len(body) | (0x8000 if more else 0)) + body


def run_with_clock(scenario: Callable[[], Any]) -> None:
    """Run ``scenario`` in mock time that jumps whenever nothing happens any more."""

    async def main() -> None:
        with trio.fail_after(3600):
            await scenario()

    trio.run(main, clock=MockClock(autojump_threshold=IDLE))


chunks = st.lists(
    st.builds(
        chunk,
        st.integers(0, 300).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
        more=st.booleans(),
    ),
    min_size=1,
    max_size=12,
).map(b"".join)
# A real stream's first chunk is never AC ED: that is 11,501 bytes of data, and senders stop at
# 8,192.
agent_streams = chunks


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    upstream=agent_streams,
    downstream=chunks,
    message_cuts=st.lists(st.integers(0, 4000), max_size=8),
    fragment_cuts=st.lists(st.integers(0, 400), max_size=3),
    wire_cuts=st.lists(st.integers(0, 8000), max_size=12),
    pings=st.booleans(),
    one=st.booleans(),
    closer=st.sampled_from(["agent", "agent eof", "controller"]),
)
def test_both_streams_arrive_exactly(
    upstream: bytes,
    downstream: bytes,
    message_cuts: list[int],
    fragment_cuts: list[int],
    wire_cuts: list[int],
    pings: bool,
    one: bool,
    closer: str,
) -> None:
    """Whatever the slicing, what arrives is what was sent; nobody's bytes are added, changed or
    lost.
    """
    frames = AgentFrames()
    wire = b""
    for message in cut(upstream, message_cuts):
        pieces = frames.message(message, fragment_cuts)
        for piece in pieces:
            wire += piece
            if pings:
                wire += frames.send(Ping(b"between")) + frames.send(Pong(b"unasked"))
    received: dict[str, Any] = {}
    all_down: trio.Event

    async def scenario() -> None:
        async with running_session(chunks_per_message="one" if one else "many") as rig:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent_side, rig)
                nursery.start_soon(controller_side, rig)
            received["end"] = await rig.wait_end()

    async def agent_side(rig: Rig) -> None:
        async def read() -> None:
            received["down"], received["code"] = await rig.read_to_agent()
            if received["code"] is not None and closer == "controller":
                await rig.agent.send_all(rig.frames.send(CloseConnection(1000)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for piece in cut(wire, wire_cuts):
                await rig.agent.send_all(piece)
            await all_down.wait()
            if closer == "agent":
                await rig.agent.send_all(rig.frames.send(CloseConnection(1000)))
            elif closer == "agent eof":
                await rig.agent.send_eof()
        await rig.agent.aclose()

    async def controller_side(rig: Rig) -> None:
        for piece in cut(downstream, message_cuts):
            await rig.controller.send_all(piece)
        all_down.set()
        up = b""
        while len(up) < len(upstream) + 86:
            up += await rig.controller.receive_some(65536)
        if closer == "controller":
            await rig.controller.send_eof()
        while piece := await rig.controller.receive_some(65536):
            up += piece
        await rig.controller.aclose()
        received["up"] = up[86:]  # behind the agent's capability, a u16 and 84 characters

    async def main() -> None:
        nonlocal all_down
        all_down = trio.Event()
        with trio.fail_after(20):
            await scenario()

    trio.run(main)
    assert received["up"] == upstream
    whole = received["down"]
    # The agent may close while the last chunks are on their way to it: then a prefix, in whole
    # chunks.
    assert whole == downstream if closer == "controller" else downstream.startswith(whole)
    end = received["end"]
    assert isinstance(end, SessionEnd)
    assert end.side is (Side.CONTROLLER if closer == "controller" else Side.AGENT)
    if closer != "agent eof":
        assert received["code"] == 1000


# -- liveness ------------------------------------------------------------------------------------


def test_a_silent_agent_is_pinged_suspect_and_gone_within_60_seconds() -> None:
    async def scenario() -> None:
        async with running_session() as rig:
            pinged = []

            async def watch_pings() -> None:
                while data := await rig.agent.receive_some(65536):
                    for event in rig.frames.receive(data):
                        if isinstance(event, Ping):
                            pinged.append(trio.current_time())
                        elif isinstance(event, CloseConnection):
                            assert event.code == 1011

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_pings)
                started = trio.current_time()
                await trio.sleep(19)
                assert not rig.session.suspect
                await trio.sleep(21.5)
                assert rig.session.suspect
                end = await rig.wait_end()
                nursery.cancel_scope.cancel()
            assert 17 <= pinged[0] - started <= 20.5
            assert 59 <= trio.current_time() - started <= 60.5 + 5  # and the 5 s of closing
            assert end.side is Side.AGENT
            assert "no byte for 60 s" in end.reason

    run_with_clock(scenario)


def test_an_agent_that_answers_pings_lives_through_ten_minutes_of_silence() -> None:
    async def scenario() -> None:
        async with running_session() as rig, trio.open_nursery() as nursery:
            nursery.start_soon(rig.read_to_agent)
            await trio.sleep(600)
            assert not rig.ended.is_set()
            assert not rig.session.suspect
            nursery.cancel_scope.cancel()

    run_with_clock(scenario)


def test_an_agent_that_only_downloads_is_asked_whether_it_lives() -> None:
    """The gateway is never silent here, so only the second rule pings; without it the agent would
    die.
    """

    async def scenario() -> None:
        async with running_session() as rig, trio.open_nursery() as nursery:
            nursery.start_soon(rig.read_to_agent)
            for _ in range(60):
                await rig.controller.send_all(chunk(b"x" * 1000))
                await trio.sleep(5)
            assert not rig.ended.is_set()
            nursery.cancel_scope.cancel()

    run_with_clock(scenario)


def test_a_dead_agent_is_noticed_although_the_controller_keeps_sending() -> None:
    async def scenario() -> None:
        async with running_session() as rig:
            started = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def trickle() -> None:
                    while True:
                        await rig.controller.send_all(chunk(b"x"))
                        await trio.sleep(5)

                nursery.start_soon(trickle)
                end = await rig.wait_end()
                nursery.cancel_scope.cancel()
            assert end.side is Side.AGENT
            assert trio.current_time() - started <= 66

    run_with_clock(scenario)


def test_a_controller_that_stops_reading_for_four_minutes_loses_nobody() -> None:
    upload = chunk(b"u" * 8192) * 2000  # 16 MB: far more than any socket buffer holds

    async def scenario() -> None:
        async with running_session() as rig:
            received = bytearray()

            async def upload_all() -> None:
                for message in cut(upload, list(range(0, len(upload), 8194))):
                    for frame in rig.frames.message(message):
                        await rig.agent.send_all(frame)

            async def read_late() -> None:
                await trio.sleep(240)
                while len(received) < len(upload) + 86:
                    received.extend(await rig.controller.receive_some(1 << 20))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(upload_all)
                nursery.start_soon(read_late)
                await trio.sleep(230)
                assert not rig.ended.is_set()
                assert not rig.session.suspect  # we are not reading: its silence proves nothing
            assert bytes(received[86:]) == upload
            assert not rig.ended.is_set()

    run_with_clock(scenario)


def test_a_controller_that_never_reads_again_ends_the_session_after_five_minutes() -> None:
    async def scenario() -> None:
        async with running_session() as rig:
            started = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def upload_for_ever() -> None:
                    frame = rig.frames.message(chunk(b"u" * 8192))[0]
                    while True:
                        await rig.agent.send_all(frame)

                nursery.start_soon(upload_for_ever)
                _, code = await rig.read_to_agent(answer_pings=False)
                assert code == 1011
                nursery.cancel_scope.cancel()
            await rig.agent.aclose()
            end = await rig.wait_end()
            assert "no progress for 300 s" in end.reason
            assert end.side is Side.CONTROLLER
            assert 295 <= trio.current_time() - started <= 330

    run_with_clock(scenario)


def test_a_pong_behind_100_mib_of_upload_is_waited_for() -> None:
    """The agent's answer queues behind its own data for longer than ``dead_after``: every byte
    counts.
    """
    block = b"".join(AgentFrames().message(chunk(b"u" * 8192))[0] for _ in range(128))

    async def scenario() -> None:
        async with running_session() as rig, trio.open_nursery() as nursery:

            async def sink() -> None:
                while await rig.controller.receive_some(1 << 20):
                    pass

            nursery.start_soon(sink)
            for _ in range(100):
                await rig.agent.send_all(block)
                await trio.sleep(1.5)
            assert not rig.ended.is_set()
            assert not rig.session.suspect
            nursery.cancel_scope.cancel()

    run_with_clock(scenario)


# -- what an agent may not send
# ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        pytest.param(b"\x81\x85\x00\x00\x00\x00hello", 1003, id="text"),
        pytest.param(b"\x82\x02\x00\x05", 1002, id="not masked"),
        pytest.param(b"\xc2\x80\x00\x00\x00\x00", 1002, id="reserved bit"),
        pytest.param(b"\x83\x80\x00\x00\x00\x00", 1002, id="reserved opcode"),
        pytest.param(b"\x82\xff\x7f" + b"\xff" * 7 + b"\x00" * 4, 1009, id="absurd length"),
        pytest.param(b"\x89\xfe\x00\x7e\x00\x00\x00\x00", 1002, id="long ping"),
        pytest.param(b"\x82\x84\x00\x00\x00\x00\xac\xed\x00\x05", 1002, id="unframed 4.0"),
        pytest.param(
            b"\x82\x81\x00\x00\x00\x00\xac\x82\x83\x00\x00\x00\x00\xed\x00\x05",
            1002,
            id="unframed, split",
        ),
    ],
)
async def test_a_protocol_error_ends_the_session_and_nothing_is_forwarded(
    wire: bytes, code: int
) -> None:
    async with running_session() as rig:
        received: list[bytes] = []
        async with trio.open_nursery() as nursery:

            async def controller() -> None:
                received.append(await rig.read_to_controller())
                await rig.controller.aclose()

            nursery.start_soon(controller)
            await rig.agent.send_all(wire)
            _, said = await rig.read_to_agent()
            await rig.agent.aclose()
            end = await rig.wait_end()
        assert said == code == end.close_code
        assert received == [b""]


async def test_a_lone_first_byte_is_only_held_until_the_second() -> None:
    async with running_session() as rig:
        for byte in b"\x00\x01Z":
            await rig.agent.send_all(rig.frames.message(bytes([byte]))[0])
        received = b""
        while len(received) < 86 + 3:
            received += await rig.controller.receive_some(1000)
        assert received[86:] == b"\x00\x01Z"


# -- endings
# -------------------------------------------------------------------------------------------


async def test_bytes_that_came_with_the_handshakes_are_not_lost() -> None:
    frame = AgentFrames().message(chunk(b"early"))[0]
    async with running_session(leading=frame, controller_leading=chunk(b"first")) as rig:
        received = b""
        while len(received) < 86 + 7:
            received += await rig.controller.receive_some(1000)
        assert received[86:] == chunk(b"early")
        events = list(rig.frames.receive(await rig.agent.receive_some(1000)))
        assert payload_of(events) == chunk(b"first")


async def test_shutdown_tells_the_agent_1012() -> None:
    async with running_session() as rig:
        await trio.testing.wait_all_tasks_blocked()
        rig.session.end(SessionEnd.of(Side.GATEWAY, Draining()))
        _, code = await rig.read_to_agent()
        assert code == 1012
        await rig.agent.aclose()
        await rig.controller.aclose()
        end = await rig.wait_end()
        assert end.side is Side.GATEWAY


async def test_the_agents_close_code_is_answered_with_the_same() -> None:
    async with running_session() as rig:
        await rig.agent.send_all(rig.frames.send(CloseConnection(1001, "going")))
        _, code = await rig.read_to_agent()
        assert code == 1001
        await rig.agent.aclose()
        await rig.controller.aclose()
        assert (await rig.wait_end()).level == "info"


async def test_an_incomplete_chunk_at_the_end_is_reported() -> None:
    async with running_session() as rig:
        await rig.controller.receive_some(1000)  # closing with unread bytes would be a reset
        await rig.controller.send_all(chunk(b"whole") + b"\x00\x05ab")
        await rig.controller.aclose()
        payload, code = await rig.read_to_agent()
        assert (payload, code) == (chunk(b"whole"), 1000)
        await rig.agent.aclose()
        assert "4 bytes of an incomplete chunk" in (await rig.wait_end()).reason


async def test_a_reset_of_either_end_is_an_end_with_a_name() -> None:
    async with running_session(tcp=True) as rig:
        await rig.controller.receive_some(1000)  # the capability: the session runs
        rig.controller.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER
        rig.controller.socket.close()
        _, code = await rig.read_to_agent()
        assert code == 1011
        await rig.agent.aclose()
        assert (await rig.wait_end()).side is Side.CONTROLLER
    async with running_session(tcp=True) as rig:
        rig.agent.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))
        rig.agent.socket.close()
        await rig.read_to_controller()
        await rig.controller.aclose()
        end = await rig.wait_end()
        assert end.side is Side.AGENT
        assert "reset" in end.reason


async def test_an_agent_that_does_not_read_stops_the_controller() -> None:
    """Back-pressure: what lies in the gateway is one receive, not what was to be sent."""
    async with running_session() as rig:
        sent = 0
        with trio.move_on_after(2):
            while True:
                await rig.controller.send_all(chunk(b"d" * 8192))
                sent += 8194
        assert 0 < sent < 8 << 20


async def test_one_chunk_per_message_where_asked_for() -> None:
    async with running_session(chunks_per_message="one") as rig:
        sent = [chunk(b"a"), chunk(b"b" * 8192, more=True), chunk(b"")]
        await rig.controller.send_all(b"".join(sent))
        got: list[bytes] = []
        while len(got) < len(sent):
            for event in rig.frames.receive(await rig.agent.receive_some(65536)):
                assert isinstance(event, BytesMessage)
                assert event.message_finished
                got.append(bytes(event.data))
        assert got == sent


@pytest.mark.parametrize("fails", ["keep_alive", "limit_unsent"])
async def test_an_end_is_told_of_whatever_has_begun(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where not even the socket's options can be set any more."""

    def fail(self: Stream, *args: object, **more: object) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(Stream, fails, fail)
    told: list[EndedSession] = []
    async with running_session(on_end=told.append) as rig:
        rig.agent.socket.close()
        rig.controller.socket.close()
        end = await rig.wait_end()
    assert end.side is Side.AGENT
    assert [each.end for each in told] == [end]
