"""A worker: one event loop that serves connections. The composition root of the program.

Owns: the nesting of nurseries (listeners inside connections inside service) and with it the order
of stopping; swapping generations. Which object gets which: ``generation``.

Must not know: signals, processes, files (``supervisor``, ``worker_process``), messages
(``orders``). Tests and the demo call ``serve`` directly.

Stopping: the listeners are closed as soon as nobody waits there, so that clients go elsewhere; the
rest is ``ending``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

import trio

from gateway.agents.takeover import OTHERS_ANSWER, Claim, Holder
from gateway.config.models import ControllerConfig, GatewayConfig
from gateway.config.reloadable import changes_that_need_a_restart
from gateway.errors import ConfigError, LimitExceeded
from gateway.http.connection import serve_connection
from gateway.http.serving import Serving
from gateway.http.upkeep import Upkeep
from gateway.observability.logs import get_logger
from gateway.protocol.http_head import ResponseHead
from gateway.runtime.config_holder import ConfigHolder
from gateway.runtime.floods import FloodLog
from gateway.runtime.memory import give_back_after_crowds
from gateway.server.accepting import Accepting
from gateway.server.answers import Answers
from gateway.server.control import ControlStream
from gateway.server.ending import Ending, Linger, Stop
from gateway.server.generation import Generation, Lasting
from gateway.server.orders import Orders
from gateway.server.snapshot import read_snapshot
from gateway.transport.listeners import BoundListener, Terms, accept_forever
from gateway.transport.stream import Stream

_log = get_logger("system")

# Sessions that are shown of one worker: some 400 bytes each, in one message.
MOST_SHOWN: Final = 10_000


async def serve(
    listeners: Sequence[BoundListener],
    snapshot: GatewayConfig,
    control: ControlStream | None = None,
    *,
    others: Mapping[int, Mapping[int, BoundListener]] | None = None,
    workers: int = 1,
    generation: int = 0,
    settings: Mapping[str, Any] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``listeners`` by the configuration ``snapshot`` until ``control`` says stop, or ends.

    Without ``control``, until cancelled. Owns the listening sockets. Once every listener can
    accept, ``control`` is told ``ready`` and ``task_status`` is started. ``others`` are other
    workers' sockets, by slot and listener, for when these have died. ``workers`` share the limits;
    ``generation`` is the supervisor's number for ``snapshot``; ``settings`` are what operators have
    set besides it. Raises ConfigError, before
    that, when a certificate cannot be used.
    """
    try:
        worker = _Worker(snapshot, workers=workers, generation=generation)
        worker.answers.take_settings(settings or {})
        async with trio.open_nursery() as service:
            service.start_soon(worker.keep_up)
            async with trio.open_nursery() as connections:
                accept = partial(worker.accept, connections)
                worker.accepting = Accepting(listeners, others or {}, accept)
                async with trio.open_nursery() as accepting:
                    await accepting.start(worker.accepting.run)
                    task_status.started()
                    if control is not None:
                        service.start_soon(worker.obey(control).run)
                    await worker.ending.begun.wait()
                    # Its time counts from the word on, also while a backlog does not empty.
                    service.start_soon(worker.ending.carry_out, connections.cancel_scope)
                    if worker.ending.is_lingering:
                        worker.accepting.close()
                    else:
                        await worker.accepting.finish()
                    worker.ending.accepted.set()
            if connections.cancel_scope.cancelled_caught:
                _log.warning("connections were cut")
            service.cancel_scope.cancel()
    finally:
        for listener in (
            *listeners,
            *(x for each in (others or {}).values() for x in each.values()),
        ):
            listener.socket.close()


class _Worker:
    """One worker: what lasts, the generation in force, and how it ends."""

    def __init__(self, config: GatewayConfig, *, workers: int, generation: int) -> None:
        self._lasting = Lasting(config, fetch=self._fetch, workers=workers)
        first = Generation(config, self._lasting, number=generation)
        self._holder = ConfigHolder(first, number=generation)
        self.upkeep = Upkeep(self._holder.current.upstreams)
        self.accepting: Accepting
        self._refused = FloodLog(_log, "connection refused")
        self._short = FloodLog(_log, "cannot accept connections")
        lasting = self._lasting
        self.answers = Answers(lasting, lambda: self._holder.current)
        self.ending = Ending(lasting.drain, lasting.registry, lasting.places)

    async def keep_up(self) -> None:
        """Look after connections to controllers, memory, cookies and the log, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.upkeep.run)
            nursery.start_soon(give_back_after_crowds, self._lasting.places)
            nursery.start_soon(self._refused.run)
            nursery.start_soon(self._lasting.credentials.run)
            nursery.start_soon(self._short.run)
            nursery.start_soon(self._lasting.cookies.run)

    async def _fetch(
        self,
        name: str,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]:
        return await self._holder.current.upstreams.fetch(name, controller, path, timeout=timeout)

    # -- connections -------------------------------------------------------------------------------

    async def accept(self, connections: trio.Nursery, i: int, listener: BoundListener) -> None:
        """Accept on a socket of the ``i``-th listener until cancelled; serve in ``connections``."""

        def serving() -> Serving:
            return self._holder.current.serving[i]

        def terms() -> Terms:
            return self._holder.current.terms[i]

        async def handle(stream: Stream, agreed: Terms) -> None:
            await serve_connection(
                stream, current=serving, drain=self._lasting.drain, proved=agreed.demand
            )

        await accept_forever(
            listener,
            handle,
            connections,
            terms=terms,
            handshake_failed=_log_failed_handshake,
            handshaking=self._lasting.drain.idle,
            admit=self._admit,
            introduction_failed=_log_failed_introduction,
            short_of=lambda reason: self._short.tell(reason=reason),
        )

    @contextmanager
    def _admit(self, stream: Stream) -> Iterator[bool]:
        """Hold a place for a connection, or say that there is none."""
        with ExitStack() as held:
            try:
                held.enter_context(self._lasting.places.place(stream.peer.host))
            except LimitExceeded as error:
                self._refused.tell(client=str(stream.peer), reason=str(error))
                yield False
                return
            yield True

    # -- other workers -----------------------------------------------------------------------------

    def obey(self, control: ControlStream) -> Orders:
        """Return what reads orders, and have other workers asked the same way."""
        orders = Orders(control, self)

        async def others(claim: Claim) -> Holder | None:
            answer = await orders.ask_others("claim", within=OTHERS_ANSWER, claim=claim.in_words())
            found = (answer or {}).get("session")
            try:
                return None if found is None else Holder.of_words(found)
            except (KeyError, TypeError, ValueError) as error:  # of a worker of another version
                _log.warning("another worker's answer is not understood", reason=repr(error))
                return None

        self._lasting.takeovers.others = others
        return orders

    async def judge(self, claim: dict[str, Any]) -> dict[str, Any] | None:
        """Settle another worker's claim to a session of this one."""
        holder = await self._lasting.takeovers.judge(Claim.of_words(claim))
        return None if holder is None else holder.in_words()

    def sessions(self) -> list[dict[str, Any]]:
        """Return what is known about agents' sessions, the oldest where there are too many."""
        return [
            {
                "session": entry.id,
                "controller": entry.controller,
                "node": entry.node,
                "client": entry.client,
                "since": entry.since,
                "suspect": entry.session.suspect,
                "takeovers": len(entry.takeovers),
                **entry.session.view().as_fields(),
            }
            for entry in self._lasting.registry.entries()[:MOST_SHOWN]
            if entry.session.is_running
        ]

    def timeline(self, node: str) -> list[dict[str, Any]]:
        """Return what happened to a node lately."""
        return self._lasting.history.timeline(node)

    def answer(self, question: str, message: dict[str, Any]) -> dict[str, Any] | None:
        """Answer an operator's question; None for one that is not known."""
        return self.answers.answer(question, message)

    # -- orders ------------------------------------------------------------------------------------

    async def prepare(self, number: int, snapshot: object) -> None:
        """Build generation ``number`` from ``snapshot``, beside the one in force.

        Raises ConfigError for files that cannot be used, and changes that need a restart.
        """
        current = self._holder.current

        def build() -> Generation:
            config = read_snapshot(snapshot)
            changes = changes_that_need_a_restart(current.config, config)
            if changes:
                raise ConfigError(f"needs a restart: {'; '.join(changes)}")
            return Generation(config, self._lasting, current.upstreams, number=number)

        # In a thread, as reading files and keys may take its time.
        built = await trio.to_thread.run_sync(build, abandon_on_cancel=True)
        if self._holder.current is not current:
            raise ConfigError("another configuration was put in force meanwhile; try again")
        self._holder.prepare(number, built)

    def commit(self, number: int) -> bool:
        """Put generation ``number`` in force for everything that begins from now on."""
        generation = self._holder.commit(number)
        if generation is None:
            return False
        self._lasting.follow(generation.config)
        self.upkeep.change(generation.upstreams)
        _log.info("worker has reloaded", generation=number, sessions=len(self._lasting.registry))
        return True

    def abandon(self, number: int) -> None:
        """Forget generation ``number``."""
        self._holder.abandon(number)

    def listen(self, slot: int) -> None:
        """Accept on another worker's slot, too."""
        self.accepting.listen(slot)

    def unlisten(self, slot: int) -> None:
        """Leave a slot to its own worker again."""
        self.accepting.unlisten(slot)

    def end(self, order: Stop | Linger) -> None:
        """Stop, or linger."""
        self.ending.give(order)

    def status(self) -> dict[str, Any]:
        """Return the numbers of this worker."""
        return {
            "sessions": len(self._lasting.registry),
            "connections": self._lasting.places.held,
            "generation": self._holder.number,
        }

    def session_of(self, controller: str, node: str) -> dict[str, Any] | None:
        """Return what is known about the session of a node, or None."""
        entry = self._lasting.registry.find(controller, node)
        if entry is None:
            return None
        return {
            "session": entry.id,
            "client": entry.client,
            "age_s": round(trio.current_time() - entry.session.started_at, 3),
            "suspect": entry.session.suspect,
        }


def _log_failed_handshake(stream: Stream, reason: str) -> None:
    _log.info("tls handshake failed", client=str(stream.peer), reason=reason)


def _log_failed_introduction(stream: Stream, reason: str) -> None:
    _log.info("proxy protocol failed", client=str(stream.peer), reason=reason)
