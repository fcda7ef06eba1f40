"""The one stream type: a TCP or Unix socket, with or without TLS.

Owns: batching at the wake-up (what the kernel holds is received as one plaintext), the send lock,
the activity times that liveness is judged by, and orderly and disorderly closing.

Must not know: what the bytes mean.

Whoever sends takes the lock. A send that is cancelled half-way leaves its rest behind, and the next
send writes that first: no record and no frame is torn, so a Close frame can still follow.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket as _socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import trio

from gateway.transport import kernel
from gateway.transport.patience import current_patience
from gateway.transport.tls import TlsEngine, TlsError, Want

# What one wake-up may bring without TLS (with it: ``transport/tls``). Small while a stream is
# quiet, so that small traffic allocates little; large while it is busy, because the wake-up is the
# unit of cost.
RECEIVE_SMALL: Final = 16 * 1024
RECEIVE_LARGE: Final = 512 * 1024
# close_notify and FIN need no answer; a peer that does not even take these is cut off.
CLOSE_TIMEOUT: Final = 5.0
# What one writev takes is bounded by the kernel (1024); so many pieces are megabytes.
_MAX_PIECES: Final = 64
# A send that took longer had to wait for the peer to take something: a sign that it lives.
_WAITED: Final = 0.05
_TCP_NOTSENT_LOWAT: Final = 25  # linux/tcp.h; Python names it from 3.12 on
_FIRST_LOOK: Final = 0.005
_LAST_LOOK: Final = 5.0
_ABORT: Final = struct.pack("ii", 1, 0)
_RECORD: Final = 16 * 1024
# A reset that came before a send is seen as a broken pipe.
_RESETS: Final = frozenset({errno.ECONNRESET, errno.EPIPE})


class StreamBroken(Exception):
    """The connection failed: reset, TLS failure or use after closing. The text says which."""


class ReceiveInterrupted(Exception):
    """A receive ended with nothing received: its time was over, or ``interrupt`` was called."""


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a connection comes from. ``host`` is an IP address as text, ``unix`` or ``unknown``."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.host == "unix":
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def as_fields(self) -> dict[str, str | int]:
        """Return it as fields of a log line about a client."""
        return {"client": self.host, "client_port": self.port}


UNKNOWN: Final = PeerAddress("unknown", 0)
"""Somebody of whom no address is known: in no network, trusted by nothing."""


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What a TLS handshake agreed on.

    ``subject`` and the names are those of a client's verified certificate: its CNs, and its DNS and
    URI alternatives.
    """

    version: str
    cipher: str
    server_name: str | None
    subject: str | None = None
    common_names: tuple[str, ...] = ()
    alternative_names: tuple[str, ...] = ()


class Activity:
    """When a stream last did what, in seconds of trio's clock; plain attributes, read by watchdogs.

    ``reading_since`` is None while nobody waits for bytes: a peer must not be blamed for silence
    then. ``sending_since`` is None while no send is under way; ``progress_at`` is when a send that
    had to wait last moved, which only a living peer can cause. ``bytes_written`` is what the kernel
    took; with TLS, what it took a part of. All count plaintext.
    """

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "bytes_written",
        "progress_at",
        "reading_since",
        "received_at",
        "sending_since",
        "sent_at",
    )

    def __init__(self, now: float) -> None:
        self.received_at = now
        self.sent_at = now
        self.progress_at = now
        self.reading_since: float | None = None
        self.sending_since: float | None = None
        self.bytes_received = 0
        self.bytes_sent = 0
        self.bytes_written = 0


class Stream:
    """A connected byte stream.

    One task may receive while others send. ``receive_some`` and ``send_all`` raise StreamBroken and
    nothing else but ``trio.Cancelled``. ``close_notify`` may be set to False for peers that cannot
    bear it: then a bare FIN ends the stream. ``expects_answers`` may be set to True where a peer
    may answer and leave before it has read everything: TLS then looks before each record whether it
    is still there, since to write to one that is gone would lose what it said.
    """

    __slots__ = (
        "_answering",
        "_engine",
        "_eof",
        "_interrupted",
        "_is_begun",
        "_patience",
        "_poll",
        "_receive_size",
        "_send_lock",
        "_socket",
        "_unsent",
        "activity",
        "broken",
        "close_notify",
        "expects_answers",
        "local",
        "peer",
        "tls",
        "until",
        "was_reset",
    )

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock
        self._engine: TlsEngine | None = None
        self._send_lock = trio.Lock()
        self._receive_size = RECEIVE_SMALL
        self._eof = False
        self._poll: select.poll | None = None
        self._patience = current_patience()
        self._interrupted = False
        self._answering: trio.CancelScope | None = None  # a receive that has to send first
        self.until = math.inf  # when the receive under way is interrupted
        self._unsent: list[bytes | memoryview] = []  # what a cancelled send left behind
        self._is_begun = False  # TLS has written a part of the first of it
        self.activity = Activity(trio.current_time())
        self.broken: str | None = None
        self.was_reset = False  # that is how it broke: by the peer, or by a box on the way
        self.close_notify = True
        self.expects_answers = False
        self.peer = _peer_of(sock)
        # The address that the client connected to, where a PROXY header named it; else asked for.
        self.local: PeerAddress | None = None
        self.tls: TlsInfo | None = None
        if sock.family != _socket.AF_UNIX:
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)

    def __repr__(self) -> str:
        state = self.broken or ("eof" if self._eof else "open")
        return f"<Stream {self.peer} {'tls ' if self.tls else ''}{state}>"

    def local_address(self) -> PeerAddress:
        """Return the address that the peer connected to; ``unknown`` where nobody can say."""
        if self.local is None:
            self.local = _address_of(self._socket, self._socket.getsockname)
        return self.local

    def keep_alive(self, *, user_timeout: float) -> None:
        """Turn on TCP keep-alive (30 s, every 10 s, 3 times) and TCP_USER_TIMEOUT (seconds)."""
        if self._socket.family == _socket.AF_UNIX:
            return
        tcp = _socket.IPPROTO_TCP
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        self._socket.setsockopt(tcp, _socket.TCP_KEEPIDLE, 30)
        self._socket.setsockopt(tcp, _socket.TCP_KEEPINTVL, 10)
        self._socket.setsockopt(tcp, _socket.TCP_KEEPCNT, 3)
        self._socket.setsockopt(tcp, _socket.TCP_USER_TIMEOUT, int(user_timeout * 1000))

    # -- TLS ---------------------------------------------------------------------------------------

    async def start_tls(self, engine: TlsEngine) -> None:
        """Do the TLS handshake; the caller gives it a deadline.

        Raises StreamBroken with OpenSSL's reason; the alert that tells the peer has then been sent.
        """
        try:
            self._open_fd()
            engine.attach(self._socket)
            await trio.lowlevel.checkpoint()
            while want := self._step(engine):
                if want is Want.READABLE:
                    await trio.lowlevel.wait_readable(self._open_fd())
                else:
                    await trio.lowlevel.wait_writable(self._open_fd())
            self._engine = engine
            subject = engine.peer_subject() if engine.server_side else None
            names = ((), ()) if subject is None else engine.peer_names()
            self.tls = TlsInfo(engine.version, engine.cipher, engine.server_name, subject, *names)
        except TlsError as error:
            with contextlib.suppress(OSError):
                # What is not read when a socket is closed makes it a reset, which may overtake the
                # alert.
                os.read(self._socket.fileno(), RECEIVE_SMALL)
            raise self._break(f"TLS: {error}") from None
        except (OSError, trio.ClosedResourceError) as error:
            raise self._fail(error) from None

    def _step(self, engine: TlsEngine) -> Want | None:
        self._open_fd()
        want = engine.handshake()
        if engine.peer_closed:
            raise StreamBroken("connection closed during the TLS handshake")
        return want

    # -- receiving ---------------------------------------------------------------------------------

    async def receive_some(self, *, until: float = math.inf) -> bytes:
        """Return everything that one wake-up yields, decrypted; ``b""`` at the end, orderly or
        bare.

        At most 512 KiB and a record. Raises StreamBroken on reset, TLS failure or a closed stream,
        and ReceiveInterrupted when nothing has come ``until`` then (on trio's clock, up to half a
        second later) or ``interrupt`` was called.
        """
        if self._eof or (self._engine is not None and self._engine.peer_closed):
            await trio.lowlevel.checkpoint()
            return b""
        activity = self.activity
        activity.reading_since = trio.current_time()
        try:
            data = await self._receive(until)
        finally:
            activity.reading_since = None
        # An end is not a byte, with close_notify or without: how long a peer had been silent
        # before it left tells what cut the connection.
        if data:
            activity.received_at = trio.current_time()
            activity.bytes_received += len(data)
        else:
            self._eof = True
        return data

    async def peek(self) -> bytes:
        """Wait for bytes and return up to 16 KiB of them, which stay to be received; ``b""`` at
        the end. Before TLS only. Raises StreamBroken.
        """
        try:
            return await self._socket.recv(RECEIVE_SMALL, _socket.MSG_PEEK)
        except (OSError, trio.ClosedResourceError) as error:
            raise self._fail(error) from None

    def skip(self, count: int) -> None:
        """Drop ``count`` bytes that ``peek`` has returned. Raises StreamBroken."""
        try:
            os.read(self._open_fd(), count)
        except (OSError, trio.ClosedResourceError) as error:
            raise self._fail(error) from None

    async def _receive(self, until: float) -> bytes:
        self._interrupted = False
        if until != math.inf:
            self.until = until
            self._patience.add(self)
        engine = self._engine
        try:
            while True:
                # Not ``socket.recv``, which tries first: here that is nearly always in vain, since
                # the last receive took everything. Where it did not, this waits for nothing.
                await trio.lowlevel.wait_readable(self._open_fd())
                fd = self._open_fd()
                if engine is None:
                    try:
                        return self._read(fd)
                    except BlockingIOError:  # rare: woken for nothing
                        continue
                data = engine.receive()
                if data or engine.peer_closed:
                    return data
                if engine.wants is Want.WRITABLE:
                    await self._wait_to_answer()
                    if self._interrupted:
                        raise ReceiveInterrupted
                else:  # a part of a record, or what TLS says for itself: the peer lives
                    self.activity.received_at = trio.current_time()
        except trio.ClosedResourceError as error:
            if self._interrupted and self._socket.fileno() >= 0:
                raise ReceiveInterrupted from None
            raise self._fail(error) from None
        except OSError as error:
            raise self._fail(error) from None
        except TlsError as error:
            raise self._break(f"TLS: {error}") from None
        finally:
            if until != math.inf:
                self._patience.discard(self)

    async def _wait_to_answer(self) -> None:
        """Wait until the kernel takes what TLS owes the peer (a KeyUpdate of ours), or until
        ``interrupt``. OpenSSL writes it with what is received or sent next.
        """
        try:
            with trio.CancelScope() as self._answering:
                async with self._send_lock:  # one task may wait for a socket to be writable
                    await self._wait_writable()
        finally:
            self._answering = None

    def _read(self, fd: int) -> bytes:
        data = os.read(fd, self._receive_size)
        self._adapt(len(data))
        return data

    def _adapt(self, received: int) -> None:
        """A full buffer says that more waits; a nearly empty one that the burst is over."""
        if received == self._receive_size:
            self._receive_size = RECEIVE_LARGE
        elif received < RECEIVE_SMALL:
            self._receive_size = RECEIVE_SMALL

    def _open_fd(self) -> int:
        """Return the descriptor. Raises trio.ClosedResourceError where it has been closed."""
        fd = self._socket.fileno()
        if fd < 0:
            raise trio.ClosedResourceError
        return fd

    def interrupt(self) -> None:
        """End the receive under way, if it still waits, with ReceiveInterrupted."""
        if self.activity.reading_since is None:
            return
        self._interrupted = True
        if self._answering is not None:
            self._answering.cancel()
            return
        fd = self._socket.fileno()
        if fd >= 0:  # else it is being woken by that
            # Wakes a send that waits, too: ``_write`` goes on then.
            trio.lowlevel.notify_closing(fd)

    def has_input(self) -> bool:
        """Say, without waiting, whether anything has arrived that was not received; an end counts.

        On an idle connection that means: do not use it any more.
        """
        if self._eof or self.broken is not None:
            return True
        return bool(self._look())

    def peer_has_closed(self) -> bool:
        """Say, without waiting, whether the peer has closed its side, also where what it sent
        before has not been received.
        """
        if self._eof or self.broken is not None:
            return True
        return bool(self._look() & (select.POLLRDHUP | select.POLLHUP | select.POLLERR))

    def _look(self) -> int:
        """Return what ``poll`` says of the socket now."""
        poll = self._poll
        if poll is None:
            poll = self._poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN | select.POLLRDHUP)
        found = poll.poll(0)
        return found[0][1] if found else 0

    def limit_unsent(self, size: int) -> None:
        """Have the kernel take no more than about ``size`` bytes that it cannot send yet.

        Else megabytes pile up in front of a ping on a slow link, and its answer comes too late.
        """
        if self._socket.family != _socket.AF_UNIX:
            self._socket.setsockopt(_socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, size)

    def acknowledge_now(self) -> None:
        """Have the kernel acknowledge what it has received instead of waiting up to 40 ms for
        company.

        For peers that write a message in two pieces with Nagle's algorithm on: they hold the second
        back until the first is acknowledged. Linux only remembers this until the next receive.
        """
        if self._socket.family != _socket.AF_UNIX:
            with contextlib.suppress(OSError):  # disconnected: the next receive says so
                self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_QUICKACK, 1)

    # -- sending -----------------------------------------------------------------------------------

    async def send_all(self, data: bytes) -> None:
        """Send ``data`` after whatever is being sent. Raises StreamBroken.

        What the kernel takes at once is sent without a checkpoint, also where cancelled.
        """
        if not data:
            return
        lock = self._send_lock
        try:
            lock.acquire_nowait()  # saves the checkpoint of acquire() where nobody else sends
        except trio.WouldBlock:
            await lock.acquire()
        try:
            if self.broken is not None:
                raise StreamBroken(self.broken)
            await self._write([data])
            self.activity.bytes_sent += len(data)
        finally:
            lock.release()

    def send_nowait(self, data: bytes) -> bool:
        """Give ``data`` to the kernel as far as it takes it; False: ``flush`` has to do the rest.

        Saves what waiting costs (a lock, a deadline, a turn of the scheduler) where there is
        nothing to wait for, as with every small answer. No checkpoint. Raises StreamBroken.
        """
        if self.broken is not None:
            raise StreamBroken(self.broken)
        unsent = self._unsent
        must_wait = bool(unsent) or self._send_lock.locked()
        if data:
            unsent.append(data)
        self.activity.bytes_sent += len(data)
        if must_wait or not unsent:
            return not unsent
        try:
            while unsent:
                self._give()
        except BlockingIOError:
            return False
        except (OSError, trio.ClosedResourceError) as error:
            raise self._fail(error) from None
        except TlsError as error:
            raise self._break(f"TLS: {error}") from None
        self.activity.sent_at = trio.current_time()
        return True

    async def flush(self) -> None:
        """Send what ``send_nowait`` left. Raises StreamBroken."""
        async with self._send_lock:
            if self.broken is not None:
                raise StreamBroken(self.broken)
            await self._write([])

    @property
    def has_unsent(self) -> bool:
        """Say whether something that was to be sent has not been given to the kernel."""
        return bool(self._unsent)

    def acknowledged(self) -> int:
        """Return how many bytes the peer's kernel has taken, TLS and the connection's own included:
        what shows that a slow peer is none that stands still. One system call, Linux (4.1). Raises
        StreamBroken.
        """
        taken = 0
        if self._socket.family != _socket.AF_UNIX:
            taken = self._ask(kernel.acknowledged)
        # Sandboxes have kernels of their own, which may leave it 0.
        return taken or max(0, self.activity.bytes_written - self._ask(kernel.unacknowledged))

    async def wait_acknowledged(self, patience: float) -> None:
        """Wait until the peer's kernel has taken all that ours was given: until then ``abort``
        would take it away again. Gives up on a peer that takes nothing for ``patience`` seconds or
        is gone; looks every 5 s at least.
        """
        pause = _FIRST_LOOK
        left, until = -1, 0.0
        while self.broken is None:
            before, left = left, self._ask(kernel.unacknowledged)
            now = trio.current_time()
            if left != before:
                until = now + patience
            if not left or now >= until:
                return
            await trio.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)

    def in_flight(self) -> int:
        """Return how many bytes were sent and are not acknowledged: none where the peer's window is
        shut. Linux; two system calls. Raises StreamBroken.
        """
        if self._socket.family == _socket.AF_UNIX:
            return 0
        return self._ask(kernel.unacknowledged) - self._ask(kernel.unsent)

    def _ask(self, question: Callable[[trio.socket.SocketType], int]) -> int:
        """Return what the kernel knows of the socket. Raises StreamBroken."""
        if self.broken is not None:
            raise StreamBroken(self.broken)
        try:
            return question(self._socket)
        except OSError as error:
            raise StreamBroken(_os_reason(error)) from None

    def _give(self) -> None:
        """Give the kernel what it takes of ``_unsent``. Raises BlockingIOError if that is not all
        of it, and what else goes wrong.
        """
        unsent, activity = self._unsent, self.activity
        fd = self._open_fd()
        if self._engine is None:
            count = os.writev(fd, unsent[:_MAX_PIECES])
            activity.bytes_written += count
            while unsent and count >= len(unsent[0]):
                count -= len(unsent.pop(0))
            if count:
                unsent[0] = memoryview(unsent[0])[count:]
            return
        piece = unsent[0]
        if self.expects_answers and len(piece) > _RECORD:
            piece = memoryview(piece)[:_RECORD]
        is_whole = self._engine.send(piece)
        if not self._is_begun:
            activity.bytes_written += len(piece)
        self._is_begun = not is_whole
        if not is_whole:
            raise BlockingIOError
        if len(piece) == len(unsent[0]):
            del unsent[0]
        else:
            unsent[0] = memoryview(unsent[0])[len(piece) :]

    async def _write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write what an earlier, cancelled send left over, then ``pieces``."""
        unsent = self._unsent
        unsent += pieces
        activity = self.activity
        started = activity.sending_since = trio.current_time()
        full = False  # the kernel's buffer: what it takes then, the peer has made room for
        is_woken = False  # because there is room again
        try:
            while unsent:
                # What the kernel takes at once needs no turn of the scheduler: whoever sends waits
                # for something else soon enough. It saves 10 % of a small message.
                try:
                    self._give()
                except BlockingIOError:
                    if is_woken and self._engine is not None:  # it has taken a part
                        activity.progress_at = trio.current_time()
                    full = True
                    is_woken = await self._wait_writable()
                    continue
                if full:
                    activity.progress_at = trio.current_time()
                full = bool(unsent) and self._engine is None
        except (OSError, trio.ClosedResourceError) as error:
            raise self._fail(error) from None
        except TlsError as error:
            raise self._break(f"TLS: {error}") from None
        finally:
            activity.sending_since = None
        now = activity.sent_at = trio.current_time()
        if now - started > _WAITED:
            activity.progress_at = now

    async def _wait_writable(self) -> bool:
        """Wait for room in the kernel's buffer; False: only a receive was meant to be woken."""
        try:
            await trio.lowlevel.wait_writable(self._open_fd())
        except trio.ClosedResourceError:
            if self._socket.fileno() < 0:
                raise
            return False  # see ``interrupt``
        return True

    # -- endings -----------------------------------------------------------------------------------

    async def send_eof(self) -> None:
        """Say that nothing more will be sent: close_notify where there is TLS, then FIN.

        Raises StreamBroken.
        """
        async with self._send_lock:
            if self.broken is not None:
                raise StreamBroken(self.broken)
            await self._write([])
            try:
                if self._engine is not None and self.close_notify:
                    self._open_fd()
                    while not self._engine.send_close():
                        await self._wait_writable()
                        self._open_fd()
                self._socket.shutdown(_socket.SHUT_WR)
            except (OSError, trio.ClosedResourceError) as error:
                raise self._fail(error) from None

    async def aclose(self) -> None:
        """Close in order, within 5 s; a peer that takes nothing more is cut off. Never raises."""
        if self.broken is None:
            with (
                trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT),
                contextlib.suppress(StreamBroken),
            ):
                await self.send_eof()
        self.broken = self.broken or "closed"
        self._socket.close()

    def close_nowait(self) -> None:
        """Close in order as far as nothing has to be waited for; else cut. Never raises.

        For whoever has something better to do than to wait for a peer that has got everything.
        """
        if self.broken is None and not self._end_nowait():
            self.abort()
        self.broken = self.broken or "closed"
        self._socket.close()

    def _end_nowait(self) -> bool:
        """Send close_notify where there is TLS; say whether the peer can get all that it should."""
        if self._unsent or self._send_lock.locked():
            return False
        if self._engine is None or not self.close_notify:
            return True
        return self._socket.fileno() >= 0 and self._engine.send_close()

    def abort(self) -> None:
        """Close at once, with a reset where TCP allows, so that the peer sees that something is
        missing.
        """
        self.broken = self.broken or "aborted"
        with contextlib.suppress(OSError):  # already disconnected: closing is enough
            self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _ABORT)
        self._socket.close()

    def _fail(self, error: OSError | trio.ClosedResourceError) -> StreamBroken:
        """Take note of what the system says about the connection."""
        if self.broken is None and isinstance(error, OSError):
            self.was_reset = error.errno in _RESETS
        return self._break(_os_reason(error))

    def _break(self, reason: str) -> StreamBroken:
        self.broken = self.broken or reason
        return StreamBroken(self.broken)


def _peer_of(sock: trio.socket.SocketType) -> PeerAddress:
    return _address_of(sock, sock.getpeername)


def _address_of(sock: trio.socket.SocketType, name_of: Callable[[], Any]) -> PeerAddress:
    if sock.family == _socket.AF_UNIX:
        return PeerAddress("unix", 0)
    try:
        name = name_of()
    except OSError:
        return UNKNOWN  # it was reset before we looked
    # The kernel writes an IPv4 peer of a dual-stack socket as ::ffff:1.2.3.4; people and networks
    # do not.
    return PeerAddress(name[0].removeprefix("::ffff:"), name[1])


def _os_reason(error: Exception) -> str:
    if isinstance(error, trio.ClosedResourceError):
        return "closed on this side"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
