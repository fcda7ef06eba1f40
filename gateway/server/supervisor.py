"""The supervisor: keeps workers running, owns the signals and the control socket, and leaves to a
newer program.

Owns: everything that is done to a gateway that runs: reload, drain, status, upgrade, each by signal
and by control socket. What it begins with, and the next program, are ``program``'s. Workers get
listening sockets by inheritance and the resolved configuration through their control streams, so
that they need no file and no privilege. The sockets stay open here while there is no worker:
clients wait in the backlog, nobody is refused.

Must not know: HTTP, sessions, controllers.

An upgrade, in order: the new program is run once to see whether it starts and takes what is left to
it (``--probe``); messages to workers are finished; ``trio.run`` ends; ``os.execv``. Process id,
children and descriptors stay. The new program starts workers beside the old ones; once all of them
serve, the old ones linger. Signals are held back in between by the mask, which survives the exec.
It is the main thread's alone: every other thread here (the one that writes the log, the one that
``aside`` keeps) holds back all signals from its beginning, or it would receive them instead.

Signals, as nginx has them: HUP reloads, USR2 upgrades, QUIT ends in order without a limit. TERM and
INT end in order, too (nginx's cut at once, which no agent would thank us for), also after QUIT; a
second one, at least a second later, cuts short. The command ``drain`` is no signal in that: TERM
follows it as a matter of course where it is a container's preStop hook. USR1 opens log files again,
for logrotate. The HUP of a terminal that went away stops.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

import trio

from gateway import __version__
from gateway.config.models import GatewayConfig
from gateway.observability import logs
from gateway.observability.logs import get_logger
from gateway.server import control_socket, handover, service_manager
from gateway.server.admin.binding import AdminSocket
from gateway.server.admin.composition import admin_routes
from gateway.server.admin.listener import AdminListener, AdminTerms
from gateway.server.aside import Aside
from gateway.server.block_list import BlockList
from gateway.server.children import Child, take_over
from gateway.server.control import Message
from gateway.server.control_socket import Answer
from gateway.server.fleet import Fleet, InForce
from gateway.server.handover import Handover
from gateway.server.heartbeat import ask_for_time, ping_watchdog, watchdog_interval
from gateway.server.log_level import LogLevel
from gateway.server.log_orders import reopen_logs
from gateway.server.metrics import Facts, GatewayMetrics
from gateway.server.operations import Operations
from gateway.server.operations_by_name import BY, answer_operation
from gateway.server.reloader import Reload, Reloader, Source
from gateway.server.service_manager import notify
from gateway.server.slots import Slots
from gateway.server.status import describe
from gateway.server.stopping import Stopping
from gateway.server.upgrade import refusal_of_successor
from gateway.server.watch import watch
from gateway.server.worker_count import worker_count

_log = get_logger("system")
_audit = get_logger("audit")

# Each of them has its workers; their memory is what sessions through several upgrades cost.
MOST_INCARNATIONS: Final = 16
# What new workers may take after an upgrade until somebody is told that they do not serve.
SETTLE_WITHIN: Final = 60.0

_STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_HEEDED: Final = (*_STOP, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_CONTROL_SOCKET: Final = "control socket"

Admin = tuple[AdminTerms | None, AdminSocket | None]


def _take_over(heritage: Handover | None) -> list[Child]:
    taken = map(take_over, () if heritage is None else heritage.children)
    return [child for child in taken if child is not None]


class Supervisor:
    """One gateway, as long as one program runs it."""

    def __init__(
        self,
        source: Source,
        config: GatewayConfig,
        files: set[Path],
        slots: Slots,
        lock: int,
        control: socket.socket,
        *,
        admin: Admin = (None, None),
        announce: Callable[[], None] | None = None,
        heritage: Handover | None = None,
        last: Reload | None = None,
        aside: Aside | None = None,
    ) -> None:
        self._source = source
        self._aside = aside or Aside()
        self._slots = slots
        self._lock = lock
        self._control = control
        self._announce = announce
        self._heritage = heritage
        self._incarnation = 1 if heritage is None else heritage.incarnation + 1
        self._started = time.time() if heritage is None else heritage.started
        self._first = InForce(config, 1 if heritage is None else heritage.generation + 1)
        self._fleet: Fleet
        self._tasks: trio.Nursery
        self._reloader = Reloader(
            source,
            running=lambda: self._fleet.in_force.config,
            generation=lambda: self._fleet.in_force.generation,
            apply=self._apply,
            files=files,
            last=last,
            aside=self._aside,
        )
        self._stopping = Stopping(lambda: self._fleet)
        self._metrics = GatewayMetrics(
            lambda: self._fleet,
            lambda: Facts(self._started, self._stopping.is_asked),
            last_reload=last,
            heritage=None if heritage is None else heritage.metrics,
        )
        self._level = LogLevel()
        self._blocks = BlockList(config.state_dir, self._aside)
        self._operations = Operations(
            lambda: self._fleet,
            self._reloader,
            self._stopping,
            self._status,
            blocks=self._blocks,
            level=self._level,
            aside=self._aside,
        )
        terms, sock = admin
        self._admin = AdminListener(
            sock, terms, admin_routes(self._operations, metrics=self.metrics)
        )
        self._upgrading = False
        self._missed_reload = False
        self._is_overdue = False
        self._leave = trio.Event()
        self._is_leaving = False

    async def run(self) -> int | None:
        """Run until stopped; return the exit status, or None to be replaced (``leave``)."""
        heritage = self._heritage
        old = _take_over(heritage)
        self._metrics.adopt(old)
        self._fleet = Fleet(
            self._slots,
            worker_count(self._first.config),
            self._first,
            incarnation=self._incarnation,
            old=old,
            all_serve=self._all_serve,
            ended=self._metrics.worker_ended,
            restarts=0 if heritage is None else heritage.restarts,
            settings=self._settings,
        )
        control = trio.socket.from_stdlib_socket(self._control)
        status: int | None = None
        with trio.open_signal_receiver(*_HEEDED) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEEDED)
            async with trio.open_nursery() as self._tasks:
                nursery = self._tasks
                nursery.start_soon(self._heed, signals)
                nursery.start_soon(control_socket.serve, control, self._answer)
                nursery.start_soon(self._admin.run)
                nursery.start_soon(self._level.run)
                nursery.start_soon(self._reload_as_wished)
                nursery.start_soon(self._stopping.run)
                nursery.start_soon(
                    watch, lambda: self._reloader.files, self._files_changed, self._aside
                )
                nursery.start_soon(self._leave_when_told, nursery.cancel_scope)
                nursery.start_soon(self._ask_for_time)
                interval = watchdog_interval()
                if interval is not None:
                    nursery.start_soon(ping_watchdog, self._fleet, interval)
                nursery.start_soon(self._metrics.run)
                if heritage is not None:
                    nursery.start_soon(self._see_it_settle)
                status = await self._fleet.run()
                nursery.cancel_scope.cancel()
        return None if self._is_leaving else status

    def close(self) -> None:
        """Leave nothing behind, after an end."""
        control_socket.remove(self._first.config.state_dir)
        if self._admin.socket is not None:
            self._admin.socket.close()
        self._control.close()
        self._slots.close()
        os.close(self._lock)

    # -- configuration -----------------------------------------------------------------------------

    async def _apply(self, config: GatewayConfig) -> str | None:
        if self._stopping.is_asked:
            return "the gateway is stopping"
        if self._upgrading:
            self._missed_reload = True
            return "an upgrade is under way, which loads it, too"
        await self._aside.run(partial(logs.check, config.log))
        terms = await self._aside.run(partial(AdminTerms.read, config.admin))
        reason = await self._fleet.reload(config)
        if reason is None:
            logs.apply_or_complain(config.log)
            self._admin.follow(terms)
        return reason

    async def _reload_as_wished(self) -> None:
        await self._reloader.run(
            begun=lambda: notify(*service_manager.reloading()), ended=self._reload_ended
        )

    def _reload_ended(self) -> None:
        if self._reloader.last is not None:
            self._metrics.reloaded(self._reloader.last)
        self._say_ready()

    async def _files_changed(self) -> None:
        self._reloader.wish("files changed")

    def _say_ready(self) -> None:
        if (self._fleet.is_settled or self._is_overdue) and not self._stopping.is_asked:
            status = f"STATUS=serving, configuration {self._fleet.in_force.generation}"
            last = self._reloader.last
            notify("READY=1", status if last is None or last.ok else f"{status}; reload failed")

    async def _ask_for_time(self) -> None:
        await self._stopping.wait()
        await ask_for_time(self._fleet)

    def _all_serve(self) -> None:
        # Within the fleet's own call: it counts as settled already.
        self._say_ready()
        if self._incarnation > 1:
            _log.info("upgraded", incarnation=self._incarnation, version=__version__)
        elif self._announce is not None:
            self._announce()

    async def _see_it_settle(self) -> None:
        await trio.sleep(SETTLE_WITHIN)
        if not self._fleet.is_settled and not self._stopping.is_asked:
            self._is_overdue = True
            _log.error(
                "the new workers do not serve; the old ones go on", incarnation=self._incarnation
            )
            self._say_ready()  # or a service manager would wait for it

    # -- signals -----------------------------------------------------------------------------------

    async def _heed(self, signals: AsyncIterator[int]) -> None:
        terminals = [fd for fd in range(3) if os.isatty(fd)]
        async for number in signals:
            name = signal.Signals(number).name
            if number == signal.SIGHUP and all(map(os.isatty, terminals)):
                self._reloader.wish(name)
            elif number == signal.SIGUSR2:
                self._tasks.start_soon(self._upgrade_by_signal)
            elif number == signal.SIGUSR1:
                self._tasks.start_soon(reopen_logs, self._fleet)
            elif number == signal.SIGHUP:
                self._stopping.signal("SIGHUP, the terminal is gone")
            else:
                self._stopping.signal(name, limited=number != signal.SIGQUIT)

    # -- the next program --------------------------------------------------------------------------

    async def _upgrade_by_signal(self) -> None:
        if await self._prepare_upgrade("SIGUSR2") is None:
            self._leave.set()

    async def _prepare_upgrade(self, trigger: str) -> str | None:
        """See whether the program that is installed now can take over; return why not, or None."""
        refusal = self._refuse_upgrade()
        if refusal is None:
            self._upgrading = True
            try:
                refusal = await refusal_of_successor(self._source, self._left())
            except Exception as error:  # a bug there must not cost the sessions there are
                _log.error("internal error", exc_info=error)
                refusal = f"internal error ({type(error).__name__})"
            if refusal is None and self._stopping.is_asked:
                refusal = "the gateway is stopping"
            if refusal is not None:
                self._go_on()
        if refusal is not None:
            _log.error("not upgraded; this program goes on", trigger=trigger, reason=refusal)
        return refusal

    def _go_on(self) -> None:
        self._upgrading = False
        if self._missed_reload and not self._stopping.is_asked:
            self._missed_reload = False
            self._reloader.wish("not upgraded")

    def _refuse_upgrade(self) -> str | None:
        if self._stopping.is_asked:
            return "the gateway is stopping"
        if self._upgrading:
            return "another upgrade is under way"
        if len({child.incarnation for child in self._fleet.children}) >= MOST_INCARNATIONS:
            return (
                f"workers of {MOST_INCARNATIONS} upgrades still keep sessions; wait until some have"
                " ended (shutdown.upgrade_linger), or restart"
            )
        return None

    async def _leave_when_told(self, everything: trio.CancelScope) -> None:
        while not self._is_leaving:
            await self._leave.wait()
            self._leave = trio.Event()
            async with self._fleet.frozen() as refusal:
                if refusal is None and self._stopping.is_asked:
                    refusal = "the gateway is stopping"
                if refusal is None:
                    _log.info("replacing the program", incarnation=self._incarnation + 1)
                    notify(*service_manager.reloading())
                    # Those that come from here on are the next program's.
                    signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
                    self._is_leaving = True
                    everything.cancel()
            if refusal is not None:
                _log.error("not upgraded; this program goes on", reason=refusal)
                self._go_on()

    def leave(self) -> Handover:
        """Leave everything to the next program. Call it once ``run`` has returned None."""
        left = self._left()
        self._fleet.let_go()
        for listener in self._slots.listeners:
            listener.let_go()
        self._control.detach()
        if self._admin.socket is not None:
            self._admin.socket.let_go()
        return left

    def _left(self) -> Handover:
        in_force = self._fleet.in_force
        return Handover(
            incarnation=self._incarnation,
            generation=self._fleet.generations,
            started=self._started,
            lock=self._lock,
            control_socket=self._control.fileno(),
            listeners=handover.in_words(self._slots.listeners),
            children=self._fleet.in_words(),
            config=in_force.config.model_dump(mode="json"),
            restarts=self._fleet.restarts,
            metrics=self._metrics.in_words(),
            admin=None if self._admin.socket is None else self._admin.socket.in_words(),
        )

    def _settings(self) -> Message:
        """Return what operators have set besides the configuration."""
        return {"blocks": self._blocks.in_words(), "log_level": self._level.level}

    async def metrics(self, accept: str | None = None) -> tuple[str, bytes]:
        """Return content type and text for whoever scrapes, with this ``Accept`` header."""
        return await self._metrics.scrape(accept)

    async def _status(self) -> Message:
        return await describe(
            self._fleet,
            configuration=" ".join(self._source.arguments),
            last_reload=self._reloader.last,
            started=self._started,
            draining=self._stopping.is_asked,
            admin=None if self._admin.socket is None else self._admin.socket.address,
        )

    # -- the control socket ------------------------------------------------------------------------

    async def _answer(self, question: Message) -> Answer:
        wish = question.get("do")
        if wish == "status":
            return {"ok": True, "status": await self._status()}, None
        if wish == "metrics":
            _, text = await self.metrics()
            return {"ok": True, "text": text.decode()}, None
        if wish == "reload":
            result = await self._operations.try_reload(_CONTROL_SOCKET, BY)
            return {"ok": result.ok, "generation": result.generation, "reason": result.reason}, None
        if wish == "drain":
            return await self._answer_drain()
        if wish == "upgrade":
            refusal = await self._prepare_upgrade(_CONTROL_SOCKET)
            _audit.info("upgrade", operator=BY, details={"ok": refusal is None})
            answer: Message = {"ok": refusal is None, "reason": refusal}
            answer["incarnation"] = self._incarnation + 1
            return answer, self._leave.set if refusal is None else None
        return await answer_operation(self._operations, str(wish), question), None

    async def _answer_drain(self) -> Answer:
        self._operations.begin_drain(_CONTROL_SOCKET, BY)
        shutdown = self._fleet.in_force.config.shutdown
        within = shutdown.pre_stop + shutdown.drain_timeout
        return {"ok": True, "within_s": within, "status": await self._status()}, None
