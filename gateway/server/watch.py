"""Files that may change: the configuration and what it names.

Owns: noticing that one of them has become another one, and waiting until it is whole.

Files are looked at every second, through all symbolic links. That sees what Kubernetes does to a
mounted ConfigMap or Secret (a link far above the file is replaced), editors that rename, `cp` over
a file, and file systems on which the kernel reports no changes of others (NFS, FUSE), with no rule
for any of them; ten files cost some tens of microseconds. A file system that is away keeps nobody
but the thread that looks.

Must not know: what the files hold.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

import trio

from gateway.server.aside import Aside

INTERVAL: Final = 1.0  # seconds between two looks

_Look = dict[Path, tuple[int, ...] | None]


def look(paths: Collection[Path]) -> _Look:
    """Return what tells a file from its successor; None for one that cannot be looked at."""
    found: _Look = {}
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            found[path] = None
        else:
            found[path] = (
                stat.st_dev,
                stat.st_ino,
                stat.st_size,
                stat.st_mtime_ns,
                stat.st_ctime_ns,
                stat.st_mode,
            )
    return found


async def watch(
    paths: Callable[[], Collection[Path]],
    changed: Callable[[], Awaitable[None]],
    aside: Aside | None = None,
) -> None:
    """Call ``changed`` after one of ``paths`` changed and then stayed the same for a look.

    ``paths`` is asked anew each time; a path that was not watched before has not changed. Never
    returns.
    """
    aside = aside or Aside()
    before: _Look = {}
    with contextlib.suppress(TimeoutError):
        before = await aside.run(partial(look, paths()))
    pending = False
    while True:
        await trio.sleep(INTERVAL)
        try:
            now = await aside.run(partial(look, paths()))
        except TimeoutError:
            continue
        differs = any(now[path] != before[path] for path in now.keys() & before.keys())
        before = now
        if differs:
            pending = True
        elif pending:
            pending = False
            await changed()
