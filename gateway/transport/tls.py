"""One end of a TLS connection on a socket, for both roles.

Owns: what OpenSSL is asked for and when, and the names of its errors, which end here as
``TlsError``. Used for the agent leg (server) and the controller leg (client).

Must not know: who waits for the socket (``transport/stream``), who the peer is, which certificates
there are (``transport/tls_context``).

Theory of operation. OpenSSL reads and writes the socket itself, record by record; where the socket
is not ready, whoever called waits and calls again. There are no memory BIOs between, as a sans-I/O
engine would need: those cost 0.25 s of CPU per GiB, two to four copies of each byte, and they never
shrink, which is 200 KiB of each session that ever was in bulk. What follows from it:

* OpenSSL takes no more than one record from the kernel, so what it has not asked for is still
  there, and a socket that is readable says so again. Nothing is lost by stopping early.
* To read until there is no more costs an exception, 5 us of a small message. So the kernel is asked
  how much there is, and as much is read.
* A write that finds the kernel's buffer full has taken a part of its data; it must be called again
  with the same data, and nothing else may be written before.
* ``SSL_MODE_ENABLE_PARTIAL_WRITE``, which pyOpenSSL sets, would end each write after one record;
  contexts made by ``transport/tls_context`` clear it.
* A write that fails (the peer has reset the connection) ends reading, too, and with it what the
  peer said before. So each begins with a look at the connection.
* pyOpenSSL has each read go on while the peer sends messages of TLS itself and no data. So they are
  counted (``note_message``), and a peer that sends them without end is cut off. What OpenSSL passes
  over without a word cannot be counted: HelloRequests before a server's hello, parts of a message.
* Two KeyUpdates that ask for an answer while a write is half done are more than OpenSSL bears: that
  connection ends. RFC 8446 section 5.5 has one in millions of records.
"""

from __future__ import annotations

import errno
import os
import socket as _socket
from contextlib import suppress
from enum import Enum
from typing import Final, cast

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import (
    DNSName,
    SubjectAlternativeName,
    UniformResourceIdentifier,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from gateway.transport import kernel

# SSL_read returns at most one record, and RFC 8446 section 5.1 caps its plaintext at 2^14 bytes.
_RECORD: Final = 16 * 1024
# Header, content type and tag of a record of TLS 1.3 (section 5.2). It only decides when to stop:
# those of AES-GCM in TLS 1.2 are longer, and the last read finds nothing; others may be shorter.
_OVERHEAD: Final = 5 + 1 + 16
# What one call of ``receive`` takes. Small records are no bulk, and cost more each than their
# bytes: so many of them are half a millisecond.
_MAX_RECORDS: Final = 128
_MAX_RECEIVED: Final = 512 * 1024
# After so much it pays to ask for more before the next wake-up: 5 % of downloads.
_BULK: Final = 32 * 1024
# What OpenSSL may report in one call of ``receive`` of messages of TLS itself (KeyUpdates, tickets,
# alerts): about seven lines for each, so 140 of them. A peer that follows RFC 8446 section 5.5
# sends one KeyUpdate in millions of records.
_MAX_REPORTS: Final = 1000
_DROPPED: Final = 256 * 1024  # bytes at a time


class TlsError(Exception):
    """TLS failed for good; the text names OpenSSL's reason and never holds peer data."""


class Want(Enum):
    """What the socket has to be before a call is made again."""

    READABLE = "readable"
    WRITABLE = "writable"


class _Messages:
    """How many messages of TLS a peer may still send before ``sock`` is shut."""

    __slots__ = ("left", "sock")

    def __init__(self, sock: kernel.Socket) -> None:
        self.left: int | None = None  # None: nobody reads, or it is a handshake, which ends
        self.sock = sock


def note_message(connection: SSL.Connection, _where: int, _value: int) -> None:
    """Count a message of TLS: the info callback of every context (``transport/tls_context``)."""
    messages: _Messages | None = connection.get_app_data()
    if messages is None or messages.left is None:
        return
    messages.left -= 1
    if messages.left == 0:
        with suppress(OSError):
            messages.sock.shutdown(_socket.SHUT_RDWR)  # nothing more is taken in
            while os.read(messages.sock.fileno(), _DROPPED):  # and OpenSSL finds an end
                pass


class TlsEngine:
    """Encrypt and decrypt one connection.

    ``peer_closed`` is true once close_notify arrived or the connection ended without; to send is
    still possible then. Methods that use the socket need it connected, non-blocking and open; they
    raise TlsError, and OSError with what the system says about the connection.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_failure",
        "_messages",
        "_server_name",
        "_socket",
        "handshake_done",
        "peer_closed",
        "server_side",
        "wants",
    )

    def __init__(
        self, context: SSL.Context, *, server_side: bool, server_name: str | None = None
    ) -> None:
        self._context = context
        self._server_name = server_name
        self._connection: SSL.Connection | None = None
        self._failure: OSError | None = None  # to be raised when what came before has been received
        self.handshake_done = False
        self.peer_closed = False
        self.wants = Want.READABLE  # what the last ``receive`` that brought nothing waits for
        self.server_side = server_side

    def attach(self, sock: kernel.Socket) -> None:
        """Use ``sock`` from now on; nothing of the peer's TLS may have been read from it."""
        # All that pyOpenSSL wants of a socket is its fileno().
        connection = SSL.Connection(self._context, cast("_socket.socket", sock))
        self._connection = connection
        self._socket = sock
        self._messages = _Messages(sock)
        connection.set_app_data(self._messages)
        if self.server_side:
            connection.set_accept_state()
            return
        connection.set_connect_state()
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name.encode("idna"))

    @property
    def connection(self) -> SSL.Connection:
        """The OpenSSL connection, for certificate checks in ``transport``."""
        if self._connection is None:
            raise TlsError("not attached to a socket")
        return self._connection

    @property
    def version(self) -> str:
        return self.connection.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        return self.connection.get_cipher_name() or "none"

    @property
    def server_name(self) -> str | None:
        """The name the client asked for by SNI, if any."""
        name = self.connection.get_servername()
        return None if name is None else name.decode("ascii", "replace")

    def peer_public_key(self) -> bytes | None:
        """Return the DER SubjectPublicKeyInfo of the peer's first certificate, or None without one.

        Raises TlsError when the key is of a kind that cannot be read.
        """
        certificate = self.connection.get_peer_certificate()
        if certificate is None:
            return None
        try:
            key = certificate.to_cryptography().public_key()
            return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except Exception as error:  # as in peer_names
            raise TlsError(f"unreadable certificate: {type(error).__name__}") from None

    def peer_subject(self) -> str | None:
        """Return the subject of the peer's certificate as RFC 4514 writes it, or None without one.

        Who trusts it has had it verified. Raises TlsError when it cannot be read.
        """
        certificate = self.connection.get_peer_certificate()
        if certificate is None:
            return None
        try:
            return certificate.to_cryptography().subject.rfc4514_string()
        except Exception as error:  # as in peer_names
            raise TlsError(f"unreadable certificate: {type(error).__name__}") from None

    def peer_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the common names of the peer's certificate, and its DNS and URI alternatives.

        Who trusts them has had it verified. What cannot be read is left out.
        """
        certificate = self.connection.get_peer_certificate()
        if certificate is None:
            return (), ()
        common: list[str] = []
        alternative: list[str] = []
        # A peer wrote the certificate, and what cryptography raises for odd ones has no common
        # class: UnsupportedGeneralNameType, DuplicateExtension and InvalidVersion are plain
        # Exceptions, and others are ValueError or TypeError.
        with suppress(Exception):
            found = certificate.to_cryptography().subject
            common += [
                str(each.value) for each in found.get_attributes_for_oid(NameOID.COMMON_NAME)
            ]
        with suppress(Exception):
            extensions = certificate.to_cryptography().extensions
            names = extensions.get_extension_for_class(SubjectAlternativeName).value
            alternative += names.get_values_for_type(DNSName)
            alternative += names.get_values_for_type(UniformResourceIdentifier)
        return tuple(common), tuple(alternative)

    def handshake(self) -> Want | None:
        """Take a step; return what to wait for before the next, or None when it is over.

        Where the connection ended instead, sets ``peer_closed``. On TlsError, the alert that tells
        the peer why has been sent.
        """
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return Want.READABLE
        except SSL.WantWriteError:
            return Want.WRITABLE
        except SSL.Error as error:
            self._take_end(error)
            return Want.READABLE
        self.handshake_done = True
        return None

    def receive(self) -> bytes:
        """Read what the kernel holds, 512 KiB and a record or 128 records at most; return the
        plaintext.

        Nothing: ``wants`` says what to wait for, where it is not the end. What came in front of a
        record that is wrong is lost with it.
        """
        if self._failure is not None:
            raise self._failure
        connection = self.connection
        left = kernel.unread(self._socket)
        self._messages.left = _MAX_REPORTS
        plain: list[bytes] = []
        size = 0
        try:
            while True:
                data = connection.recv(_RECORD)
                plain.append(data)
                size += len(data)
                left -= len(data) + _OVERHEAD
                if left <= 0 and size >= _BULK:
                    left = kernel.unread(self._socket)  # more has come meanwhile
                if left <= 0 or size >= _MAX_RECEIVED or len(plain) == _MAX_RECORDS:
                    break
        except SSL.WantReadError:
            self.wants = Want.READABLE
        except SSL.WantWriteError:
            self.wants = Want.WRITABLE
        except SSL.Error as error:
            self._check_messages()
            try:
                self._take_end(error)
            except OSError as failure:
                if not plain:
                    raise
                self._failure = failure
        self._check_messages()
        self._messages.left = None
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def _check_messages(self) -> None:
        """Raise TlsError where ``note_message`` has cut the peer off."""
        if self._messages.left is not None and self._messages.left <= 0:
            raise TlsError("the peer sends messages of TLS without end")

    def send(self, data: bytes | memoryview) -> bool:
        """Encrypt ``data``, which is not empty, and write it. False: the kernel took a part or
        nothing; call again with the same data once the socket is writable, before anything else.

        A peer that has reset the connection is an OSError that leaves what it sent before to be
        received, unless its reset comes within this call.
        """
        if kernel.is_gone(self._socket):
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        try:
            self.connection.send(data)
        except SSL.WantWriteError:
            return False
        except SSL.Error as error:
            raise _failure_of(error) from None
        return True

    def send_close(self) -> bool:
        """Send close_notify; False: call again once the socket is writable.

        After a failure there is nothing left to say.
        """
        try:
            self.connection.shutdown()
        except SSL.WantWriteError:
            return False
        except SSL.Error:
            return True
        return True

    def _take_end(self, error: SSL.Error) -> None:
        """Note that the peer has closed, or raise what else ``error`` means."""
        # Java says user_canceled in front of close_notify; OpenSSL takes that end in, but reports
        # it as a system call that failed.
        if isinstance(error, SSL.ZeroReturnError) or (
            isinstance(error, SSL.SysCallError)
            and self.connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN
        ):
            self.peer_closed = True
            return
        raise _failure_of(error) from None


def _failure_of(error: SSL.Error) -> TlsError | OSError:
    """Return what failed: the system, with its reason, or TLS."""
    if isinstance(error, SSL.SysCallError) and error.args[0] > 0:
        return OSError(error.args[0], os.strerror(error.args[0]))
    return TlsError(openssl_reason(error))


def openssl_reason(error: SSL.Error) -> str:
    """Turn OpenSSL's error into a short text; it only ever holds OpenSSL's own words."""
    if isinstance(error, SSL.SysCallError):
        return "connection ended inside TLS"
    if error.args and isinstance(error.args[0], list):
        reasons = [entry[2] for entry in error.args[0] if len(entry) > 2 and entry[2]]
        if reasons:
            return "; ".join(dict.fromkeys(reasons))
    return type(error).__name__
