"""What the kernel knows of a connection. Linux; a system call each.

Owns: ioctls and ``struct tcp_info`` (linux/sockios.h, linux/tcp.h). Sandboxes have kernels of their
own, which do not know everything.

Must not know: what follows from it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket as _socket
import struct
import termios
from typing import Final

import trio

Socket = _socket.socket | trio.socket.SocketType

_SIOCOUTQNSD: Final = 0x894B  # what of TIOCOUTQ was never sent
_INT: Final = struct.Struct("i")
_BYTES_ACKED: Final = struct.Struct("=Q")  # tcpi_bytes_acked, Linux 4.1
_BYTES_ACKED_AT: Final = 120
_TCP_INFO_SIZE: Final = 128
_CLOSED: Final = bytes((7,))  # linux/tcp_states.h: TCP_CLOSE


def unread(sock: Socket) -> int:
    """Return how many bytes wait to be received; 0 also where the kernel does not know."""
    try:
        return _ask(sock, termios.FIONREAD)
    except OSError:
        return 0


def unacknowledged(sock: Socket) -> int:
    """Return how many bytes were given to the kernel that the peer's has not taken.

    Raises OSError.
    """
    return _ask(sock, termios.TIOCOUTQ)


def unsent(sock: Socket) -> int:
    """Return how many of the unacknowledged bytes have not been sent. TCP; raises OSError."""
    return _ask(sock, _SIOCOUTQNSD)


def acknowledged(sock: Socket) -> int:
    """Return how many bytes the peer's kernel has taken, of all that were ever sent. TCP.

    0 also where the kernel does not count them. Raises OSError.
    """
    info = sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _TCP_INFO_SIZE)
    if len(info) < _TCP_INFO_SIZE:
        return 0
    return int(_BYTES_ACKED.unpack_from(info, _BYTES_ACKED_AT)[0])


def is_gone(sock: Socket) -> bool:
    """Say whether the peer has reset the connection, or both sides have ended it: 0.4 us. TCP.

    False also where the kernel does not know.
    """
    try:
        info = sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, 1)
    except OSError:
        return False
    return info == _CLOSED  # tcpi_state is the first byte


def _ask(sock: Socket, what: int) -> int:
    fd = sock.fileno()
    if fd < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return int(_INT.unpack(fcntl.ioctl(fd, what, bytes(_INT.size)))[0])
