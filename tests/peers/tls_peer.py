"""The other end of a TLS connection, played by the standard library on memory BIOs.

Owns: moving ciphertext in and out of ``ssl.SSLObject``; it shares no code with ``transport.tls``.
"""

from __future__ import annotations

import contextlib
import ssl


class TlsPeer:
    """One end, as a client or as a server."""

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        self.handshake_done = False
        self.closed = False

    def handshake(self, data: bytes = b"") -> bytes:
        """Take a step; return ciphertext to send. Raises ssl.SSLError; see ``data_to_send``."""
        self._incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            self.handshake_done = True
        return self.data_to_send()

    def data_to_send(self) -> bytes:
        return self._outgoing.read()

    def send(self, data: bytes) -> bytes:
        """Return ``data`` as ciphertext."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        return self.data_to_send()

    def send_close(self) -> bytes:
        """Return a close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):  # the other end's has not come
            self.tls.unwrap()
        return self.data_to_send()

    def receive(self, data: bytes) -> bytes:
        """Return what ``data`` decrypts to; ``closed`` is set by a close_notify."""
        self._incoming.write(data)
        plain = b""
        while not self.closed:
            try:
                piece = self.tls.read(65536)
            except ssl.SSLWantReadError:
                break
            self.closed = not piece
            plain += piece
        return plain
