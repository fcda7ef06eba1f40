"""A ``TlsEngine`` whose socket is in the test's hands: bytes in, bytes out, as ``TlsPeer`` has it.

Owns: a socket pair, and moving everything in and out at its far end.
"""

from __future__ import annotations

import socket

from OpenSSL import SSL

from gateway.transport.tls import TlsEngine

_PIECE = 64 * 1024


class TlsWire:
    """An engine and the far end of its socket."""

    def __init__(
        self, context: SSL.Context, *, server_side: bool, server_name: str | None = None
    ) -> None:
        self.engine = TlsEngine(context, server_side=server_side, server_name=server_name)
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.engine.attach(self.near)

    def __del__(self) -> None:
        self.near.close()
        self.far.close()

    @property
    def handshake_done(self) -> bool:
        return self.engine.handshake_done

    @property
    def closed(self) -> bool:
        return self.engine.peer_closed

    def handshake(self, data: bytes = b"") -> bytes:
        """Take a step; return ciphertext to send. Raises TlsError; see ``data_to_send``."""
        self.far.sendall(data)
        self.engine.handshake()
        return self.data_to_send()

    def data_to_send(self) -> bytes:
        """Return all ciphertext that has been sent."""
        wire = b""
        while True:
            try:
                data = self.far.recv(_PIECE)
            except BlockingIOError:
                return wire
            if not data:
                return wire
            wire += data

    def send(self, data: bytes | memoryview) -> bytes:
        """Return ``data`` as ciphertext."""
        wire = b""
        while not self.engine.send(data):
            more = self.data_to_send()
            assert more, "it says that the kernel is full, and it is not"
            wire += more
        return wire + self.data_to_send()

    def send_close(self) -> bytes:
        """Return a close_notify."""
        assert self.engine.send_close()
        return self.data_to_send()

    def receive(self, data: bytes = b"") -> bytes:
        """Return what ``data`` decrypts to; ``closed`` is set by a close_notify."""
        plain = b""
        while data:
            try:
                data = data[self.far.send(data[:_PIECE]) :]
            except BlockingIOError:
                taken = self._everything()
                assert taken, "what the kernel holds is not read"
                plain += taken
        return plain + self._everything()

    def _everything(self) -> bytes:
        plain = b""
        while not self.closed and (piece := self.engine.receive()):
            plain += piece
        return plain
