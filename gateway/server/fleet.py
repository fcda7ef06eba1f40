"""All workers: one for each slot, and those from before an upgrade that still hold sessions.

Owns: that every slot is accepted on, that all workers serve by one configuration or by the old one,
and the order in which they end.

Must not know: where a configuration comes from, signals, how the program is replaced.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from gateway.config.models import GatewayConfig
from gateway.observability.logs import get_logger
from gateway.server.asking import ask_others
from gateway.server.children import Child, Starter, State, launch
from gateway.server.control import Message
from gateway.server.freezing import frozen
from gateway.server.processes import start
from gateway.server.restarts import Life, keep_running, status_of_stop
from gateway.server.settings_spread import SettingsSpread
from gateway.server.slots import Slots, cover

_log = get_logger("system")

# Beyond its own limit a worker is killed.
KILL_AFTER: Final = 5.0
# How long what a worker said before it ended may take to be read.
LAST_WORDS: Final = 1.0
# What is left to workers that are told to hurry.
HURRY: Final = 10.0
# How often workers that linger are looked at.
OVERDUE_LOOK: Final = 30.0


@dataclass(frozen=True, slots=True)
class StopOrder:
    """How workers end: sessions over ``spread`` seconds, what is left cut after ``timeout``."""

    spread: float
    timeout: float | None


@dataclass(frozen=True, slots=True)
class InForce:
    """The configuration that workers serve by. No two have one number, not even refused ones."""

    config: GatewayConfig
    generation: int


class Fleet:
    """The workers of one supervisor."""

    def __init__(
        self,
        slots: Slots,
        workers: int,
        in_force: InForce,
        *,
        incarnation: int = 1,
        old: Sequence[Child] = (),
        all_serve: Callable[[], None] = lambda: None,
        ended: Callable[[Child], None] = lambda child: None,
        restarts: int = 0,
        settings: Callable[[], Message] = dict,
        start: Starter = start,
    ) -> None:
        """``old``: workers of the program that ran in this process before, ``restarts`` of its.

        ``all_serve`` is called once, when every worker of this program is ready; ``ended`` for each
        worker that is gone. ``settings`` are what operators have set besides the configuration;
        every worker has them.
        """
        self._slots = slots
        self._bound = slots.addresses
        self._workers = workers
        self._start = start
        self._settings = settings
        self._in_force = in_force
        self.generations = in_force.generation  # numbers that have been given to configurations
        self.incarnation = incarnation
        self._children = list(old)
        self._all_serve: Callable[[], None] | None = all_serve
        self._ended = ended
        self._stop = trio.Event()
        self._ending = StopOrder(0.0, HURRY)
        self._another_ending = trio.Event()
        self._is_hurried = False
        self._status = 0
        self._changed = trio.Event()
        self._reloading = trio.Lock()
        self._asking: trio.Nursery | None = None
        self._spread = SettingsSpread(lambda: self._children, settings)
        self.restarts = restarts

    # -- what others ask ---------------------------------------------------------------------------

    @property
    def children(self) -> tuple[Child, ...]:
        """Every worker that lives."""
        return tuple(self._children)

    @property
    def addresses(self) -> list[str]:
        """Where clients are accepted; nowhere, once stopping has begun."""
        return [] if self._stop.is_set() else self._bound

    @property
    def in_force(self) -> InForce:
        """The configuration that workers serve by."""
        return self._in_force

    @property
    def is_stopping(self) -> bool:
        """Say whether workers have been told to stop."""
        return self._stop.is_set()

    @property
    def is_serving(self) -> bool:
        """Say whether clients are served."""
        return not self._stop.is_set() and any(c.state is State.SERVING for c in self._children)

    @property
    def is_configured(self) -> bool:
        """Say whether a worker serves by the configuration in force, and not by an older one."""
        generation = self._in_force.generation
        return any(c.state is State.SERVING and c.generation == generation for c in self._children)

    @property
    def is_settled(self) -> bool:
        """Say whether every worker of this program has become ready."""
        return self._all_serve is None

    async def statuses(self) -> dict[Child, Message]:
        """Ask every worker how it is; one that does not answer has an empty answer."""
        found: dict[Child, Message] = {}
        for child, answer in (await self.ask_all("status")).items():
            status = answer.get("status")
            found[child] = status if isinstance(status, dict) else {}
        return found

    async def ask_all(self, question: str, **more: object) -> dict[Child, Message]:
        """Ask every worker; one that does not answer has an empty answer.

        One that still owes an answer is not asked: nobody waits for it a second time, and what it
        does not read cannot pile up in front of it.
        """
        found: dict[Child, Message] = {}

        async def ask(child: Child) -> None:
            absent = child.state is State.STARTING or child.is_silent
            found[child] = (None if absent else await child.ask(question, **more)) or {}

        async with trio.open_nursery() as nursery:
            for child in self._children:
                nursery.start_soon(ask, child)
        return found

    # -- running -----------------------------------------------------------------------------------

    async def run(self) -> int:
        """Keep workers running until ``stop``; return the exit status, 0 if all ended in order."""
        async with trio.open_nursery() as nursery:
            self._asking = nursery
            nursery.start_soon(self._keep_covered)
            nursery.start_soon(self._spread.keep)
            async with trio.open_nursery() as lives:
                for child in self._children:
                    lives.start_soon(self._watch_old, child)
                for slot in range(self._workers):
                    lives.start_soon(self._keep, slot)
            nursery.cancel_scope.cancel()
        return self._status

    def stop(self, ending: StopOrder) -> None:
        """Have every worker end; ``run`` returns when they have. A later order takes its place."""
        if self._is_hurried:
            return
        self._ending = ending
        self._stop.set()
        self._another_ending.set()
        self._another_ending = trio.Event()

    def hurry(self) -> None:
        """Have workers that are ending, or are to, cut short what is left. No order follows it."""
        self.stop(StopOrder(0.0, HURRY))
        self._is_hurried = True

    async def _keep(self, slot: int) -> None:
        async def run_worker() -> Life:
            return await self._run_worker(slot)

        status = await keep_running(run_worker, self._stop, served=self.incarnation > 1)
        self._status = max(self._status, status)
        if not self._stop.is_set():
            self.hurry()  # the first one gave up

    async def _run_worker(self, slot: int) -> Life:
        try:
            child, start = launch(slot, self._slots, self.incarnation, start=self._start)
        except OSError as error:
            _log.error("a worker cannot be started", reason=str(error))
            return Life(None, ready=False)
        child.generation = self._in_force.generation
        child.settings = self._settings()
        self._children.append(child)
        tell_to_start = partial(
            child.tell,
            **start,
            snapshot=self._snapshot(),
            generation=child.generation,
            workers=self._workers,
            settings=child.settings,
        )
        status = await self._see_to_its_end(child, tell_to_start)
        self.restarts += not self._stop.is_set()
        return Life(status, ready=child.state is not State.STARTING)

    async def _watch_old(self, child: Child) -> None:
        life = Life(
            await self._see_to_its_end(child, partial(self._kill_overdue, child)), ready=True
        )
        if child.state is State.SERVING:
            _log.error("a worker from before the upgrade died", worker_ended=str(life))
        elif self._stop.is_set():
            self._status = max(self._status, status_of_stop(life))

    async def _see_to_its_end(
        self, child: Child, first: Callable[[], Awaitable[object]] | None = None
    ) -> int:
        """Talk to a worker until it ends, and see that it does; return its exit status."""
        heard_all = trio.Event()

        async def listen() -> None:
            await child.listen_to(self._became_ready, self._ask_others)
            heard_all.set()

        async with trio.open_nursery() as nursery:
            if first is not None:
                nursery.start_soon(first)
            nursery.start_soon(listen)
            nursery.start_soon(self._end, child)
            status = await child.process.wait()
            with trio.move_on_after(LAST_WORDS):
                await heard_all.wait()
            nursery.cancel_scope.cancel()
        # Not where this was cancelled: the program is being replaced, and the worker and its stream
        # belong to the next one.
        self._children.remove(child)
        self._ended(child)
        self._changed.set()
        await child.control.aclose()
        return status

    async def _kill_overdue(self, child: Child) -> None:
        """Kill a worker that should have stopped lingering by itself long ago."""
        while True:
            shutdown = self._in_force.config.shutdown
            grace = shutdown.drain_spread + shutdown.drain_timeout + KILL_AFTER
            if child.linger_until is not None and time.time() > child.linger_until + grace:
                _log.error("the worker does not stop; killing it", worker=child.process.pid)
                child.process.kill()
                return
            await trio.sleep(OVERDUE_LOOK)

    def _became_ready(self, child: Child) -> None:
        if child.state is not State.STARTING:
            return
        child.state = State.SERVING
        self._changed.set()
        _log.info("worker is serving", worker=child.process.pid, listeners=self._bound)
        current = self._current()
        is_complete = len(current) == self._workers and all(
            each.state is not State.STARTING for each in current
        )
        if self._all_serve is not None and is_complete:
            announce, self._all_serve = self._all_serve, None
            announce()

    # -- slots -------------------------------------------------------------------------------------

    async def _keep_covered(self) -> None:
        """Whenever workers come or go, see to it that every slot is accepted on."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._changed.wait()
                self._changed = trio.Event()
                if not self._stop.is_set():
                    await self._cover()
                    await self._let_old_linger()
                    nursery.start_soon(self._catch_up)
                nursery.start_soon(self.spread_settings)

    async def _cover(self) -> None:
        if self._slots.is_shared():
            return
        serving = {c.slot: c for c in self._current() if c.state is State.SERVING}
        held = {slot: child.listening for slot, child in serving.items()}
        # A slot whose old worker still accepts has no need of another one.
        old = {
            c.slot
            for c in self._children
            if c.incarnation != self.incarnation and c.state is State.SERVING
        }
        orphans = set(range(self._slots.count)) - (set() if self.is_settled else old)
        for slot, wanted in cover(orphans | set(serving), serving, held).items():
            child = serving[slot]
            for each in sorted(wanted - child.listening):
                await child.tell("listen", slot=each)
            for each in sorted(child.listening - wanted):
                await child.tell("unlisten", slot=each)
            child.listening = wanted

    async def _let_old_linger(self) -> None:
        if not self.is_settled:
            return
        shutdown = self._in_force.config.shutdown
        limit = shutdown.upgrade_linger
        for child in self._children:
            # One that is starting may accept already, and its ``ready`` be on its way.
            is_in_use = child.state in (State.SERVING, State.STARTING)
            if child.incarnation != self.incarnation and is_in_use:
                child.state = State.LINGERING
                child.linger_until = time.time() + limit
                child.listening = set()
                await child.tell(
                    "linger",
                    timeout=limit,
                    then={"spread": shutdown.drain_spread, "timeout": shutdown.drain_timeout},
                )

    def _current(self) -> list[Child]:
        return [each for each in self._children if each.incarnation == self.incarnation]

    # -- configuration -----------------------------------------------------------------------------

    def _snapshot(self, config: GatewayConfig | None = None) -> object:
        # Workers are who strangers speak to: what they have no use for, nobody can find there.
        admin = {"admin": {"token", "token_file"}}
        return (config or self._in_force.config).model_dump(mode="json", exclude=admin)

    async def reload(self, config: GatewayConfig) -> str | None:
        """Have all workers serve by ``config``, or none; return why none does, or None.

        Workers that linger keep what they have.
        """
        async with self._reloading:
            # Never one that was used before: a worker that is late may still answer an attempt that
            # was given up, and must not be taken to answer this one.
            self.generations += 1
            generation = self.generations
            snapshot = self._snapshot(config)
            serving = [each for each in self._children if each.state is State.SERVING]
            reasons: list[str] = []

            async def prepare(child: Child) -> None:
                reason = await child.prepare(generation, snapshot)
                if reason is not None:
                    reasons.append(reason)

            async with trio.open_nursery() as nursery:
                for child in serving:
                    nursery.start_soon(prepare, child)
            if reasons:
                for child in serving:
                    await child.tell("abandon", generation=generation)
                return reasons[0]
            self._in_force = InForce(config, generation)
            async with trio.open_nursery() as nursery:
                for child in serving:
                    nursery.start_soon(self._commit, child, generation)
        self._changed.set()  # of workers that became ready meanwhile
        return None

    async def _commit(self, child: Child, generation: int) -> None:
        reason = await child.commit(generation)
        if reason is not None:
            # It would serve by another configuration than the others: worse than its sessions' end.
            _log.error(
                "a worker did not take the new configuration; replacing it",
                worker=child.process.pid,
                reason=reason,
            )
            _kill(child)

    async def _catch_up(self) -> None:
        """Bring workers up to date that started before the last reload and were ready after it."""
        async with self._reloading:
            generation = self._in_force.generation
            for child in self._current():
                if child.state is State.SERVING and child.generation != generation:
                    reason = await child.prepare(generation, self._snapshot())
                    if reason is None:
                        await self._commit(child, generation)
                    else:
                        _log.error(
                            "a worker cannot take the new configuration; replacing it",
                            worker=child.process.pid,
                            reason=reason,
                        )
                        _kill(child)

    async def spread_settings(self) -> list[int]:
        """Have every worker take what operators have set; return those that did not in time."""
        return await self._spread.now()

    # -- questions ---------------------------------------------------------------------------------

    async def _ask_others(self, asker: Child, message: Message) -> Message:
        # In tasks of the fleet: cancelled with the asker, one might leave half a message behind.
        assert self._asking is not None
        return await ask_others(asker, message, self._children, self._asking)

    # -- handing over ------------------------------------------------------------------------------

    def frozen(self) -> AbstractAsyncContextManager[str | None]:
        """Let no message to a worker begin, so that none is half sent when the program is replaced.

        Yields why that cannot be, or None. Afterwards everything goes on as before; whoever leaves
        cancels ``run`` before that.
        """
        return frozen(lambda: self.children, self._reloading)

    def in_words(self) -> tuple[Message, ...]:
        """Return what the next program needs to take over every worker that has not ended."""
        return tuple(each.in_words() for each in self._children if not each.process.has_ended)

    def let_go(self) -> None:
        """Leave all workers to the next program; after ``run`` was cancelled."""
        for child in self._children:
            child.let_go()

    # -- the end -----------------------------------------------------------------------------------

    async def _end(self, child: Child) -> None:
        """When the fleet stops, have a worker stop; kill it if it does not."""
        await self._stop.wait()
        child.state = child.state if child.state is State.STARTING else State.STOPPING
        # The worker closes its own as soon as it hears of it. New clients are then refused instead
        # of waiting in a backlog that nobody will take them from.
        self._slots.close()
        is_in_time = True
        while is_in_time:
            ending, another = self._ending, self._another_ending
            limit = math.inf if ending.timeout is None else ending.timeout + KILL_AFTER
            with trio.move_on_after(limit) as scope:
                await child.tell("stop", spread=ending.spread, timeout=ending.timeout)
                await another.wait()
            is_in_time = not scope.cancelled_caught
        _log.error("the worker does not stop; killing it", worker=child.process.pid)
        child.process.kill()


def _kill(child: Child) -> None:
    child.state = State.STOPPING  # nothing is asked of it any more
    child.process.kill()
