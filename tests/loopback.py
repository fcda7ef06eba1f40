"""Pairs of connected sockets for tests, on 127.0.0.1 or inside this process."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gateway.transport.stream import Stream
from gateway.transport.tls import TlsEngine
from gateway.transport.tls_context import ServerContexts
from tests import certificates

TlsPeerStream = trio.SSLStream[trio.SocketStream]
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


@asynccontextmanager
async def tls_stream(
    contexts: ServerContexts, *, tcp: bool = False, version: ssl.TLSVersion | None = None
) -> AsyncIterator[tuple[Stream, TlsPeerStream]]:
    """Yield a server's ``Stream`` with its TLS handshake done, and the client's end."""
    async with stream_and_socket(tcp=tcp) as (stream, far):
        context = certificates.client_context(version)
        peer = trio.SSLStream(far, context, server_hostname="localhost")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.do_handshake)
            await stream.start_tls(TlsEngine(contexts.entry, server_side=True))
        yield stream, peer


async def receive_all(peer: trio.abc.ReceiveStream) -> bytes:
    """Read until the end."""
    data = b""
    while piece := await peer.receive_some(65536):
        data += piece
    return data


def reset(stream: trio.SocketStream) -> None:
    """Close so that the other end sees a reset."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    stream.socket.close()
