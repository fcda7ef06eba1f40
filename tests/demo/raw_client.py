"""A TCP agent in blocking sockets and stdlib ssl, written from PROTOCOLS B.3 and C alone.

It shares no code with the stand-in controller that it examines, and runs in a thread.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeVar

import trio

CAPABILITY = b"rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAf4="
T = TypeVar("T")


def framed(body: bytes | str) -> bytes:
    """Put a 16-bit length in front."""
    data = body.encode() if isinstance(body, str) else body
    return struct.pack(">H", len(data)) + data


class RawClient:
    """One connection to a TCP agent port; every wait is bounded by ``timeout`` seconds."""

    def __init__(self, address: tuple[str, int], *, timeout: float = 10) -> None:
        self.socket: socket.socket = socket.create_connection(address, timeout=timeout)
        self.session: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all."""
        if self.session is None:
            self.socket.sendall(data)
            return
        self.session.write(data)
        self.socket.sendall(self._outgoing.read())

    def receive(self, size: int) -> bytes:
        """Receive at most ``size`` bytes, nothing at the end; SSLEOFError at a FIN inside TLS."""
        if self.session is None:
            return self.socket.recv(size)
        session = self.session
        try:
            return self._with_tls(lambda: session.read(size))
        except ssl.SSLZeroReturnError:
            return b""

    def read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes; EOFError if there are fewer."""
        data = b""
        while len(data) < size:
            piece = self.receive(size - len(data))
            if not piece:
                raise EOFError(f"{len(data)} of {size} bytes")
            data += piece
        return data

    def frame(self) -> bytes:
        """Read one string with a 16-bit length."""
        return self.read(struct.unpack(">H", self.read(2))[0])

    def rest(self) -> tuple[bytes, str]:
        """Read to the end; say whether that was an EOF, a bare one under TLS, or a reset."""
        data = b""
        try:
            while piece := self.receive(65536):
                data += piece
        except ssl.SSLEOFError:
            return data, "bare eof"
        except ConnectionResetError:
            return data, "reset"
        return data, "eof" if self.session is None else "close_notify"

    def tls(self, *, version: ssl.TLSVersion | None = None) -> bytes:
        """Start TLS without checking anything; return the server's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if version is not None:
            context.minimum_version = context.maximum_version = version
        session = self.session = context.wrap_bio(self._incoming, self._outgoing)
        self._with_tls(session.do_handshake)
        certificate = session.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate

    def close_notify(self) -> None:
        """Say close_notify, and close without waiting for the other one."""
        assert self.session is not None
        with suppress(ssl.SSLWantReadError):
            self.session.unwrap()
        self.socket.sendall(self._outgoing.read())
        self.socket.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.socket.sendall(self._outgoing.read())

    def _with_tls(self, action: Callable[[], T]) -> T:
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                self._flush()
            else:
                self._flush()
                return result
            data = self.socket.recv(65536)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def preamble(self, protocol: str = "JNLP4-connect") -> None:
        """Ask for a protocol and exchange ACKs."""
        self.send(framed(f"Protocol:{protocol}") + framed("ACK"))
        assert self.read(5) == b"\0\3ACK"

    def hello(self, node: str, secret: str, **more: str) -> tuple[str, str]:
        """Go on to the controller's verdict; return its cookie and the verdict."""
        self.preamble()
        self.tls()
        headers = {"Node-Name": node, "Secret-Key": secret, **more}
        self.send(framed(json.dumps(headers)))
        cookie = json.loads(self.frame())["JnlpAgentProtocol.cookie"]
        return cookie, self.frame().decode()

    def open(self, node: str, secret: str, **more: str) -> str:
        """Open a channel; return the controller's cookie."""
        cookie, verdict = self.hello(node, secret, **more)
        assert verdict == "OK"
        self.send(framed("OK"))
        assert self.frame() == CAPABILITY
        self.send(framed(CAPABILITY))
        return cookie

    def refused(self) -> tuple[bytes, str]:
        """Say what an agent says after a refusal, and read to the end."""
        self.send(framed("OK"))
        self.send(framed("BYE"))
        return self.rest()


async def dialog(address: tuple[str, int], talk: Callable[[RawClient], T]) -> T:
    """Run ``talk`` with a fresh connection in a thread."""

    def run() -> T:
        with RawClient(address) as client:
            return talk(client)

    return await trio.to_thread.run_sync(run)
