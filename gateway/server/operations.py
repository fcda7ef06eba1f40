"""What operators can do to a gateway that runs: the same for control socket and admin listener.

Owns: the operations, and that each has an end: whoever asks workers gets an answer within the time
of a worker's, without those that did not give one (``partial``, ``missing_workers``).

Must not know: how a question arrived, how an answer is shown.

Every answer is a JSON object. Whatever changes something is one line in the audit log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import trio

from gateway import __version__
from gateway.agents.blocks import Block
from gateway.agents.recent_ends import MOST_ENDS
from gateway.config.masked import masked
from gateway.observability.logs import get_logger
from gateway.server.aside import Aside
from gateway.server.block_list import MOST_BLOCKS, BlockList
from gateway.server.certificates import certificates
from gateway.server.control import Message
from gateway.server.fleet import Fleet
from gateway.server.log_level import LogLevel
from gateway.server.readiness import Readiness
from gateway.server.reloader import Reload, Reloader
from gateway.server.session_list import list_sessions, node_timeline
from gateway.server.session_query import SessionQuery
from gateway.server.stopping import Stopping
from gateway.server.wishes import BlockWish, Kick, LevelWish, Takeover, UnblockWish

_log = get_logger("audit")

# How old a list of sessions may be: ten viewers cost workers no more than one. Seconds.
FRESH: Final = 1.0
_CLOSED_BY_BLOCK: Final = 1008
_MOST_NAMED: Final = 20


class Refused(Exception):
    """An operation that cannot be done. ``kind`` is a word for programs: not-found, conflict."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Operations:
    """The operations of one supervisor. ``by`` is who wishes, for the audit log."""

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        reloader: Reloader,
        stopping: Stopping,
        status: Callable[[], Awaitable[Message]],
        *,
        blocks: BlockList,
        level: LogLevel,
        aside: Aside,
    ) -> None:
        self._fleet = fleet
        self.reloader = reloader
        self.stopping = stopping
        self.status = status
        self._blocks = blocks
        self._level = level
        self._aside = aside
        self._looking = trio.Lock()
        self._looked: tuple[float, Message] | None = None

    @property
    def fleet(self) -> Fleet:
        """The workers."""
        return self._fleet()

    # -- sessions ----------------------------------------------------------------------------------

    async def sessions(self, query: SessionQuery) -> Message:
        """Return a page of sessions."""
        found = await self.all_sessions()
        fitting = query.select(found["sessions"])
        return {
            "items": list(query.page(fitting)),
            "total": len(fitting),
            "offset": query.offset,
            "limit": query.limit,
            "left_out": found["left_out"],
            **_partial(found["silent"]),
        }

    async def session(self, number: str) -> Message:
        """Return one session. Raises Refused."""
        found = await self.all_sessions()
        for each in found["sessions"]:
            if each["session"] == number:
                return {**each, **_partial(found["silent"])}
        raise Refused("not-found", "no such session; it may have ended")

    async def timeline(self, node: str) -> Message:
        """Return what happened to a node lately, of all controllers."""
        events, silent = await node_timeline(self.fleet, node)
        return {"node": node, "items": events, **_partial(silent)}

    async def kick(self, wish: Kick, by: str) -> Message:
        """End sessions. Raises Refused where there is none."""
        more = {"reason": wish.reason, "close_code": wish.close_code}
        return await self._end("kick", wish.model_dump(include=_MEANT), by, **more)

    async def take_over(self, wish: Takeover, by: str) -> Message:
        """End sessions as a takeover. Raises Refused where there is none."""
        meant = wish.model_dump(include=_MEANT)
        return await self._end("takeover", meant, by, takeover=True, reason=wish.reason)

    async def _end(
        self, operation: str, meant: Mapping[str, Any], by: str, **more: object
    ) -> Message:
        answer = await self._end_sessions(meant, **more)
        ended = answer["ended"]
        reason = more["reason"]
        done = {**meant, "reason": reason, "ended": len(ended), "nodes": _nodes(ended)}
        _log.info(operation, operator=by, details=done)
        if not ended and not answer["partial"]:
            raise Refused("not-found", "there is no such session")
        return answer

    async def _end_sessions(self, meant: Mapping[str, Any], **more: object) -> Message:
        answers = await self.fleet.ask_all("end", **meant, **more)
        self._looked = None
        ended = [
            {**each, "worker": child.process.pid}
            for child, answer in answers.items()
            for each in answer.get("ended", ())
        ]
        return {"ended": ended, **_partial(_silent(answers, "ended"))}

    async def all_sessions(self) -> Message:
        """Return all sessions of all workers (``session_list``), at most a second old.

        Not to be changed: others have got the same.
        """
        async with self._looking:  # who comes meanwhile gets the same answer
            now = trio.current_time()
            if self._looked is None or now - self._looked[0] > FRESH:
                found = await list_sessions(self.fleet)
                self._looked = trio.current_time(), found
            return self._looked[1]

    # -- blocks ------------------------------------------------------------------------------------

    async def blocks(self) -> Message:
        """Return the nodes that are kept out."""
        return {"items": [_block(each) for each in self._blocks.current()]}

    async def block(self, wish: BlockWish, by: str) -> Message:
        """Keep a node out, and end the session that it has. Raises Refused."""
        now = time.time()
        until = None if wish.duration_s is None else now + wish.duration_s
        self._check_controller(wish.controller)
        block = Block(wish.node, wish.controller, until, wish.reason, now, by)
        if not self._blocks.put(block):
            raise Refused("conflict", f"{MOST_BLOCKS} nodes are blocked already, the most there is")
        answer = await self._spread_blocks()
        ended: Message = {"ended": []}
        if wish.end_session:
            reason = wish.reason or "blocked by an operator"
            meant = {"node": wish.node, "controller": wish.controller}
            ended = await self._end_sessions(meant, reason=reason, close_code=_CLOSED_BY_BLOCK)
        done = {**wish.model_dump(exclude={"end_session"}), "ended": len(ended["ended"])}
        _log.info("block", operator=by, details=done)
        return {"block": _block(block), "ended": ended["ended"], **answer}

    async def unblock(self, wish: UnblockWish, by: str) -> Message:
        """Let a node in again. Raises Refused where it was not blocked."""
        block = self._blocks.remove(wish.controller, wish.node)
        if block is None:
            others = [each for each in self._blocks.current() if each.node == wish.node]
            where = ", ".join(each.controller or "every controller" for each in others)
            hint = f"; it is at {where}" if others else ""
            raise Refused("not-found", f"the node is not blocked there{hint}")
        answer = await self._spread_blocks()
        _log.info("unblock", operator=by, details=wish.model_dump())
        return {"block": _block(block), **answer}

    async def _spread_blocks(self) -> Message:
        kept = await self._blocks.save()
        return {"kept": kept, **_partial(await self.fleet.spread_settings())}

    def _check_controller(self, name: str | None) -> None:
        known = self.fleet.in_force.config.controllers
        if name is not None and name not in known:
            raise Refused("not-found", f"no such controller; there are {', '.join(known)}")

    # -- controllers -------------------------------------------------------------------------------

    async def controllers(self) -> Message:
        """Return what each worker knows of each controller; no controller is asked."""
        answers = await self.fleet.ask_all("controllers")
        config = self.fleet.in_force.config
        items = [
            {
                "name": name,
                "url": None if controller.url is None else str(controller.url),
                "protocol": controller.agents.protocol,
                "sessions": sum(
                    answer["controllers"].get(name, {}).get("sessions", 0)
                    for answer in answers.values()
                    if "controllers" in answer
                ),
                "workers": [
                    {**answer["controllers"][name], "worker": child.process.pid}
                    for child, answer in answers.items()
                    if name in answer.get("controllers", ())
                ],
            }
            for name, controller in config.controllers.items()
        ]
        return {"items": items, **_partial(_silent(answers, "controllers"))}

    async def fingerprints(self) -> Message:
        """Return the idle timers found on the ways, of each worker."""
        answers = await self.fleet.ask_all("fingerprints")
        items = [
            {**each, "worker": child.process.pid}
            for child, answer in answers.items()
            for each in answer.get("findings", ())
        ]
        items.sort(key=lambda each: each["chance"])
        return {"items": items, **_partial(_silent(answers, "findings"))}

    async def ends(self) -> Message:
        """Return the last ends of sessions, the latest first."""
        answers = await self.fleet.ask_all("ends")
        items = [
            {**each, "worker": child.process.pid}
            for child, answer in answers.items()
            for each in answer.get("ends", ())
        ]
        items.sort(key=lambda each: -each["at"])
        last = [{**each, "at": _time(each["at"])} for each in items[:MOST_ENDS]]
        return {"items": last, **_partial(_silent(answers, "ends"))}

    # -- the gateway -------------------------------------------------------------------------------

    def readiness(self) -> Readiness:
        """Say whether the gateway is ready; asks nobody."""
        return Readiness.of(
            self.fleet, draining=self.stopping.is_asked, last_reload=self.reloader.last
        )

    async def certificates(self) -> Message:
        """Return the certificates that are shown. Raises Refused where files hang."""
        config = self.fleet.in_force.config
        try:
            found = await self._aside.run(partial(certificates, config, datetime.now(UTC)))
        except TimeoutError:
            raise Refused("unavailable", "a file system does not answer") from None
        return {"items": found}

    async def configuration(self) -> Message:
        """Return the configuration in force, secrets masked."""
        in_force = self.fleet.in_force
        return {"generation": in_force.generation, "configuration": masked(in_force.config)}

    async def reloads(self) -> Message:
        """Return how the last reloads went, the latest first."""
        return {"items": [_reload(each) for each in reversed(self.reloader.history)]}

    async def reload(self, trigger: str, by: str) -> Message:
        """Load the configuration again. Raises Refused where the old one stays in force."""
        result = await self.try_reload(trigger, by)
        if result.reason is not None:
            raise Refused("conflict", result.reason)
        return _reload(result)

    async def try_reload(self, trigger: str, by: str) -> Reload:
        """Load the configuration again; return how that went."""
        result = await self.reloader.reload(trigger)
        _log.info("reload", operator=by, details={"ok": result.ok})
        return result

    async def drain(self, trigger: str, by: str) -> Message:
        """End the gateway in order."""
        self.begin_drain(trigger, by)
        return await self.drain_progress()

    def begin_drain(self, trigger: str, by: str) -> None:
        """Have the gateway end in order, and wait for nothing."""
        _log.info("drain", operator=by)
        self.stopping.ask(trigger)

    async def drain_progress(self) -> Message:
        """Return how far the end has come."""
        status = await self.status()
        shutdown = self.fleet.in_force.config.shutdown
        missing = [x["worker"] for x in status["workers"] if x["sessions"] is None]
        return {
            "draining": self.stopping.is_asked,
            "within_s": shutdown.pre_stop + shutdown.drain_timeout,
            "sessions": status["sessions"],
            "connections": status["connections"],
            "workers": len(status["workers"]),
            **_partial(missing),
        }

    async def workers(self) -> Message:
        """Return the workers."""
        status = await self.status()
        missing = [x["worker"] for x in status["workers"] if x["sessions"] is None]
        return {"items": status["workers"], "restarts": status["restarts"], **_partial(missing)}

    async def log_level(self) -> Message:
        """Return the level in force, and when it goes back."""
        until = self._level.until
        return {"level": self._level.in_force, "until": None if until is None else _time(until)}

    async def set_log_level(self, wish: LevelWish, by: str) -> Message:
        """Log from another level on, in every process."""
        self._level.put(wish.level, within=wish.duration_s)
        late = await self.fleet.spread_settings()
        _log.info("log level", operator=by, details=wish.model_dump())
        return {**await self.log_level(), **_partial(late)}

    async def version(self) -> Message:
        """Return which program this is."""
        return {"version": __version__, "process": os.getpid(), "name": "remoting-gateway"}


_MEANT: Final = {"node", "controller", "session"}


def _nodes(ended: Sequence[Message]) -> list[object]:
    """Return whose sessions ended, as far as a line of the log has room for names."""
    return [each["node"] for each in ended[:_MOST_NAMED]]


def _partial(silent: list[int]) -> Message:
    return {"partial": bool(silent), "missing_workers": silent}


def _silent(answers: Mapping[Any, Message], key: str) -> list[int]:
    return sorted(child.process.pid for child, answer in answers.items() if key not in answer)


def _block(block: Block) -> Message:
    until = None if block.until is None else _time(block.until)
    return {**block.in_words(), "since": _time(block.since), "until": until}


def _reload(reload: Reload) -> Message:
    return {**asdict(reload), "ok": reload.ok}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
