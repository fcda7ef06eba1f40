"""Work that may hang: in one thread, which no signal finds, and never for ever."""

from __future__ import annotations

import signal
import threading  # noqa: TID251 - work that hangs, hangs in a thread

import pytest
import trio

from gateway.server.aside import Aside


async def test_what_comes_of_it() -> None:
    def fail() -> None:
        raise LookupError("made up")

    aside = Aside()
    assert await aside.run(lambda: 7) == 7
    with pytest.raises(LookupError, match="made up"):
        await aside.run(fail)


async def test_no_signal_finds_it() -> None:
    held_back = await Aside().run(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    assert {signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2} <= held_back


async def test_what_hangs_is_given_up_and_keeps_the_one_thread() -> None:
    aside = Aside()
    returned = threading.Event()
    try:
        with pytest.raises(TimeoutError, match=r"not done within 0\.05 s"):
            await aside.run(returned.wait, limit=0.05)
        begun: list[int] = []
        with pytest.raises(TimeoutError):
            await aside.run(lambda: begun.append(1), limit=0.05)
        with trio.move_on_after(0.05) as scope:
            await aside.run(lambda: begun.append(2))
        assert scope.cancelled_caught
        assert begun == []
    finally:
        returned.set()
    assert await aside.run(lambda: 7) == 7
