"""Tests of ``gateway.runtime.ended_session``, with ends that a middle-box made."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from gateway.errors import Draining, PeerLost
from gateway.observability.idle_fingerprint import Cut, Fingerprints, Leg, Measure
from gateway.runtime.ended_session import EndedSession, IdleTimes
from gateway.runtime.session_end import How, SessionEnd, Side
from gateway.transport.stream import PeerAddress, Stream, StreamBroken
from tests.peers.middlebox import Fault, Middlebox


def ended(
    side: Side,
    how: How,
    *,
    at: float = 1_780_000_000.0,
    idle: IdleTimes | None = None,
    age: float = 132.4444,
) -> EndedSession:
    return EndedSession(
        session="k3vq-9x2m",
        controller="main",
        node="linux-1",
        client="198.51.100.9",
        controller_address=PeerAddress("10.0.0.1", 50000),
        end=SessionEnd.of(side, PeerLost("gone"), how),
        at=at,
        age=age,
        agent_idle=idle or IdleTimes(60.01, 19.5),
        controller_idle=IdleTimes(7.0, 8.0),
        bytes_from_agent=5,
        bytes_to_agent=6,
        ping_interval=20.0,
        round_trip=0.0061,
        generation=3,
    )


def test_fields_for_log_and_json() -> None:
    fields = ended(Side.AGENT, How.EOF).as_fields()
    assert fields == {
        "session": "k3vq-9x2m",
        "controller": "main",
        "node": "linux-1",
        "client": "198.51.100.9",
        "controller_address": "10.0.0.1:50000",
        "by": "agent",
        "how": "eof",
        "reason": "gone",
        "close_code": 1011,
        "duration_s": 132.444,
        "bytes_from_agent": 5,
        "bytes_to_agent": 6,
        "agent_idle_s": 60.01,
        "to_agent_idle_s": 19.5,
        "controller_idle_s": 7.0,
        "to_controller_idle_s": 8.0,
        "round_trip_ms": 6.1,
        "config_generation": 3,
    }
    assert json.loads(json.dumps(fields)) == fields


def test_a_cut_of_either_leg() -> None:
    facts = ended(Side.AGENT, How.RESET)
    assert facts.cut() == Cut(
        "main", Leg.AGENT, "198.51.100.9", facts.at, facts.age, 60.01, 19.5, 20.0, 0.0061
    )
    facts = ended(Side.CONTROLLER, How.EOF)
    assert facts.cut() == Cut(
        "main", Leg.CONTROLLER, "10.0.0.1", facts.at, facts.age, 7.0, 8.0, None, None
    )


@pytest.mark.parametrize(
    ("side", "how"),
    [
        (Side.AGENT, How.CLOSED),
        (Side.AGENT, How.OTHER),
        (Side.CONTROLLER, How.OTHER),
        (Side.GATEWAY, How.EOF),
    ],
)
def test_what_no_timer_did(side: Side, how: How) -> None:
    assert ended(side, how).cut() is None


def test_an_end_by_the_gateway_is_none() -> None:
    assert SessionEnd.of(Side.GATEWAY, Draining()).how is How.OTHER


@pytest.fixture
def clock() -> MockClock:
    """Run the test in mock time that jumps once nothing has happened for a moment of real time."""
    return MockClock(autojump_threshold=0.02)


@pytest.mark.parametrize(("fault", "how"), [(Fault.RESET, How.RESET), (Fault.FIN, How.EOF)])
async def test_a_middle_boxs_timer_is_found(clock: MockClock, fault: Fault, how: How) -> None:
    """A box forgets connections after 15 s; the times are those that the streams recorded."""
    prints = Fingerprints()
    claims = []
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        box = Middlebox(listener.socket.getsockname(), idle_cut=15.0, idle_fault=fault)
        await nursery.start(box.run)
        for number in range(14):
            agent = await trio.open_tcp_stream("127.0.0.1", box.port)
            async with agent, await listener.accept() as accepted:
                stream = Stream(accepted.socket)
                began = trio.current_time()
                assert await _serve(stream, agent, quiet_after=3.3 * number) is how
                now = trio.current_time()
                cut = ended(
                    Side.AGENT,
                    how,
                    at=1_780_000_000 + now,
                    idle=IdleTimes.of(stream.activity, now),
                    age=now - began,
                ).cut()
                assert cut is not None
                claims.extend(prints.record(cut))
                stream.abort()
        nursery.cancel_scope.cancel()
    (found,) = claims
    assert found.measure is Measure.IDLE
    assert found.seconds == pytest.approx(15, abs=0.3)
    assert "an idle timer of 15 s lies between agent and gateway" in found.sentence()


async def _serve(stream: Stream, agent: trio.SocketStream, *, quiet_after: float) -> How:
    """Let both sides talk for ``quiet_after`` seconds and receive until the end; return it."""

    async def talk() -> None:
        quiet = trio.current_time() + quiet_after
        while trio.current_time() < quiet:
            await stream.send_all(b"ping")
            await agent.send_all(b"pong")
            await trio.sleep(1.1)
        await agent.send_all(b"last")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        try:
            while await stream.receive_some():
                pass
        except StreamBroken:
            return How.RESET if stream.was_reset else How.OTHER
    return How.EOF
