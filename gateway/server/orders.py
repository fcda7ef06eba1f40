"""What the supervisor says to a worker, and what the worker answers.

Owns: the messages on the control stream, as the worker reads and writes them, and what the end of
that stream means.

Must not know: how any of it is done.

``prepare`` (a snapshot) is answered by ``prepared`` or ``reload_failed``, ``commit`` by
``reloaded``; ``ask`` by ``answer`` with the same ``id``, in both directions: what a worker asks is
for the others. ``abandon``, ``listen``, ``unlisten``, ``stop`` and ``linger`` are not answered, nor
is a ``prepare`` that is abandoned, or followed by another one, before it is done. Messages of types
that are not known are ignored: the
supervisor may be newer.
"""

from __future__ import annotations

import itertools
import math
from contextlib import suppress
from typing import Any, Final, Protocol

import trio

from gateway.errors import ConfigError
from gateway.observability.logs import get_logger
from gateway.server.control import ControlBroken, ControlStream, Message
from gateway.server.ending import STOP_TIMEOUT, Linger, Stop

_log = get_logger("system")

# Questions of this worker that wait for an answer at a time.
MOST_QUESTIONS: Final = 256
# What a linger that has reached its end does if it does not say: as ``shutdown`` by default.
_LAST: Final[Message] = {"spread": 10.0, "timeout": 300.0}


class Ordered(Protocol):
    """Who does what the supervisor wants."""

    async def prepare(self, number: int, snapshot: object) -> None:
        """Build generation ``number`` from ``snapshot``. Raises ConfigError."""

    def commit(self, number: int) -> bool:
        """Put a prepared generation in force; False if there is none of that number."""

    def abandon(self, number: int) -> None:
        """Forget a prepared generation."""

    def listen(self, slot: int) -> None:
        """Accept on another worker's slot, too."""

    def unlisten(self, slot: int) -> None:
        """Leave a slot to its own worker again."""

    def end(self, order: Stop | Linger) -> None:
        """Stop, or linger."""

    def status(self) -> dict[str, Any]:
        """Return what ``status`` shows of this worker."""

    def session_of(self, controller: str, node: str) -> dict[str, Any] | None:
        """Return what is known about the session of a node, or None."""

    async def judge(self, claim: dict[str, Any]) -> dict[str, Any] | None:
        """Settle another worker's claim to a session of this one; None if there is none.

        Raises KeyError, TypeError, ValueError for one that cannot be understood.
        """

    def sessions(self) -> list[dict[str, Any]]:
        """Return what is known about every agent's session."""

    def timeline(self, node: str) -> list[dict[str, Any]]:
        """Return what happened to a node lately."""

    def answer(self, question: str, message: dict[str, Any]) -> dict[str, Any] | None:
        """Answer an operator's question; None for one that is not known."""


class Orders:
    """Reads orders and has them done."""

    def __init__(self, control: ControlStream, worker: Ordered) -> None:
        self._control = control
        self._worker = worker
        self._preparing: tuple[int, trio.CancelScope] | None = None
        self._tasks: trio.Nursery | None = None
        self._numbers = itertools.count()
        self._asked: dict[int, _Reply] = {}

    async def ask_others(self, question: str, *, within: float, **more: object) -> Message | None:
        """Return what the first of the other workers answers that has something to say.

        None if none has, in ``within`` seconds; and where too many questions are open already.
        """
        if self._tasks is None or len(self._asked) >= MOST_QUESTIONS:
            return None
        number = next(self._numbers)
        reply = self._asked[number] = _Reply()
        message = {**more, "type": "ask", "id": number, "question": question}
        try:
            # Not sent by the asker: cancelled in the middle, it would leave half a message behind.
            self._tasks.start_soon(self._send, message)
            with trio.move_on_after(within):
                await reply.done.wait()
        finally:
            del self._asked[number]
        return reply.message

    async def run(self) -> None:
        """Say ``ready``, then do what is ordered until the stream ends, which is the word to stop.

        Returns then; what it ordered goes on.
        """
        async with trio.open_nursery() as self._tasks:
            tasks = self._tasks
            try:
                await self._control.send({"type": "ready"})
                while (message := await self._control.receive()) is not None:
                    await self._obey(message, tasks)
                _log.error("the supervisor is gone; stopping")
            except trio.BrokenResourceError:
                _log.error("the supervisor is gone; stopping")
            except ControlBroken as error:
                _log.error("the supervisor cannot be understood; stopping", reason=str(error))
            tasks.cancel_scope.cancel()
        self._tasks = None
        self._worker.end(Stop())

    async def _obey(self, message: Message, tasks: trio.Nursery) -> None:
        kind = message.get("type")
        if kind == "prepare":
            # A file system that hangs must not keep the word to stop from being heard.
            number, snapshot = _field(message, "generation"), _field(message, "snapshot")
            self._give_up()
            self._preparing = (number, trio.CancelScope())
            tasks.start_soon(self._prepare, *self._preparing, snapshot)
        elif kind == "commit":
            await self._commit(_field(message, "generation"))
        elif kind == "abandon":
            number = _field(message, "generation")
            if self._preparing is not None and self._preparing[0] == number:
                self._give_up()
            self._worker.abandon(number)
        elif kind == "listen":
            self._worker.listen(_field(message, "slot"))
        elif kind == "unlisten":
            self._worker.unlisten(_field(message, "slot"))
        elif kind == "stop":
            self._worker.end(_stop(message))
        elif kind == "linger":
            then = _LAST | message.get("then", {})
            self._worker.end(Linger(_seconds(_field(message, "timeout")), _stop(then)))
        elif kind == "ask" and message.get("question") == "claim":
            # It may take as long as a challenge.
            tasks.start_soon(self._judge, _field(message, "id"), _field(message, "claim"))
        elif kind == "ask":
            await self._answer(message)
        elif kind == "answer":
            reply = self._asked.get(_field(message, "id"))
            if reply is not None:
                reply.message = message
                reply.done.set()

    def _give_up(self) -> None:
        """Prepare no further; nobody waits for it any more."""
        if self._preparing is not None:
            self._preparing[1].cancel()
            self._preparing = None

    async def _prepare(self, number: int, scope: trio.CancelScope, snapshot: object) -> None:
        answer: Message | None = None
        with scope:
            answer = await self._answer_to_prepare(number, snapshot)
        if answer is None or scope.cancel_called:
            self._worker.abandon(number)
            return
        with suppress(trio.BrokenResourceError):  # whoever receives finds out, too
            await self._control.send(answer)

    async def _answer_to_prepare(self, number: int, snapshot: object) -> Message:
        try:
            await self._worker.prepare(number, snapshot)
        except ConfigError as error:
            return _failure(number, str(error))
        except Exception as error:  # a bug in building must not cost the sessions there are
            _log.error("internal error", exc_info=error)
            return _failure(number, f"internal error ({type(error).__name__})")
        return {"type": "prepared", "generation": number}

    async def _commit(self, number: int) -> None:
        if self._worker.commit(number):
            await self._control.send({"type": "reloaded", "generation": number})
        else:
            await self._control.send(_failure(number, "no such generation was prepared"))

    async def _answer(self, message: Message) -> None:
        answer: Message = {"type": "answer", "id": _field(message, "id")}
        question = message.get("question")
        if question == "status":
            answer["status"] = self._worker.status()
        elif question == "node":
            answer["session"] = self._worker.session_of(
                _field(message, "controller"), _field(message, "node")
            )
        elif question == "sessions":
            answer["sessions"] = self._worker.sessions()
        elif question == "timeline":
            answer["events"] = self._worker.timeline(str(_field(message, "node")))
        else:
            found = self._worker.answer(str(question), message)
            answer.update({"error": "unknown question"} if found is None else found)
        await self._control.send(answer)

    async def _judge(self, number: int, claim: Any) -> None:
        answer: Message = {"type": "answer", "id": number}
        try:
            answer["session"] = await self._worker.judge(claim)
        except (KeyError, TypeError, ValueError) as error:  # of a worker of another version
            answer["error"] = f"the claim is not understood ({type(error).__name__})"
        await self._send(answer)

    async def _send(self, message: Message) -> None:
        with suppress(trio.BrokenResourceError):  # whoever receives finds out, too
            await self._control.send(message)


class _Reply:
    """An answer that is waited for."""

    __slots__ = ("done", "message")

    def __init__(self) -> None:
        self.message: Message | None = None
        self.done = trio.Event()


def _failure(number: int, reason: str) -> Message:
    return {"type": "reload_failed", "generation": number, "reason": reason}


def _stop(message: Message) -> Stop:
    """Read a stop. ``timeout`` null: without limit."""
    timeout = message.get("timeout", STOP_TIMEOUT)
    limit = math.inf if timeout is None else _seconds(timeout)
    return Stop(_seconds(message.get("spread", 0.0)), limit)


def _field(message: Message, name: str) -> Any:
    try:
        return message[name]
    except KeyError:
        raise ControlBroken(f"a {message['type']} without {name}") from None


def _seconds(value: object) -> float:
    if not isinstance(value, int | float):
        raise ControlBroken(f"{type(value).__name__} in the place of seconds")
    return float(value)
