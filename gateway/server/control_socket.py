"""``state_dir/control.sock``: how commands reach a running gateway, and that it is the only one.

Owns: the lock and the socket in ``state_dir``, who may connect (this user: mode 0600 in a folder of
mode 0700), and one question with one answer on each connection, framed as on workers' control
streams. Both ends are here.

The lock, not the socket, says that a gateway runs: a socket stays behind when its gateway is
killed, a lock does not. Both outlive the program when it is replaced by an upgrade.

Must not know: what a question means.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from gateway.errors import ConfigError
from gateway.observability.logs import get_logger
from gateway.server import unix_socket
from gateway.server.control import ControlBroken, ControlStream, Message

_log = get_logger("system")

SOCKET: Final = "control.sock"
LOCK: Final = "control.lock"
# A question is short; one that takes longer to arrive is not a command's.
MOST_ASKED: Final = 64 * 1024  # bytes
ASK_TIMEOUT: Final = 5.0
# People and scripts at a time; others wait in the backlog.
MOST_CLIENTS: Final = 16
_FULL: Final = 0.02  # seconds

# An answer, and what is to be done once it has been sent.
Answer = tuple[Message, Callable[[], None] | None]
Answerer = Callable[[Message], Awaitable[Answer]]


def lock(state_dir: Path) -> int:
    """Take the lock of ``state_dir`` and return its descriptor; ConfigError if a gateway has it."""
    path = state_dir / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be used: {unix_socket.reason_of(error)}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise ConfigError(f"{path}: cannot be locked: {unix_socket.reason_of(error)}") from None
        raise ConfigError(
            f"state_dir: {state_dir} belongs to a gateway that runs (process {owner or 'unknown'})."
            " Stop it, or give this one a state_dir of its own (or another STATE_DIRECTORY)."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def bind(state_dir: Path) -> socket.socket:
    """Make the socket, in place of a stale one. The lock must be held. Raises ConfigError."""
    return unix_socket.bind(state_dir / SOCKET, mode=0o600, backlog=MOST_CLIENTS)


def remove(state_dir: Path) -> None:
    """Remove the socket at the end, while the lock is still held."""
    with contextlib.suppress(OSError):
        (state_dir / SOCKET).unlink()


async def serve(sock: trio.socket.SocketType, answer: Answerer) -> None:
    """Answer one question on each connection, until cancelled. ``sock`` stays open."""
    places = trio.CapacityLimiter(MOST_CLIENTS)
    async with trio.open_nursery() as nursery:
        while True:
            borrower = object()
            await places.acquire_on_behalf_of(borrower)
            connection, _ = await _accept(sock)
            nursery.start_soon(_serve, connection, answer, places, borrower)


async def _accept(sock: trio.socket.SocketType) -> tuple[trio.socket.SocketType, object]:
    while True:
        try:
            return await sock.accept()
        except OSError:  # out of descriptors, or gone already
            await trio.sleep(0.1)


async def _serve(
    connection: trio.socket.SocketType,
    answer: Answerer,
    places: trio.CapacityLimiter,
    borrower: object,
) -> None:
    stream = ControlStream(trio.SocketStream(connection), limit=MOST_ASKED)
    try:
        question: Message | None = None
        with trio.move_on_after(ASK_TIMEOUT), contextlib.suppress(ControlBroken):
            question = await stream.receive()
        if question is not None:
            reply, then = await _answer(answer, question)
            with (
                trio.move_on_after(ASK_TIMEOUT),
                contextlib.suppress(trio.BrokenResourceError, ValueError),
            ):
                await ControlStream(trio.SocketStream(connection)).send(reply)
            if then is not None:
                then()
    finally:
        places.release_on_behalf_of(borrower)
        await stream.aclose()


async def _answer(answer: Answerer, question: Message) -> Answer:
    try:
        return await answer(question)
    except Exception as error:  # a bug in answering must not cost the sessions there are
        _log.error("internal error", exc_info=error)
        return {"ok": False, "reason": "internal error; the log tells more"}, None


async def ask(state_dir: Path, question: Message, *, within: float) -> Message:
    """Ask the gateway that runs on ``state_dir``. Raises ConfigError if there is none to be had."""
    with trio.move_on_after(within):
        connection = trio.socket.from_stdlib_socket(await _connect(state_dir))
        with connection:
            stream = ControlStream(trio.SocketStream(connection))
            try:
                await stream.send(question)
                reply = await stream.receive()
            except (ControlBroken, trio.BrokenResourceError):
                reply = None
        if reply is None:
            raise ConfigError(f"{state_dir / SOCKET}: the gateway ended before it answered")
        return reply
    raise ConfigError(f"{state_dir / SOCKET}: the gateway did not answer within {within:g} s")


async def _connect(state_dir: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        while True:
            try:
                with unix_socket.address_of(state_dir / SOCKET) as address:
                    sock.connect(address)
                return sock
            except BlockingIOError:  # the backlog is full, and nothing tells when it is not
                await trio.sleep(_FULL)
            except OSError as error:
                raise _nobody(state_dir, error) from None
    except BaseException:
        sock.close()
        raise


def _nobody(state_dir: Path, error: OSError) -> ConfigError:
    path = state_dir / SOCKET
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return ConfigError(
            f"{path}: no gateway runs here. Is it the folder of the one you mean? Name its"
            " configuration with -c FILE, or the folder with --state-dir; a service may have its"
            " own (STATE_DIRECTORY)."
        )
    if isinstance(error, PermissionError):
        return ConfigError(
            f"{path}: permission denied. Only the user that the gateway runs as, and root, may tell"
            " it what to do."
        )
    return ConfigError(f"{path}: cannot be reached: {unix_socket.reason_of(error)}")
