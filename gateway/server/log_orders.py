"""Log files of a whole gateway: the supervisor's and every worker's, opened again together.

Owns: that every process does, also workers that are still starting or that linger from before an
upgrade.

Must not know: who wants it, where lines go.

Each process has files of its own, so each is told. Workers do not answer: a line of a
worker that is slow to hear of it goes where lines went before, and nothing waits for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from gateway.observability import logs
from gateway.observability.logs import get_logger
from gateway.server.control import Message

if TYPE_CHECKING:  # workers have no need of it
    from gateway.server.children import Child
    from gateway.server.fleet import Fleet

_log = get_logger("system")


async def reopen_logs(fleet: Fleet) -> None:
    """Open log files again in every process: they were moved away."""
    logs.reopen()
    await _tell_all(fleet, "reopen_logs")
    _log.info("logs reopened")


async def _tell_all(fleet: Fleet, kind: str, **more: object) -> None:
    async def tell(child: Child) -> None:
        await child.tell(kind, **more)

    async with trio.open_nursery() as nursery:  # one that hangs keeps nobody else waiting
        for child in fleet.children:
            nursery.start_soon(tell, child)


def obey(message: Message) -> bool:
    """Do what such a message orders, in a worker; False if it is another one."""
    if message.get("type") != "reopen_logs":
        return False
    logs.reopen()
    return True
