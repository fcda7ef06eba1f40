from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio

from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.check_hold import check_hold, check_ping
from gateway.doctor.findings import Finding
from gateway.doctor.question import Question
from gateway.doctor.websocket import AgentSocket
from tests.doctor.test_check_agent import QUESTION
from tests.doctor.test_websocket import session
from tests.peers.raw_frames import PING
from tests.peers.ws_end import End


def case_of(socket: AgentSocket, hold: float) -> Case:
    question: Question = replace(QUESTION, hold=hold)
    return Case(question=question, socket=socket)


async def leave(end: End) -> None:
    """What an idle timer does."""
    await trio.sleep(1.1)


async def leave_in_use(end: End) -> None:
    """What a limit on age does."""
    for _ in range(6):
        await end.send(PING, b"")
        await trio.sleep(0.2)


async def close_in_order(end: End) -> None:
    await trio.sleep(0.1)
    await end.close(1012)


async def forget(end: End) -> None:
    """What a firewall does: the connection stays, and nothing passes."""
    end.answers = False
    await end.read_to_end()


@pytest.mark.parametrize(
    ("serve", "cause", "words"),
    [
        (leave, Cause.IDLE_CUT, "an idle timer of 1 s"),
        (leave_in_use, Cause.AGE_CUT, "1 s after it began"),
        (close_in_order, Cause.SESSION_ENDED, "the server ended the session"),
    ],
)
async def test_ends_are_told_apart(
    serve: Callable[[End], Awaitable[None]], cause: Cause, words: str
) -> None:
    async with session(serve) as socket:
        (found,) = await check_hold(case_of(socket, 3))
    assert found.cause is cause
    assert words in found.title


async def _found(serve: Callable[[End], Awaitable[None]]) -> tuple[list[Finding], Case]:
    async with session(serve) as socket:
        case = case_of(socket, 0.3)
        return await check_hold(case), case


async def test_a_path_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.doctor.check_hold._PONG_WITHIN", 0.2)
    (found,), _ = await _found(forget)
    assert found.cause is Cause.IDLE_CUT
    assert "forgotten" in found.title
    async with session(forget) as socket:
        (found,) = await check_ping(case_of(socket, 0))
    assert found.cause is Cause.NO_PONG


async def test_a_session_that_lives_is_nothing_to_report() -> None:
    async def serve(end: End) -> None:
        await end.send(PING, b"")
        await end.send(PING, b"")
        await end.serve()

    found, case = await _found(serve)
    assert found == []
    assert "2 pings of the server" in case.saw
    assert "survived" in case.saw
