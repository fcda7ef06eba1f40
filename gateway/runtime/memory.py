"""Give memory back to the system when a crowd of connections has gone.

Owns: when that is worth its price, how it is done, and the allocator that makes it possible.

Must not know: what a connection holds.

Nothing does it by itself. What ended connections leave behind in cycles waits for a full
collection; the C library shortens its heap only at the end, where something small always lives on;
and Python's own allocator returns arenas of 1 MiB, in each of which something small lives on.
Measured with 2,400 silent connections, of which half had begun TLS: 36 MiB before, 122 with them
and 122 after; 62 after ``malloc_trim``; with the C library's allocator alone 38, 124, and 40.
"""

from __future__ import annotations

import ctypes
import gc
import os
from typing import Final

import trio

from gateway.runtime.admission import ConnectionPlaces

# How often to look, seconds: a crowd's memory serves nobody for longer than this.
LOOK_EVERY: Final = 10.0
# A crowd: below this many connections fewer than there were, some 35 KiB each, it is not worth it.
CROWD: Final = 256
# By default glibc takes a batch of half a megabyte from the system and gives it back at once, or
# not, as its sliding threshold happens to stand: 0.5 or 1.7 s of system time per GiB. A batch is
# to be memory of the heap, of which so much may stay at its end.
_KEEP_BATCHES: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 1024 * 1024),
}


async def give_back_after_crowds(places: ConnectionPlaces) -> None:
    """Look every ``LOOK_EVERY`` seconds, until cancelled, whether a crowd has gone."""
    while True:
        await trio.sleep(LOOK_EVERY)
        if crowd_has_gone(places):
            give_back()


def crowd_has_gone(places: ConnectionPlaces) -> bool:
    """Say whether ``CROWD`` places have come free since the most that were held; then count anew.

    Connections that come and go in a steady stream take each other's place, and are no crowd.
    """
    if places.most_held - places.held < CROWD:
        return False
    places.most_held = places.held
    return True


def allocator_environment() -> dict[str, str]:
    """Return what a process needs in its environment to return its memory after a crowd, and to
    keep it while it is busy.

    The C library's allocator costs about 3 % of the CPU time of a small request (0.251 and 0.259
    ms). glibc's: that of musl is slow, and has no ``malloc_trim``. Whoever set one of these
    variables has the last word.
    """
    if not _has_glibc():
        return {}
    wanted = {"PYTHONMALLOC": "malloc", **_KEEP_BATCHES}
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):
        return False


def give_back() -> None:
    """Collect cyclic garbage and return free pages to the system.

    Stops the event loop meanwhile.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc's alone; musl returns pages by itself
        trim(0)
