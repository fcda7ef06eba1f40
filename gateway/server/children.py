"""The supervisor's side of one worker: its process, its control stream, what it was asked.

Owns: the messages to a worker and the wait for its answers.

    start -> ready, listen, unlisten which sockets it accepts on
    prepare -> prepared              a new configuration, both or neither:
    commit -> reloaded               what every worker prepared is put into force,
    abandon                          what one of them could not prepare is dropped
    linger                           accept no more; sessions stay until they end, or ``timeout``;
                                     ``then`` is how it stops
    stop                             accept no more; end sessions over ``spread``, cut at
                                     ``timeout`` (null: never), exit with 0
    ask -> answer                    in both directions; a worker's question is for the others

Must not know: which workers there are, why one is told something.
"""

from __future__ import annotations

import base64
import itertools
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

import trio

from gateway.observability.logs import get_logger
from gateway.server.control import ControlBroken, ControlStream, Message
from gateway.server.processes import Process, python
from gateway.server.slots import Slots

_log = get_logger("system")

# A worker reads certificates and builds tables for a new configuration. One that takes longer than
# this does not answer at all.
RELOAD_ANSWER: Final = 30.0
# Messages are read as they come. A worker that leaves one lying for so long reads nothing at all.
TAKE: Final = 30.0
# Questions are answered from memory, ...
ANSWER: Final = 2.0
# ... but for one, which may take a challenge of an agent's.
_SLOW_ANSWERS: Final = {"claim": 7.0}
# Questions of one worker that are being answered at a time; it waits to be read beyond that.
MOST_QUESTIONS: Final = 256


class Starter(Protocol):
    """How a process is started, as ``processes.start`` does."""

    def __call__(self, command: Sequence[str], *, pass_fds: Sequence[int]) -> Process:
        """Start ``command``. Raises OSError."""


class State(Enum):
    """What a worker does."""

    STARTING = "starting"
    SERVING = "serving"
    LINGERING = "lingering"  # from before an upgrade; it accepts nothing
    STOPPING = "stopping"


@dataclass(eq=False, slots=True)
class Child:
    """A worker. ``incarnation``: which supervisor program started it, the first being 1."""

    slot: int
    incarnation: int
    process: Process
    wire: trio.socket.SocketType  # the socket below ``control``
    control: ControlStream
    generation: int = 0  # of the configuration that it serves by
    state: State = State.STARTING
    started: float = 0.0  # Unix time
    listening: set[int] = field(default_factory=set)  # slots
    linger_until: float | None = None  # Unix time
    settings: Message = field(default_factory=dict)  # what operators have set, as far as it has it
    is_silent: bool = False  # it owes an answer, and has said nothing since
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _expected: dict[tuple[str, int], _Reply] = field(default_factory=dict)

    async def tell(self, kind: str, **more: object) -> bool:
        """Send a message; False if it is dying. One that does not take it in time is killed."""
        with trio.move_on_after(TAKE) as scope:
            try:
                await self.control.send({"type": kind, **more})
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        if not scope.cancelled_caught:
            return True
        # Half a message is on its way: nothing that follows could be understood.
        _log.error("a worker takes no messages; killing it", worker=self.process.pid)
        self.process.kill()
        return False

    def in_words(self) -> Message:
        """Return what ``take_over`` needs, where the control stream is frozen."""
        return {
            "slot": self.slot,
            "incarnation": self.incarnation,
            "pid": self.process.pid,
            "control": self.wire.fileno(),
            "received": base64.b64encode(self.control.unused).decode(),
            "generation": self.generation,
            "state": self.state.value,
            "started": self.started,
            "linger_until": self.linger_until,
        }

    def let_go(self) -> None:
        """Leave the worker, and the descriptor of its control stream, to ``take_over``."""
        self.process.let_go()
        self.wire.detach()

    async def prepare(self, generation: int, snapshot: object) -> str | None:
        """Have it build a new configuration; return why it cannot, or None if it could.

        One that dies meanwhile is no obstacle: its successor starts with what is in force then.
        """
        reply = await self._call(
            "prepare", "prepared", generation, RELOAD_ANSWER, snapshot=snapshot
        )
        return _reason(reply, self.process.pid)

    async def commit(self, generation: int) -> str | None:
        """Have it serve by what it prepared; return why it cannot, or None if it does."""
        reason = _reason(
            await self._call("commit", "reloaded", generation, RELOAD_ANSWER), self.process.pid
        )
        if reason is None:
            self.generation = generation
        return reason

    async def ask(self, question: str, **more: object) -> Message | None:
        """Ask it; None if it does not answer in time, or is dying."""
        number = next(self._numbers)
        limit = _SLOW_ANSWERS.get(question, ANSWER)
        reply = await self._call(
            "ask", "answer", number, limit, key="id", question=question, **more
        )
        if limit == ANSWER and reply.message is None and not reply.is_gone:
            self.is_silent = True
        return reply.message

    async def listen_to(
        self,
        became_ready: Callable[[Child], None],
        asked: Callable[[Child, Message], Awaitable[Message]],
    ) -> None:
        """Take its messages until it is gone."""
        places = trio.CapacityLimiter(MOST_QUESTIONS)
        try:
            async with trio.open_nursery() as answering:
                while (message := await self._receive()) is not None:
                    kind = message.get("type")
                    if kind == "ready":
                        became_ready(self)
                    elif kind == "ask":
                        borrower = object()
                        await places.acquire_on_behalf_of(borrower)
                        answering.start_soon(self._answer, message, asked, places, borrower)
                    else:
                        self._heard(str(kind), message)
        finally:
            for reply in self._expected.values():
                reply.gone()

    async def _receive(self) -> Message | None:
        try:
            return await self.control.receive()
        except ControlBroken as error:
            _log.error(
                "the worker cannot be understood; killing it",
                worker=self.process.pid,
                reason=str(error),
            )
            self.process.kill()
            return None

    async def _answer(
        self,
        message: Message,
        asked: Callable[[Child, Message], Awaitable[Message]],
        places: trio.CapacityLimiter,
        borrower: object,
    ) -> None:
        try:
            answer = await asked(self, message)
            await self.tell("answer", **{**answer, "id": message.get("id")})
        finally:
            places.release_on_behalf_of(borrower)

    async def _call(
        self,
        kind: str,
        expected: str,
        number: int,
        limit: float,
        key: str = "generation",
        **more: object,
    ) -> _Reply:
        """Send a message and wait for the answer that has the same number."""
        reply = _Reply()
        self._expected[expected, number] = reply
        sending = True
        try:
            with trio.move_on_after(limit) as scope:
                is_sent = await self.tell(kind, **{key: number}, **more)
                sending = False
                if is_sent:
                    await reply.done.wait()
                else:
                    reply.gone()
            if sending and scope.cancelled_caught:
                # Half a message is on its way: nothing that follows could be understood.
                _log.error("a worker takes no messages; killing it", worker=self.process.pid)
                self.process.kill()
        finally:
            del self._expected[expected, number]
        return reply

    def _heard(self, kind: str, message: Message) -> None:
        self.is_silent = False
        number = message.get("id" if kind == "answer" else "generation")
        kinds = ("prepared", "reloaded") if kind == "reload_failed" else (kind,)
        for each in kinds:
            reply = self._expected.get((each, number)) if isinstance(number, int) else None
            if reply is not None:
                reply.message = message
                reply.done.set()


def launch(
    slot: int, slots: Slots, incarnation: int, *, start: Starter
) -> tuple[Child, dict[str, Any]]:
    """Start the worker of ``slot``; return it and what its ``start`` has to say of sockets.

    It inherits those of all slots: ``others`` are ``{slot: {index of a listener: descriptor}}``, in
    text, since JSON knows no other keys. Raises OSError. Inside of trio only.
    """
    fds = slots.descriptors(slot)
    others = {i: slots.own_descriptors(i) for i in range(slots.count) if i != slot}
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            control = theirs.fileno()
            passed = {control, *fds, *(fd for each in others.values() for fd in each.values())}
            command = python("gateway.server.worker_process", str(control))
            process = start(command, pass_fds=tuple(passed))
    except BaseException:
        ours.close()
        raise
    wire = trio.socket.from_stdlib_socket(ours)
    control_stream = ControlStream(trio.SocketStream(wire))
    child = Child(
        slot, incarnation, process, wire, control_stream, started=time.time(), listening={slot}
    )
    return child, {
        "kind": "start",
        "listeners": fds,
        "slot": slot,
        "others": {
            str(i): {str(k): fd for k, fd in each.items()} for i, each in others.items() if each
        },
    }


def take_over(words: Message) -> Child | None:
    """Take over a worker of the program that ran in this process before. Inside of trio only.

    None for one that is no child of ours any more.
    """
    wire = trio.socket.from_stdlib_socket(socket.socket(fileno=words["control"]))
    try:
        process = Process(words["pid"])
    except OSError as error:
        _log.error("a worker cannot be taken over", worker=words["pid"], reason=str(error))
        wire.close()
        return None
    received = base64.b64decode(words["received"])
    return Child(
        words["slot"],
        words["incarnation"],
        process,
        wire,
        ControlStream(trio.SocketStream(wire), received=received),
        words["generation"],
        State(words["state"]),
        words["started"],
        linger_until=words["linger_until"],
    )


@dataclass(slots=True)
class _Reply:
    """An answer that is waited for. Without ``message`` the worker is gone, or was too slow."""

    message: Message | None = None
    is_gone: bool = False
    done: trio.Event = field(default_factory=trio.Event)

    def gone(self) -> None:
        """Say that no answer will come."""
        self.is_gone = self.message is None
        self.done.set()


def _reason(reply: _Reply, pid: int) -> str | None:
    if reply.is_gone:
        return None
    if reply.message is None:
        return f"worker {pid} did not answer within {RELOAD_ANSWER:g} s"
    if reply.message.get("type") == "reload_failed":
        return str(reply.message.get("reason"))
    return None
