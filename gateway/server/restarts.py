"""One worker after another: when a dead one is replaced, and when the first one's death is final.

Owns: the pauses between two lives, and what a worker's end says about the program's exit status.

Must not know: processes, slots, messages.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from gateway.observability.logs import get_logger

_log = get_logger("system")

# A worker that dies at once must not be started a thousand times a minute.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
# A worker that lived this long did not die of its start: the pause begins anew.
SOUND_AFTER: Final = 60.0

_STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Life:
    """How a worker ended. ``status`` is its exit status, negative for a signal, None if it could
    not even be started; ``ready``: it served.
    """

    status: int | None
    ready: bool

    def __str__(self) -> str:
        if self.status is None:
            return "not started"
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return f"killed by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"killed by signal {-self.status}"  # a real-time signal


async def keep_running(
    run_worker: Callable[[], Awaitable[Life]], stop: trio.Event, *, served: bool = False
) -> int:
    """Run one worker after another until ``stop``; return the supervisor's exit status.

    The first one has to become ready, unless others have ``served`` before it: what keeps it from
    that will not go away by itself, and whoever started the program is still looking.
    """
    pause = FIRST_PAUSE
    while True:
        started = trio.current_time()
        life = await run_worker()
        if stop.is_set():
            return status_of_stop(life)
        served = served or life.ready
        if not served:
            _log.error("the worker did not become ready; giving up", worker_ended=str(life))
            return 1
        if trio.current_time() - started >= SOUND_AFTER:
            pause = FIRST_PAUSE
        _log.error("the worker died; starting another", worker_ended=str(life), pause_s=pause)
        with trio.move_on_after(pause):
            await stop.wait()
            return 0
        pause = min(pause * 2, LONGEST_PAUSE)


def status_of_stop(life: Life) -> int:
    """Return the exit status that a worker's end while stopping comes to: 0 if it was orderly."""
    if not life.ready and life.status is not None and -life.status in _STOP:
        return 0  # the signal was for everybody, and met it before it could ignore it
    return 0 if life.status == 0 else 1
