"""Tests of ``gateway.runtime.unanswered``: whose silence proves something."""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.session_loop import LegWatch, Limits, SessionLoop, Sign
from gateway.runtime.unanswered import LITTLE, Unanswered
from gateway.transport.stream import Stream
from tests.runtime.line import DONE, Line, after, forever, waiting

PATIENT = Limits(interval=20.0, suspect_after=20.0, dead_after=math.inf)


async def suspect_from(
    line: Line, watch: LegWatch, *pumps: Callable[[], Awaitable[SessionEnd]]
) -> float:
    """Return when the peer was suspect first, within two minutes; else infinity."""
    found = math.inf

    async def look() -> SessionEnd:
        nonlocal found
        while not watch.suspect:  # noqa: ASYNC110 (a clock)
            await trio.sleep(0.5)
        found = trio.current_time()
        return await forever()

    await SessionLoop([watch]).run([look, *pumps, after(120)])
    return found


async def test_a_little_makes_no_difference(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    watch = line.watch(PATIENT)
    line.sends(LITTLE, acknowledged=LITTLE)
    assert 38 <= await suspect_from(line, watch) <= 40.5


async def test_a_slow_line_has_its_time(autojump_clock: MockClock) -> None:
    """At 2.5 kB/s so much takes 20 s, wherever on the way it is."""
    line = Line()
    line.reads()
    watch = line.watch(PATIENT)
    line.sends(50_000, acknowledged=50_000)
    assert 41 <= await suspect_from(line, watch) <= 41.5  # it was asked at 1 s


async def test_a_line_that_is_cut_has_none(autojump_clock: MockClock) -> None:
    line = Line()
    line.reads()
    watch = line.watch(PATIENT)
    line.sends(50_000)
    assert 21 <= await suspect_from(line, watch) <= 21.5  # it was asked at 1 s


@pytest.mark.parametrize(("unacknowledged", "at"), [(0, math.inf), (50_000, 40.0)])
async def test_a_send_that_waits(unacknowledged: int, at: float, autojump_clock: MockClock) -> None:
    """The ping stands behind it: nobody was asked. Only a line that is cut is one."""
    line = Line()
    line.reads()
    line.unacknowledged = unacknowledged
    watch = line.watch(PATIENT)

    async def send() -> SessionEnd:
        await trio.sleep(1)
        await line.send(takes=1000)
        return await forever()

    assert await suspect_from(line, watch, send) == pytest.approx(at, abs=2.1)


async def test_what_the_kernel_knows() -> None:
    """A peer that takes nothing: what is under way, what could not be sent, what was taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    with far:
        stream = Stream(trio.socket.from_stdlib_socket(near))
        unanswered = Unanswered(stream)
        await stream.send_all(b"x" * 1000)
        with trio.fail_after(5):
            while unanswered.acknowledged() < 1000:  # noqa: ASYNC110 (a kernel)
                await trio.sleep(0.01)
        assert stream.in_flight() == 0
        assert not unanswered.is_cut_since(1000), "nothing is under way"
        with trio.move_on_after(0.5):
            await stream.send_all(bytes(64 << 20))
        await trio.sleep(0.5)
        taken = unanswered.acknowledged()
        assert 1000 < taken < stream.activity.bytes_written
        assert not unanswered.is_cut_since(taken), "its window is shut, and it lives"
        stream.abort()
        assert unanswered.acknowledged() == -1
        assert not unanswered.is_cut_since(-1)


async def test_what_the_kernel_does_not_know(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every sandbox's kernel can say it: then nothing is judged by it, and nothing fails."""

    def refuse(*arguments: object) -> bytes:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr("gateway.transport.kernel.fcntl.ioctl", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    with far:
        stream = Stream(trio.socket.from_stdlib_socket(near))

        async def ping(payload: bytes) -> None:
            await stream.send_all(payload)

        async def read() -> SessionEnd:
            await stream.receive_some()
            return await forever()

        watch = LegWatch(Side.AGENT, stream, PATIENT, send_ping=waiting(ping))
        loop = SessionLoop([watch])
        signs: list[Sign] = []

        async def look() -> SessionEnd:
            await trio.sleep(100)
            assert watch.suspect
            signs.append(await loop.challenge(watch))
            return DONE

        assert await loop.run([read, look]) == DONE
        assert signs == [Sign.SILENT]
        stream.abort()
