"""What the service manager hears regularly: that the gateway is alive, that stopping goes on.

Owns: when ``WATCHDOG=1`` is said, and when more time to stop is asked for.

Must not know: the socket, how workers end.

The watchdog is for what the supervisor cannot mend: itself, when it hangs, and a state in which not
one of its workers answers. One that hangs among others, or that is being replaced, is the
supervisor's business, and restarting everything for it would end the sessions of all. So a ping is
sent if any worker answers a question; or if there is none to be asked, since the supervisor is then
starting one.

While stopping, more time is asked for only as long as workers answer: who set TimeoutStopSec= need
not know ``drain_timeout``, and a gateway that hangs is still killed in time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

import trio

from gateway.server.children import Child, State
from gateway.server.control import Message
from gateway.server.fleet import Fleet
from gateway.server.service_manager import notify

# Seconds between two requests for more time to stop, and how much each asks for.
EXTEND_EVERY: Final = 5.0
EXTEND_BY: Final = 30.0
# Where nobody answered, the next try comes after this part of the interval.
_AGAIN: Final = 0.125


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return how often to ping, seconds: half of what systemd allows; None without a watchdog."""
    allowed = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    if not allowed.isascii() or not allowed.isdigit() or int(allowed) == 0:
        return None
    return int(allowed) / 2_000_000


async def ping_watchdog(
    fleet: Fleet, interval: float, *, tell: Callable[[str], object] = notify
) -> None:
    """Say that the gateway is alive, now and every ``interval`` seconds, as long as it is."""
    while True:
        began = trio.current_time()
        is_alive = False
        with trio.move_on_after(interval):
            is_alive = await answers(fleet)
        if is_alive:
            tell("WATCHDOG=1")
        pause = interval if is_alive else interval * _AGAIN
        await trio.sleep_until(max(began + pause, trio.current_time() + interval * _AGAIN))


async def answers(fleet: Fleet) -> bool:
    """Say whether any worker answers, or none is there to be asked."""
    asked = [child for child in fleet.children if child.state is not State.STARTING]
    found = not asked
    async with trio.open_nursery() as nursery:

        async def ask(child: Child) -> None:
            nonlocal found
            if await child.ask("status") is not None:
                found = True
                nursery.cancel_scope.cancel()

        for child in asked:
            nursery.start_soon(ask, child)
    return found


async def ask_for_time(fleet: Fleet, *, tell: Callable[..., object] = notify) -> None:
    """While the fleet stops, ask for time to stop in, and say what is still open."""
    while True:
        statuses = list((await fleet.statuses()).values())
        if not statuses or any(statuses):
            tell(f"EXTEND_TIMEOUT_USEC={EXTEND_BY * 1e6:.0f}", f"STATUS={_left(statuses)}")
        await trio.sleep(EXTEND_EVERY)


def _left(statuses: list[Message]) -> str:
    sessions = sum(each.get("sessions") or 0 for each in statuses)
    connections = sum(each.get("connections") or 0 for each in statuses)
    return f"stopping: {sessions} sessions, {connections} connections left"
