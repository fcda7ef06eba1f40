"""Where lines go: standard output, standard error, files that may be opened again.

Owns: that there is one writer for each of them in a process, and when files are opened, opened
again and closed. Must not know: what a line says, which channels there are.

A file is opened for appending, so that supervisor and workers can share it, each by itself. Opening
it again (logrotate has moved it away) puts the new file in the place of the old one behind the same
descriptor: whoever writes meanwhile writes into one or the other, and no line is lost.
"""

from __future__ import annotations

import atexit
import os
import stat
import sys
import threading  # noqa: TID251 - a line is written wherever something goes wrong
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from gateway.errors import ConfigError
from gateway.observability.lines import DirectWriter, LineOutput, LineWriter, Nowhere

# Seconds that a process waits at its end until the readers of its logs have taken the rest.
_CLOSE_TIMEOUT: Final = 2.0
_MODE: Final = 0o640  # of a file that is made: for its owner, and the group that ships logs

_writers: dict[int, LineWriter] = {}
_files: dict[Path, LineWriter] = {}
_lock: Final = threading.Lock()  # of _files: a configuration is prepared in a thread


def _ignore_lost(name: str, count: int) -> None:
    pass


def _ignore_gone(name: str) -> None:
    pass


# Who is told how many lines of an output were lost, and that it has no reader any more.
_on_lost: Callable[[str, int], None] = _ignore_lost
_on_gone: Callable[[str], None] = _ignore_gone


def report_to(on_lost: Callable[[str, int], None], on_gone: Callable[[str], None]) -> None:
    """Have trouble with outputs reported from now on; called in the threads that write."""
    global _on_lost, _on_gone
    _on_lost, _on_gone = on_lost, on_gone


def lines_to(stream: TextIO | None, *, name: str) -> LineOutput:
    """Return what writes whole lines to ``stream``, or nowhere if there is none; it never fails.

    It never waits either where ``stream`` is this process's standard output or standard error, as
    their readers may stand still. ``name`` is that of the log, for the line that says how much of
    it was lost.
    """
    if stream is None:  # as sys.stdout is where the descriptor was closed from the start
        return Nowhere()
    if not any(stream is each for each in (sys.__stdout__, sys.__stderr__)):
        return DirectWriter(stream)
    try:
        fd = stream.fileno()
    except (OSError, ValueError):  # closed
        return DirectWriter(stream)
    _close_at_exit()
    if fd not in _writers:
        _writers[fd] = _writer(fd, name, stream.encoding)
    return _writers[fd]


def lines_to_file(path: Path) -> LineOutput:
    """Return what appends whole lines to a file. Raises ConfigError if it cannot be opened."""
    _close_at_exit()
    with _lock:
        if path not in _files:
            _files[path] = _writer(_open(path), str(path), "utf-8")
        return _files[path]


def _writer(fd: int, name: str, encoding: str) -> LineWriter:
    return LineWriter(
        fd,
        encoding=encoding,
        on_dropped=lambda count: _on_lost(name, count),
        on_gone=lambda: _on_gone(name),
    )


def _close_at_exit() -> None:
    if not _writers and not _files:
        atexit.register(close_writers)


def _open(path: Path) -> int:
    # O_NONBLOCK: a FIFO that nobody reads must not make anybody wait. On a file it does nothing.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, _MODE)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.set_blocking(fd, True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConfigError(
            f"log: {path} cannot be opened: {reason}; let its folder exist, and be writable for"
            " the gateway's user"
        ) from None
    return fd


def check_file(path: Path) -> None:
    """Raise ConfigError if a file cannot be opened; it is made if it is not there."""
    os.close(_open(path))


def reopen_files() -> list[str]:
    """Open every file again; return why that failed, for each where it did: it stays as it was."""
    failed = []
    with _lock:
        for path, writer in _files.items():
            try:
                fd = _open(path)
            except ConfigError as error:
                failed.append(str(error))
                continue
            writer.change_to(fd)
    return failed


def keep_files(paths: Collection[Path]) -> None:
    """Close all files but ``paths``, once what is left for them is written."""
    with _lock:
        for path in _files.keys() - set(paths):
            _files.pop(path).retire()


def close_writers() -> None:
    """Write what is left, for 2 s at most: where this process ends, or its program is replaced.

    Files first, then the lower descriptor, as each may report on standard error.
    """
    until = time.monotonic() + _CLOSE_TIMEOUT
    for writer in (*_files.values(), *(each for _, each in sorted(_writers.items()))):
        writer.close(max(0.0, until - time.monotonic()))


def reopen_writers() -> None:
    """Undo ``close_writers``: the program goes on after all."""
    for writer in (*_files.values(), *_writers.values()):
        writer.reopen()


# Standard streams by the names that the configuration has for them, and what they are called.
STREAMS: Final = {
    "stdout": partial(getattr, sys, "stdout"),
    "stderr": partial(getattr, sys, "stderr"),
}
