"""The operations by their names: how commands reach them through the control socket.

Owns: the names, and that arguments are checked as the API's are.

Must not know: sockets, what the operations do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from gateway.server.control import Message
from gateway.server.operations import Operations, Refused
from gateway.server.session_query import SessionQuery
from gateway.server.wishes import (
    BlockWish,
    Kick,
    LevelWish,
    Nothing,
    OfNode,
    Takeover,
    UnblockWish,
)

BY: Final = "control socket"


@dataclass(frozen=True, slots=True)
class _Operation:
    arguments: type[BaseModel]
    run: Callable[[Operations, Any], Awaitable[Message]]


_OPERATIONS: Final[dict[str, _Operation]] = {
    "sessions": _Operation(SessionQuery, lambda on, wish: on.sessions(wish)),
    "timeline": _Operation(OfNode, lambda on, wish: on.timeline(wish.node)),
    "kick": _Operation(Kick, lambda on, wish: on.kick(wish, BY)),
    "takeover": _Operation(Takeover, lambda on, wish: on.take_over(wish, BY)),
    "block": _Operation(BlockWish, lambda on, wish: on.block(wish, BY)),
    "unblock": _Operation(UnblockWish, lambda on, wish: on.unblock(wish, BY)),
    "blocks": _Operation(Nothing, lambda on, _: on.blocks()),
    "controllers": _Operation(Nothing, lambda on, _: on.controllers()),
    "fingerprints": _Operation(Nothing, lambda on, _: on.fingerprints()),
    "ends": _Operation(Nothing, lambda on, _: on.ends()),
    "certificates": _Operation(Nothing, lambda on, _: on.certificates()),
    "configuration": _Operation(Nothing, lambda on, _: on.configuration()),
    "reloads": _Operation(Nothing, lambda on, _: on.reloads()),
    "workers": _Operation(Nothing, lambda on, _: on.workers()),
    "drain-progress": _Operation(Nothing, lambda on, _: on.drain_progress()),
    "log-level": _Operation(Nothing, lambda on, _: on.log_level()),
    "set-log-level": _Operation(LevelWish, lambda on, wish: on.set_log_level(wish, BY)),
    "readiness": _Operation(Nothing, lambda on, _: _readiness(on)),
    "version": _Operation(Nothing, lambda on, _: on.version()),
}
NAMES: Final = frozenset(_OPERATIONS)


async def _readiness(on: Operations) -> Message:
    return on.readiness().as_fields()


async def answer_operation(operations: Operations, name: str, question: Message) -> Message:
    """Return the answer to a question; ``ok`` says whether it was granted, ``reason`` why not."""
    operation = _OPERATIONS.get(name)
    if operation is None:
        return {"ok": False, "reason": "this gateway does not know that command"}
    arguments = {key: value for key, value in question.items() if key != "do"}
    try:
        wish = operation.arguments.model_validate(arguments)
        return {"ok": True, **await operation.run(operations, wish)}
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or name
        return {"ok": False, "reason": f"{where}: {first['msg']}"}
    except Refused as refusal:
        return {"ok": False, "kind": refusal.kind, "reason": refusal.reason}
