"""Tests of ``gateway.agents.history``: what a node's timeline says, and what is kept besides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from structlog.testing import LogCapture

from gateway.agents.cookie_file import CookieFile
from gateway.agents.ended_cookies import EndedCookies
from gateway.agents.history import History
from gateway.agents.registry import Entry
from gateway.agents.takeover import Claim
from gateway.errors import PeerLost
from gateway.runtime.ended_session import EndedSession, IdleTimes
from gateway.runtime.session_end import How, SessionEnd, Side
from gateway.runtime.session_loop import Sign
from gateway.runtime.session_view import SessionView
from gateway.transport.stream import PeerAddress

COOKIE: Final = "c0" * 32
AT: Final = 1_780_000_000.0
LOST: Final = SessionEnd.of(Side.AGENT, PeerLost("no Close frame"), How.EOF)


class PlayedSession:
    started_at = 0.0
    suspect = False
    is_running = True

    def __init__(self, transport: str) -> None:
        self._transport = transport

    async def challenge(self) -> Sign:
        raise AssertionError

    def end(self, end: SessionEnd) -> None:
        raise AssertionError

    def view(self) -> SessionView:
        return SessionView(self._transport, "192.0.2.9:50000", 0, 0, 0, 0, 0, None, 1)


def entry(transport: str = "jnlp4", *, id: str = "s1", controller: str = "main") -> Entry:
    return Entry(PlayedSession(transport), id, controller, "a", "192.0.2.1", AT, COOKIE)


def ended(**changes: Any) -> EndedSession:
    made = EndedSession(
        session="s1",
        controller="main",
        node="a",
        client="192.0.2.1",
        controller_address=PeerAddress("192.0.2.9", 50000),
        end=LOST,
        at=AT,
        age=100.0,
        agent_idle=IdleTimes(60.0, 61.0),
        controller_idle=IdleTimes(1.0, 2.0),
        bytes_from_agent=1,
        bytes_to_agent=2,
        ping_interval=20.0,
        round_trip=0.01,
        generation=4,
    )
    return replace(made, **changes)


@pytest.fixture
def cookies(tmp_path: Path) -> EndedCookies:
    return EndedCookies(CookieFile(tmp_path))


@pytest.fixture
def history(cookies: EndedCookies) -> History:
    return History(cookies, clock=lambda: AT)


async def test_a_nodes_life(history: History) -> None:
    for _ in range(3):
        history.refused("main", "a", client="192.0.2.1", reason="not authorized")
    history.opened(entry())
    claim = Claim("main", "a", "192.0.2.2", "when-dead", None, 8.0)
    history.taken_over(entry(), claim, "suspect")
    history.ended(ended())
    history.opened(entry(controller="other"))
    history.opened(replace(entry(), node="b"))
    events = history.timeline("a")
    assert [(each["controller"], each["event"]) for each in events] == [
        ("main", "refused"),
        ("main", "opened"),
        ("main", "takeover"),
        ("main", "ended"),
        ("other", "opened"),
    ]
    refused, opened, takeover, end, _ = events
    assert (refused["reason"], refused["times"]) == ("not authorized", 3)
    assert (opened["session"], opened["transport"]) == ("s1", "jnlp4")
    assert (takeover["by"], takeover["why"], takeover["client"]) == (
        "192.0.2.2",
        "suspect",
        "192.0.2.1",
    )
    assert end["reason"] == "no Close frame"
    assert end["how"] == "eof"
    assert end["config_generation"] == 4
    assert COOKIE not in repr(events)
    assert history.timeline("c") == []


async def test_cookies_of_jnlp4_alone(history: History, cookies: EndedCookies) -> None:
    """Over WebSocket an agent keeps its cookie, and may be elsewhere with it."""
    history.opened(entry("websocket"))
    history.ended(ended())
    assert await cookies.find("main", "a") is None
    history.opened(entry("jnlp4"))
    assert await cookies.find("main", "a") is None
    history.ended(ended())
    assert await cookies.find("main", "a") == COOKIE


async def test_an_idle_timer_is_told(history: History, log: LogCapture) -> None:
    await trio.lowlevel.checkpoint()
    for number in range(30):
        history.ended(ended(at=AT + 60 * number, age=100.0 + 7.3 * number))
    (line,) = (each for each in log.entries if each["event"] == "idle timer found")
    assert line["log_level"] == "warning"
    assert "an idle timer of 60 s lies between agent and gateway" in line["text"]


async def test_a_session_by_websocket_may_have_the_last_ones_cookie(
    history: History, tmp_path: Path
) -> None:
    """The agent presents it there, and gets it back: it lives."""
    history.opened(entry("jnlp4"))
    history.ended(ended())
    file = CookieFile(tmp_path)
    async with trio.open_nursery() as nursery:
        cookies = EndedCookies(file)
        nursery.start_soon(cookies.run)
        later = History(cookies, clock=lambda: AT)
        later.opened(entry("jnlp4"))
        later.ended(ended())
        with trio.fail_after(5):
            while file.ended_cookie("main", "a") is None:  # noqa: ASYNC110 (a file)
                await trio.sleep(0.01)
            later.opened(entry("websocket", id="s2"))
            assert await cookies.find("main", "a") is None, "at once"
            while file.ended_cookie("main", "a") is not None:  # noqa: ASYNC110 (a file)
                await trio.sleep(0.01)
        assert await cookies.find("main", "a") is None
        nursery.cancel_scope.cancel()
