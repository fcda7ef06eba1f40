"""What viewers are sent, and how seldom the gateway is looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gateway.server.admin.page.live import HEARTBEAT, LONGEST, Looks, TooManyViewers, event
from gateway.server.admin.page.query import View
from gateway.server.admin.page.render import PARTS, Renderer
from tests.server.admin.page.snapshots import HOSTILE, session, snapshot
from tests.server.admin.page.source import ScriptedSource


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource(snapshot(3))


@pytest.fixture
def looks(source: ScriptedSource) -> Looks:
    return Looks(source.snapshot, Renderer("a1"))


def read(data: bytes | None) -> list[tuple[str, Any]]:
    """Return events as a browser would read them."""
    assert data is not None
    found = []
    for block in data.decode("ascii").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def kinds(events: list[tuple[str, Any]]) -> list[str]:
    return [data["id"] if kind == "part" else kind for kind, data in events]


async def test_at_first_everything(looks: Looks, autojump_clock: MockClock) -> None:
    with looks.watching(View()) as viewer:
        data = await viewer.next()
    assert data is not None
    assert data.startswith(b"retry: 3000\n\n")
    events = read(data)
    assert kinds(events) == [*PARTS, "count", "sessions", "now"]
    sessions = events[-2][1]
    assert sessions["order"] == ["s00001", "s00002", "s00003"]
    assert [row[0] for row in sessions["rows"]] == sessions["order"]
    assert sessions["rows"][0][2].startswith("<tr ")
    assert events[-1][1]["assets"] == "a1"


async def test_then_what_changes(
    looks: Looks, source: ScriptedSource, autojump_clock: MockClock
) -> None:
    with looks.watching(View()) as viewer:
        await viewer.next()
        source.change(1, from_agent=1)
        events = read(await viewer.next())
        assert kinds(events) == ["sessions", "now"]
        assert events[0][1]["order"] is None
        assert [row[0] for row in events[0][1]["rows"]] == ["s00002"]
        source.now = replace(source.now, sessions=source.now.sessions[1:])
        events = read(await viewer.next())
        assert kinds(events) == ["figures", "count", "sessions", "now"]
        assert events[2][1] == {"order": ["s00002", "s00003"], "rows": [], "total": 2}


async def test_nothing_changes_and_it_is_said_now_and_then(
    looks: Looks, source: ScriptedSource, autojump_clock: MockClock
) -> None:
    with looks.watching(View()) as viewer:
        await viewer.next()
        for _ in range(3):
            began = trio.current_time()
            assert kinds(read(await viewer.next())) == ["now"]
            assert trio.current_time() - began <= HEARTBEAT


async def test_a_view_is_kept_to(
    looks: Looks, source: ScriptedSource, autojump_clock: MockClock
) -> None:
    source.now = snapshot(120)
    with looks.watching(View(search="0119")) as viewer:
        events = dict(read(await viewer.next()))
        assert events["sessions"]["order"] == ["s00119"]
        assert events["sessions"]["total"] == 120
        source.change(3, from_agent=0)  # not on this page
        assert kinds(read(await viewer.next())) == ["now"]


async def test_one_look_serves_all(
    looks: Looks, source: ScriptedSource, autojump_clock: MockClock
) -> None:
    async def watch() -> None:
        with looks.watching(View()) as viewer:
            while True:
                await viewer.next()

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(watch)
        await trio.sleep(61)
        assert looks.viewers == 20
        nursery.cancel_scope.cancel()
    assert source.looks <= 31
    assert looks.viewers == 0
    before = source.looks
    await trio.sleep(3600)
    assert source.looks == before  # nobody looks: nothing is asked


async def test_a_slow_viewer_skips_what_was_in_between(
    looks: Looks, source: ScriptedSource, autojump_clock: MockClock
) -> None:
    with looks.watching(View()) as viewer:
        await viewer.next()
        for i in range(100):
            source.change(0, from_agent=i)
            await trio.sleep(3)
        events = read(await viewer.next())
        assert len(events[0][1]["rows"]) == 1
        assert "99 B" in events[0][1]["rows"][0][2]
        assert kinds(read(await viewer.next())) == ["now"]


async def test_places_are_bounded(source: ScriptedSource) -> None:
    looks = Looks(source.snapshot, Renderer("a1"), most_viewers=1)
    with looks.watching(View()), pytest.raises(TooManyViewers), looks.watching(View()):
        pass
    with looks.watching(View()):
        pass


async def test_a_stream_ends_so_that_who_it_is_is_asked_again(
    looks: Looks, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    with looks.watching(View()) as viewer:
        while await viewer.next() is not None:
            pass
    assert LONGEST <= trio.current_time() - began <= LONGEST + HEARTBEAT


async def test_large_pages_are_looked_at_less_often(
    looks: Looks, source: ScriptedSource, autojump_clock: MockClock
) -> None:
    source.now = snapshot(600)
    with looks.watching(View(size=5000)) as viewer:
        await viewer.next()
        source.change(0, from_agent=1)
        began = trio.current_time()
        await viewer.next()
        assert trio.current_time() - began == pytest.approx(5 * looks.interval)


async def test_others_have_their_turn_while_thousands_of_rows_are_rendered(
    looks: Looks, source: ScriptedSource
) -> None:
    source.now = snapshot(1000)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with looks.watching(View(size=5000)) as viewer:
            await viewer.next()
        nursery.cancel_scope.cancel()
    assert turns >= 1000 / 50


def test_no_name_ends_an_event_early() -> None:
    for name in (*HOSTILE, "\n\nevent: now\ndata: {}\n\n", "\r\r", "\u2028"):
        data = event("sessions", {"x": name})
        assert data.count(b"\n") == 3
        assert b"\r" not in data
        assert read(data) == [("sessions", {"x": name})]


async def test_hostile_names_are_escaped_in_rows(
    looks: Looks, source: ScriptedSource, autojump_clock: MockClock
) -> None:
    source.now = snapshot(0, sessions=tuple(session(i, node=n) for i, n in enumerate(HOSTILE)))
    with looks.watching(View()) as viewer:
        data = await viewer.next()
    assert data is not None
    for html in (row[2] for row in dict(read(data))["sessions"]["rows"]):
        assert "<script" not in html
        assert "<img" not in html
