"""What the supervisor says to a worker, and what the worker answers.

Owns: the messages on the control stream, as the worker reads and writes them, and what the end of
that stream means.

Must not know: how any of it is done.

``prepare`` (a snapshot) is answered by ``prepared`` or ``reload_failed``, ``commit`` by
``reloaded``; ``ask`` by ``answer`` with the same ``id``. ``abandon``, ``listen``, ``unlisten``,
``stop`` and ``linger`` are not answered. Messages of types that are not known are ignored: the
supervisor may be newer.
"""

from __future__ import annotations

import math
from typing import Any, Final, Protocol

import trio

from gateway.errors import ConfigError
from gateway.observability.logs import get_logger
from gateway.server.control import ControlBroken, ControlStream, Message
from gateway.server.ending import STOP_TIMEOUT, Linger, Stop

_log = get_logger("system")

# What a linger that has reached its end does if it does not say: as ``shutdown`` by default.
_LAST_SPREAD: Final = 10.0  # seconds
_LAST_TIMEOUT: Final = 300.0


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


class Orders:
    """Reads orders and has them done."""

    def __init__(self, control: ControlStream, worker: Ordered) -> None:
        self._control = control
        self._worker = worker

    async def run(self) -> None:
        """Say ``ready``, then do what is ordered until the stream ends, which is the word to stop.

        Returns then; what it ordered goes on.
        """
        try:
            await self._control.send({"type": "ready"})
            async with trio.open_nursery() as preparing:
                while (message := await self._control.receive()) is not None:
                    await self._obey(message, preparing)
                preparing.cancel_scope.cancel()
            _log.error("the supervisor is gone; stopping")
        except* trio.BrokenResourceError:
            _log.error("the supervisor is gone; stopping")
        except* ControlBroken as broken:
            reason = str(broken.exceptions[0])
            _log.error("the supervisor cannot be understood; stopping", reason=reason)
        self._worker.end(Stop())

    async def _obey(self, message: Message, preparing: trio.Nursery) -> None:
        kind = message.get("type")
        if kind == "prepare":
            # A file system that hangs must not keep the word to stop from being heard.
            preparing.start_soon(self._prepare, message)
        elif kind == "commit":
            await self._commit(message["generation"])
        elif kind == "abandon":
            self._worker.abandon(message["generation"])
        elif kind == "listen":
            self._worker.listen(message["slot"])
        elif kind == "unlisten":
            self._worker.unlisten(message["slot"])
        elif kind == "stop":
            self._worker.end(_stop(message))
        elif kind == "linger":
            self._worker.end(Linger(float(message["timeout"]), _stop_after(message)))
        elif kind == "ask":
            await self._answer(message)

    async def _prepare(self, message: Message) -> None:
        number = message["generation"]
        try:
            await self._worker.prepare(number, message["snapshot"])
        except ConfigError as error:
            await self._fail(number, str(error))
        except Exception as error:  # a bug in building must not cost the sessions there are
            _log.error("internal error", exc_info=error)
            await self._fail(number, f"internal error ({type(error).__name__})")
        else:
            await self._control.send({"type": "prepared", "generation": number})

    async def _commit(self, number: int) -> None:
        if self._worker.commit(number):
            await self._control.send({"type": "reloaded", "generation": number})
        else:
            await self._fail(number, "no such generation was prepared")

    async def _fail(self, number: int, reason: str) -> None:
        await self._control.send({"type": "reload_failed", "generation": number, "reason": reason})

    async def _answer(self, message: Message) -> None:
        answer: Message = {"type": "answer", "id": message["id"]}
        question = message.get("question")
        if question == "status":
            answer["status"] = self._worker.status()
        elif question == "node":
            answer["session"] = self._worker.session_of(message["controller"], message["node"])
        else:
            answer["error"] = "unknown question"
        await self._control.send(answer)


def _stop(message: Message) -> Stop:
    """Read a stop. ``timeout`` null: without limit."""
    timeout = message.get("timeout", STOP_TIMEOUT)
    return Stop(float(message.get("spread", 0.0)), math.inf if timeout is None else float(timeout))


def _stop_after(message: Message) -> Stop:
    """Read how a lingering worker stops in the end."""
    return _stop({"spread": _LAST_SPREAD, "timeout": _LAST_TIMEOUT} | message.get("then", {}))
