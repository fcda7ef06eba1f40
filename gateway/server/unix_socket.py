"""Unix sockets with a path: making and reaching them.

Owns: that paths may be longer than the 107 bytes of a Unix address, that a stale socket gives way
and nothing else does, and who may connect.

Must not know: what is spoken.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import ConfigError


def bind(path: Path, *, mode: int, backlog: int) -> socket.socket:
    """Listen at ``path``, in place of a stale socket. Raises ConfigError.

    ``mode``: who may connect. The caller knows that nobody listens there any more.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        with address_of(path) as address:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISSOCK(os.lstat(address).st_mode):
                    raise ConfigError(f"{path}: is in the way and not a socket; move it elsewhere")
                os.unlink(address)
            mask = os.umask(0o777 & ~mode)
            try:
                sock.bind(address)
            finally:
                os.umask(mask)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigError(f"{path}: cannot be made: {reason_of(error)}") from None
    except ConfigError:
        sock.close()
        raise
    return sock


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Give a path through a descriptor: Unix addresses have at most 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def reason_of(error: OSError) -> str:
    """Say in the system's words what went wrong."""
    return (error.strerror or type(error).__name__).lower()
