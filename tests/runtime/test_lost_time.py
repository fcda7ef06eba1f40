"""Tests of ``gateway.runtime.lost_time``: a process that stood still blames nobody for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.runtime.lost_time import BEAT, LostTime
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import LegWatch, Limits, SessionLoop, Sign
from gateway.transport.stream import Stream
from tests.runtime.line import DONE, LIMITS, Line, after, waiting
from tests.runtime.test_session_challenge import Challenged

Pair = tuple[trio.socket.SocketType, socket.socket]


@pytest.fixture
def tcp_pair() -> Iterator[Pair]:
    """A connection: ours, and the peer's end, which blocks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    with near, far:
        yield trio.socket.from_stdlib_socket(near), far


class Waiter:
    is_waiting = True


async def test_what_counts(mock_clock: MockClock) -> None:
    """What was lost after a moment, to a second; in doubt for whoever is waited for."""
    lost_time = LostTime()
    assert lost_time.since(0) == 0
    lost_time.attend(Waiter())
    await wait_all_tasks_blocked()
    mock_clock.jump(1.9)  # not noticeably late
    await wait_all_tasks_blocked()
    assert lost_time.since(0) == 0
    now = trio.current_time()
    mock_clock.jump(30)
    assert 30 <= lost_time.since(0) <= 30 + BEAT, "whoever looks first finds it"
    await wait_all_tasks_blocked()
    assert lost_time.since(now) == 30, "no more than there was"
    assert lost_time.since(now + 20) == 10
    assert lost_time.since(now + 30) == 0
    lost_time.woken(now + 5)
    lost_time.woken(now + 29.5)
    assert lost_time.since(now) == 30, "others have found the same one"
    mock_clock.jump(10)
    assert 40 <= lost_time.since(0) <= 40 + 2 * BEAT


async def test_a_beat_only_while_somebody_waits(mock_clock: MockClock) -> None:
    lost_time = LostTime()
    for leaves in (False, True):
        waiter = Waiter()
        lost_time.attend(waiter)
        await wait_all_tasks_blocked()
        if leaves:
            lost_time.leave(waiter)
        else:
            waiter.is_waiting = False
        mock_clock.jump(BEAT)
        await wait_all_tasks_blocked()
        assert not lost_time._beating
        mock_clock.jump(100)
        assert lost_time.since(0) == 0


async def test_a_freeze_before_anybody_was_asked(mock_clock: MockClock) -> None:
    """For longer than ``dead_after``: the peer has had no reason to say anything."""
    line = Line()
    line.reads()
    watch = line.watch()
    loop = SessionLoop([watch])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run, [after(1e6)])
        await wait_all_tasks_blocked()
        mock_clock.jump(300)
        await wait_all_tasks_blocked()
        assert loop.is_running
        assert len(line.pings) == 1
        for _ in range(30):
            mock_clock.jump(1)
            await wait_all_tasks_blocked()
        assert loop.is_running
        for _ in range(40):
            mock_clock.jump(1)
            await wait_all_tasks_blocked()
        assert not loop.is_running
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("freeze", [6.0, 3600.0])
async def test_a_process_that_stood_still(freeze: float, mock_clock: MockClock) -> None:
    """The answer lies in the kernel, or is on its way: the peer has its 5 s once more."""
    line = Line()
    line.reads()
    made = Challenged(line, line.watch())
    sign: list[Sign] = []

    async def ask() -> None:
        sign.append(await made.loop.challenge(made.watch))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.loop.run, [after(1e6)])
        await wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        mock_clock.jump(freeze)
        await wait_all_tasks_blocked()
        assert sign == []
        for _ in range(4):
            mock_clock.jump(1)
            await wait_all_tasks_blocked()
        assert sign == []
        line.hears()
        mock_clock.jump(0.5)
        await wait_all_tasks_blocked()
        assert sign == [Sign.ALIVE]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("attempt", range(3))
async def test_a_loop_that_is_blocked(attempt: int, tcp_pair: Pair) -> None:
    """Really, and for longer than the challenge; the peer has answered at once."""
    near, far = tcp_pair
    stream = Stream(near)
    sent = trio.Event()

    async def read() -> SessionEnd:
        while await stream.receive_some():
            pass
        return DONE

    async def send(payload: bytes) -> None:
        await stream.send_all(payload)
        sent.set()

    watch = LegWatch(Side.AGENT, stream, LIMITS, send_ping=waiting(send))
    loop = SessionLoop([watch])
    signs: list[Sign] = []

    async def ask() -> None:
        signs.append(await loop.challenge(watch, within=0.5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run, [read])
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as asking:
            for _ in range(20):  # whichever task comes first afterwards
                asking.start_soon(ask)
            await sent.wait()
            assert far.recv(100)
            far.send(b"x")
            time.sleep(0.8 if attempt else 2.6)  # noqa: ASYNC251 (that is what is tested)
        nursery.cancel_scope.cancel()
    assert signs == [Sign.ALIVE] * 20


@pytest.mark.parametrize(("frozen", "pauses"), [(0.0, False), (90.0, False), (90.0, True)])
async def test_time_that_was_lost_makes_no_suspects(
    frozen: float, pauses: object, mock_clock: MockClock
) -> None:
    """Also where nothing was read for a moment since the peer was asked."""
    line = Line()
    line.reads()
    watch = line.watch(Limits(20.0, 20.0, 60.0))
    loop = SessionLoop([watch])

    async def lives(seconds: int) -> None:
        for _ in range(seconds * 2):
            mock_clock.jump(0.5)
            await wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run, [after(1e6)])
        await wait_all_tasks_blocked()
        await lives(20)
        if pauses:
            line.activity.reading_since = None
        await lives(3)
        if pauses:
            line.reads()
        await lives(14)  # the next ping comes after 18 s
        mock_clock.jump(frozen)
        assert not watch.suspect, "before anybody else has looked at the clock"
        await wait_all_tasks_blocked()
        assert not watch.suspect
        assert loop.is_running
        await lives(8 if pauses else 4)
        assert watch.suspect
        assert loop.is_running
        await lives(40 if pauses else 20)
        assert not loop.is_running
        nursery.cancel_scope.cancel()
