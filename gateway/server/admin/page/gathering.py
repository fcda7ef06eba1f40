"""The gateway, as the status page knows it.

Owns: which operations a look takes, how often, and reading their answers as values.

Must not know: HTML, HTTP, how operations are carried out.

Workers are asked for what they have at hand, each look; for what they would have to work out (idle
timers), and for what is in files (certificates), now and then. A worker that does not answer in
time is missing from the answers and named.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import trio

from gateway.server.admin.page.values import (
    CertificateRow,
    ControllerRow,
    EndRow,
    Health,
    NodeEvent,
    NodeHistory,
    ReloadRow,
    SessionRow,
    Snapshot,
    TimerRow,
    WorkerRow,
)
from gateway.server.operations import Operations, Refused
from gateway.server.session_list import list_sessions
from gateway.server.wishes import Kick

Fields = Mapping[str, Any]

# What is asked for now and then, seconds.
SELDOM: Final = 30.0
# Rows of one table; sessions have pages.
MOST_ROWS: Final = 50
_REASON: Final = "from the status page"


class Gathering:
    """Gathers snapshots from a supervisor's operations."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._seldom_at = -math.inf
        self._timers: Fields = {"items": (), "missing_workers": ()}
        self._certificates: Fields = {"items": ()}

    async def snapshot(self) -> Snapshot:
        """Return how things are now; within a few seconds, whatever workers do."""
        on = self._operations
        found: dict[str, Fields] = {}

        async def ask(name: str, question: Callable[[], Awaitable[Fields]]) -> None:
            found[name] = await question()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "status", on.status)
            nursery.start_soon(ask, "sessions", lambda: list_sessions(on.fleet))
            nursery.start_soon(ask, "ends", on.ends)
            nursery.start_soon(ask, "controllers", on.controllers)
            nursery.start_soon(ask, "reloads", on.reloads)
            nursery.start_soon(self._ask_seldom)
        status = found["status"]
        workers = tuple(map(_worker, status["workers"]))
        silent = {
            *found["sessions"]["silent"],
            *found["ends"]["missing_workers"],
            *found["controllers"]["missing_workers"],
            *self._timers["missing_workers"],
        }
        return Snapshot(
            at=time.time(),
            state=status["state"],
            ready=status["ready"],
            version=status["version"],
            started=_time(status["started"]),
            generation=status["generation"],
            restarts=status["restarts"],
            connections=status["connections"],
            listeners=tuple(status["listeners"]),
            sessions=tuple(map(_session, found["sessions"]["sessions"])),
            left_out=found["sessions"]["left_out"],
            ends=tuple(map(_end, found["ends"]["items"][:MOST_ROWS])),
            timers=tuple(map(_timer, self._timers["items"][:MOST_ROWS])),
            controllers=tuple(map(_controller, found["controllers"]["items"])),
            certificates=tuple(map(_certificate, self._certificates["items"])),
            reloads=tuple(map(_reload, found["reloads"]["items"][:MOST_ROWS])),
            workers=workers,
            # One that has only just started knows nothing yet.
            silent=tuple(
                each.process
                for each in workers
                if each.process in silent and each.state != "starting"
            ),
        )

    async def kick(self, session: SessionRow, caller: str) -> bool:
        """End a session; False if it is not there any more."""
        try:
            answer = await self._operations.kick(Kick(session=session.id, reason=_REASON), caller)
        except Refused:
            return False
        return bool(answer["ended"])

    async def history(self, controller: str, node: str) -> NodeHistory:
        """Return what happened to a node lately, the newest first."""
        answer = await self._operations.timeline(node)
        events = [
            _event(each) for each in answer["items"] if controller in ("", each["controller"])
        ]
        return NodeHistory(tuple(reversed(events)), tuple(answer["missing_workers"]))

    async def _ask_seldom(self) -> None:
        now = trio.current_time()
        if now - self._seldom_at < SELDOM:
            return
        self._seldom_at = now
        self._timers = await self._operations.fingerprints()
        try:
            self._certificates = await self._operations.certificates()
        except Refused:  # a file system hangs: what was known is more use than nothing
            return


def _session(each: Fields) -> SessionRow:
    ping = each["round_trip_ms"]
    return SessionRow(
        id=each["session"],
        controller=each["controller"],
        node=each["node"],
        client=each["client"],
        transport=each["transport"],
        since=_time(each["since"]),
        suspect=each["suspect"],
        takeovers=each["takeovers"],
        from_agent=each["bytes_from_agent"],
        to_agent=each["bytes_to_agent"],
        round_trip=None if ping is None else ping / 1000,
        worker=each["worker"],
    )


def _end(each: Fields) -> EndRow:
    return EndRow(
        at=_time(each["at"]),
        controller=each["controller"],
        node=each["node"],
        client=each["client"],
        by=each["by"],
        reason=each["reason"],
        close_code=each["close_code"],
        duration=each["duration_s"],
        from_agent=each["bytes_from_agent"],
        to_agent=each["bytes_to_agent"],
    )


def _timer(each: Fields) -> TimerRow:
    return TimerRow(
        controller=each["controller"],
        network=each["network"],
        seconds=each["seconds"],
        count=each["count"],
        total=each["total"],
        last_at=each["last_at"],
        sentence=each["text"],
    )


def _controller(each: Fields) -> ControllerRow:
    workers = each["workers"]
    health, state, detail = _health(workers)
    ways = {way["transport"] for way in _known(workers, "transport") if way["transport"]}
    return ControllerRow(
        name=each["name"],
        url=each["url"] or "",
        health=health,
        state=state,
        detail=detail,
        transport=", ".join(sorted(ways)),
        sessions=each["sessions"],
    )


def _health(workers: Iterable[Fields]) -> tuple[Health, str, str]:
    """Judge a controller by what workers have found, each by itself: the worst counts."""
    workers = list(workers)
    down = {
        address["address"]
        for worker in workers
        for address in worker["addresses"]
        if address["ejected"] or address["up"] is False
    }
    addresses = {address["address"] for w in workers for address in w["addresses"]}
    refusals = [
        each["reason"]
        for name, value in (("transport", "transport"), ("agent_port", "address"))
        for each in _known(workers, name)
        if each[value] is None
    ]
    detail = "; ".join(dict.fromkeys(refusals))
    if down and down == addresses:
        return Health.BAD, "down", detail or f"no answer from {', '.join(sorted(down))}"
    if refusals:
        return Health.BAD, "not ready for agents", detail
    if down:
        return Health.WARNING, "partly up", f"{', '.join(sorted(down))} is down"
    # An address that nobody has checked yet counts as up; that is no evidence.
    is_seen = any(_known(workers, name) for name in ("transport", "agent_port"))
    if is_seen or any(worker["sessions"] for worker in workers):
        return Health.GOOD, "up", ""
    return Health.UNKNOWN, "nobody asked yet", ""


def _known(workers: Iterable[Fields], name: str) -> list[Fields]:
    return [worker[name] for worker in workers if worker[name] is not None]


def _certificate(each: Fields) -> CertificateRow:
    expires = each["expires"]
    return CertificateRow(
        listener=each["used_by"],
        file=each["file"],
        names=tuple(each["names"]),
        expires=None if expires is None else _time(expires),
        problem=each["problem"],
    )


def _reload(each: Fields) -> ReloadRow:
    return ReloadRow(_time(each["at"]), each["trigger"], each["generation"], each["reason"])


def _worker(each: Fields) -> WorkerRow:
    started = each["started"]
    return WorkerRow(
        process=each["worker"],
        slot=each["slot"],
        state=each["state"],
        since=None if started is None else _time(started),
        generation=each["generation"],
        sessions=each["sessions"],
        connections=each["connections"],
        answered=each["sessions"] is not None,
    )


def _event(each: Fields) -> NodeEvent:
    shown = ("time", "event", "controller")
    details = tuple(
        _detail(name, value)
        for name, value in each.items()
        if name not in shown and value is not None and value != ""
    )
    return NodeEvent(_time(each["time"]), each["event"], each["controller"], details)


def _detail(name: str, value: object) -> tuple[str, str]:
    """Return the words for one fact: units stand behind the value, as people write them."""
    words, _, unit = name.rpartition("_")
    if unit in ("s", "ms"):
        return words.replace("_", " "), f"{value} {unit}"
    return name.replace("_", " "), str(value)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
