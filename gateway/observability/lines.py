"""Whole lines to a descriptor whose reader may be slow, stand still or be gone.

Owns: that writing a log never makes the event loop wait and never fails; how much is kept for a
reader that stands still, and that whatever is lost is counted.

Must not know: what a line says, which log it belongs to.

Theory of operation: a pipe holds 64 KiB, and whoever writes to a full one waits for its reader. So
``LineWriter.write`` only appends to a bounded buffer; a thread of its own, which nobody waits for,
writes what has gathered. Waking it costs more than a line does, so it sleeps for ``GATHER`` after
waking and takes everything that came meanwhile: a busy process pays for a hundred wake-ups a second
at most, a silent one for none. The descriptor stays in blocking mode, because its mode belongs to
everybody who shares it, the shell included. When the buffer is full, lines are dropped until half
of it is free, so that there is one gap and one report of it, not hundreds. The thread takes no
signal: one that the main thread holds back would find it instead, and with the default action kill
the process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import stat
import threading  # noqa: TID251 - it writes before, during and after any event loop
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TextIO

# Characters kept for a reader that stands still: some 10,000 lines, seconds of a busy gateway.
MAX_HELD: Final = 4 * 1024 * 1024
# Seconds: as long as a line may wait for others to be written with it.
GATHER: Final = 0.01
# Bytes written at a time: as much goes into a pipe in one piece. With more, somebody else's line
# could end up in the middle of one of ours (supervisor and worker share standard error). A file
# takes any write in one piece; each costs a change of threads and back.
_BATCH: Final = select.PIPE_BUF
_BATCH_OF_FILE: Final = 64 * 1024
# The reader of a pipe, or the terminal, is gone for good.
_GONE: Final = (errno.EPIPE, errno.EIO)


class LineOutput(Protocol):
    """Where lines go: to be written to, never to be waited for."""

    def write(self, text: str, /) -> None:
        """Take one or more whole lines."""

    def flush(self) -> None:
        """Do what ``write`` has not done yet, where that is this thread's to do."""


class Nowhere:
    """Where lines go that nobody wants."""

    def write(self, text: str) -> None:
        """Forget it."""

    def flush(self) -> None:
        """Do nothing."""


class DirectWriter:
    """Lines to a text stream, at once. Failures are nobody's: a lost line ends nothing.

    For streams in this process and files, whose writers never wait. Where the reader is gone for
    good, the descriptor is pointed at /dev/null, or what is still buffered would fail once more
    when the stream is closed.
    """

    __slots__ = ("__weakref__", "_stream")

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write lines, if that can be done."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self._give_up(error)

    def flush(self) -> None:
        """Flush, if that can be done."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: OSError | ValueError) -> None:
        if isinstance(error, OSError) and error.errno in _GONE:
            with contextlib.suppress(OSError):
                _discard(self._stream.fileno())


class LineWriter:
    """Lines to a descriptor, by a thread of its own. Any thread may write."""

    __slots__ = (
        "__weakref__",
        "_awake",
        "_batch",
        "_closing",
        "_dropped",
        "_encoding",
        "_fd",
        "_gather",
        "_held",
        "_is_running",
        "_limit",
        "_lines",
        "_lock",
        "_on_dropped",
        "_on_gone",
        "_retired",
        "_thread",
        "_wake",
    )

    def __init__(
        self,
        fd: int,
        *,
        encoding: str = "utf-8",
        limit: int = MAX_HELD,
        gather: float = GATHER,
        on_dropped: Callable[[int], None] = lambda _count: None,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """``limit``: characters held at most. ``gather``: seconds.

        ``on_dropped`` is told how many lines were dropped, once there is room again; ``on_gone``
        that there is no reader any more, once. Both are called in the writing thread.
        """
        self._fd = fd
        self._batch = _BATCH_OF_FILE if _is_file(fd) else _BATCH
        self._encoding = encoding
        self._limit = limit
        self._gather = gather
        self._on_dropped = on_dropped
        self._on_gone = on_gone
        # Of a kind that a finalizer may enter again which logs while the lock is held.
        self._lock = threading.RLock()
        self._lines: deque[str] = deque()
        self._held = 0  # characters in _lines and in the batch that is being written
        self._dropped = 0  # lines; while there are any, more are dropped
        self._awake = False  # the thread has something to do, or will look before it sleeps
        self._closing = False
        self._retired = False  # the descriptor is closed as soon as everything is written
        self._wake = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._is_running = False  # the thread will look at ``_closing`` once more

    def write(self, text: str) -> None:
        """Take one or more whole lines; never waits. Counted and dropped where there is no room."""
        with self._lock:
            if self._dropped or self._held + len(text) > self._limit:
                self._dropped += text.count("\n")
            else:
                self._lines.append(text)
                self._held += len(text)
            if self._awake:
                return
            self._awake = True
        self._rouse()

    def flush(self) -> None:
        """Do nothing: the thread writes, within ``gather`` seconds."""

    def close(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until everything is written.

        What is written to it afterwards is written by the caller, unless the thread still is not
        done: then it is lost, since the end must not depend on a reader. ``reopen`` undoes it.
        """
        self._closing = True
        if self._thread is not None:
            self._wake.release()
            self._thread.join(timeout)
            if not self._thread.is_alive():
                self._write_all()  # what came after its last look

    def reopen(self) -> None:
        """Undo ``close``: lines are written by a thread again."""
        with self._lock:
            self._closing = False
            if not self._is_running:
                self._thread = None
            waiting = self._awake and self._thread is None
        if waiting:
            self._rouse()

    def change_to(self, fd: int) -> None:
        """Write to the file of ``fd`` from now on, under the old number; takes ``fd`` over."""
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)

    def retire(self) -> None:
        """Write what is left and close the descriptor, without waiting for that. For good."""
        with self._lock:
            self._closing = self._retired = True
            is_left = not self._is_running
        if is_left:
            self._close_fd()
        else:
            self._wake.release()

    def _close_fd(self) -> None:
        self._write_all()
        fd, self._fd = self._fd, -1  # whoever writes after this writes nowhere
        os.close(fd)

    def _rouse(self) -> None:
        if self._closing:
            if self._thread is None or not self._thread.is_alive():
                self._write_all()
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
            self._is_running = True
            # A thread begins with the mask of the one that starts it.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._thread.start()
            except RuntimeError:  # out of threads, or the interpreter is on its way out
                self._thread, self._is_running = None, False
                self._write_all()
                return
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._wake.release()

    def _run(self) -> None:
        while True:
            with self._lock:
                is_over = self._closing
                if is_over:
                    self._is_running = False
            if is_over:
                if self._retired:
                    self._close_fd()
                return
            self._wake.acquire()
            if not self._closing:
                time.sleep(self._gather)
            self._write_all()

    def _write_all(self) -> None:
        while True:
            batch = self._take()
            if batch:
                self._put(batch)
            dropped = self._make_room(len(batch))
            if dropped and self._is_own_thread():
                self._on_dropped(dropped)  # which may well write here
            with self._lock:
                if not (self._lines or self._dropped):
                    self._awake = False
                    return

    def _take(self) -> str:
        """Return as many lines as fit into one write, at least one if there is any."""
        lines: list[str] = []
        size = 0
        with self._lock:
            waiting = self._lines
            while waiting and (not lines or size + len(waiting[0]) <= self._batch):
                size += len(waiting[0])
                lines.append(waiting.popleft())
        return "".join(lines)

    def _make_room(self, written: int) -> int:
        """Return how many lines were dropped, where it is time to say so."""
        with self._lock:
            self._held -= written
            if self._held > self._limit // 2:
                return 0
            dropped, self._dropped = self._dropped, 0
            return dropped

    def _put(self, batch: str) -> None:
        data = memoryview(batch.encode(self._encoding, "backslashreplace"))
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody who shares it has set it to non-blocking mode
                waiting = select.poll()
                waiting.register(self._fd, select.POLLOUT)
                waiting.poll()
            except OSError as error:  # a full disk, say: there may be room for later lines
                if error.errno in _GONE and _discard(self._fd) and self._is_own_thread():
                    self._on_gone()
                return

    def _is_own_thread(self) -> bool:
        """Say whether reports may be made: callers may hold locks that a logger takes."""
        return threading.current_thread() is self._thread


def _is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def _discard(fd: int) -> bool:
    """Point a descriptor at /dev/null; say whether that could be done."""
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), fd)
    except OSError:
        return False
    return True
