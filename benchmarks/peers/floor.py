"""The floor: a relay that decrypts, copies and encrypts, and nothing else.

Owns: as little as Python can do for the same bytes. No framing, no checks, no limits, no timers, no
log; it is not a proxy that anybody could use. One epoll loop, pyOpenSSL on the sockets of both
sides as in the gateway, with its allocator settings; up to 512 KiB into one buffer. Back-pressure
is blocking sends.

``python -m benchmarks.peers.floor PORT FAR_PORT CHAIN KEY`` relays to 127.0.0.1:FAR_PORT until
killed.
"""

from __future__ import annotations

import select
import socket
import sys
from typing import Final

from OpenSSL import SSL

_BUFFER: Final = memoryview(bytearray(512 * 1024))
_RECORD: Final = 16 * 1024
_PARTIAL_WRITE: Final = 1  # SSL_MODE_ENABLE_PARTIAL_WRITE


class _Side:
    """One of the two connections."""

    def __init__(self, sock: socket.socket, context: SSL.Context, *, server_side: bool) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.tls = SSL.Connection(context, sock)
        if server_side:
            self.tls.set_accept_state()
        else:
            self.tls.set_connect_state()

    def shake_hands(self) -> None:
        self.tls.do_handshake()
        self.sock.setblocking(False)

    def receive(self) -> memoryview:
        """Return what is there, decrypted, until the next call; SSL.ZeroReturnError is the end."""
        size = 0
        try:
            while size <= len(_BUFFER) - _RECORD:
                size += self.tls.recv_into(_BUFFER[size : size + _RECORD])
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            if not size:
                raise
        return _BUFFER[:size]

    def send(self, data: memoryview) -> None:
        while data:
            try:
                data = data[self.tls.send(data) :]
            except SSL.WantWriteError:
                select.select([], [self.sock], [])


def _contexts(chain: str, key: str) -> tuple[SSL.Context, SSL.Context]:
    server, client = SSL.Context(SSL.TLS_METHOD), SSL.Context(SSL.TLS_METHOD)
    for context in (server, client):
        context.clear_mode(_PARTIAL_WRITE)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    server.use_certificate_chain_file(chain)
    server.use_privatekey_file(key)
    return server, client


def main() -> None:
    port, far_port = int(sys.argv[1]), int(sys.argv[2])
    server, client = _contexts(*sys.argv[3:5])
    listener = socket.create_server(("127.0.0.1", port))
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    sides: dict[int, tuple[_Side, _Side]] = {}
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                try:
                    near = _Side(listener.accept()[0], server, server_side=True)
                    near.shake_hands()
                    far_sock = socket.create_connection(("127.0.0.1", far_port))
                    far = _Side(far_sock, client, server_side=False)
                    far.shake_hands()
                except (OSError, SSL.Error):
                    continue  # somebody only looked whether the port is open
                for side, other in ((near, far), (far, near)):
                    sides[side.sock.fileno()] = side, other
                    epoll.register(side.sock, select.EPOLLIN)
            elif fd in sides:
                side, other = sides[fd]
                try:
                    other.send(side.receive())
                except (OSError, SSL.Error):
                    for each in (side, other):
                        del sides[each.sock.fileno()]
                        each.sock.close()


if __name__ == "__main__":
    main()
