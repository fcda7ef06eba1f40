"""Pairs of connected sockets for tests, on 127.0.0.1 or inside this process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gateway.transport.stream import Stream

Pair = tuple[trio.socket.SocketType, trio.socket.SocketType]


def tcp_pair() -> Pair:
    """Return the accepting and the connecting end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    near.setblocking(False)
    far.setblocking(False)
    return trio.socket.from_stdlib_socket(near), trio.socket.from_stdlib_socket(far)


@asynccontextmanager
async def stream_and_socket(
    *, tcp: bool = False
) -> AsyncIterator[tuple[Stream, trio.SocketStream]]:
    """Yield a ``Stream`` and the other end of its connection.

    Unless ``tcp`` is asked for, it is a socket pair: what one end writes is there for the other at
    once, while even on loopback TCP may take its time.
    """
    near, far = tcp_pair() if tcp else trio.socket.socketpair()
    stream = Stream(near)
    try:
        yield stream, trio.SocketStream(far)
    finally:
        stream.abort()
        far.close()
