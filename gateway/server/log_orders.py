"""Logs of a whole gateway: the supervisor's and every worker's, changed together.

Owns: that files are opened again and levels changed in every process, also in workers that are
still starting or that linger from before an upgrade.

Must not know: who wants it, where lines go.

Each process has files and levels of its own, so each is told. Workers do not answer: a line of a
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


async def set_log_level(fleet: Fleet, level: str, channel: str | None = None) -> dict[str, str]:
    """Change the level of ``channel``, or of session and system, in every process.

    Returns the level of each channel from now on. It lasts until ``log`` is changed in the
    configuration, the gateway is upgraded or ends; workers that start meanwhile have it, too.
    Raises ConfigError for what is not known.
    """
    logs.set_level(level, channel)
    levels = logs.levels()
    await _tell_all(fleet, "log_levels", levels=levels)
    _log.info("log levels changed", levels=levels)
    return levels


async def _tell_all(fleet: Fleet, kind: str, **more: object) -> None:
    async def tell(child: Child) -> None:
        await child.tell(kind, **more)

    async with trio.open_nursery() as nursery:  # one that hangs keeps nobody else waiting
        for child in fleet.children:
            nursery.start_soon(tell, child)


def obey(message: Message) -> bool:
    """Do what one of these messages orders, in a worker; False if it is another one."""
    kind = message.get("type")
    if kind == "reopen_logs":
        logs.reopen()
    elif kind == "log_levels":
        levels = message.get("levels")
        logs.set_levels(levels if isinstance(levels, dict) else {})
    else:
        return False
    return True
