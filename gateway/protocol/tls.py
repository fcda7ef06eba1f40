"""One end of a TLS connection on OpenSSL memory BIOs, for both roles.

Owns: the order in which OpenSSL's buffers are filled and drained, and the names of OpenSSL's
errors, which end here as ``TlsError``. Used for the agent leg (server) and the controller leg
(client).

Must not know: sockets, who the peer is, which certificates there are (``transport/tls_context``).

Theory of operation. OpenSSL sees two memory BIOs: ciphertext that arrived goes into the one,
ciphertext to send comes out of the other. Five traps shape this file:

* A memory BIO never shrinks. Ciphertext is therefore written into it in pieces of whole records,
  of about 32 KiB at most, and plaintext is encrypted in pieces of 32 KiB.
* ``bio_write(b"")`` fails.
* Reading may produce bytes to send (handshake, KeyUpdate, alerts), so: write, read, *then* drain.
  After a failed handshake the alert is still in the BIO and must be drained too.
* To read until WantRead costs an exception, 5 µs of a small message. So records are counted, and
  where the last one is whole, as many are read. Never too few: what is left of one is read until
  WantRead, so that OpenSSL takes it out of the BIO, and looks at once at what is no record.
* ``SSL_MODE_ENABLE_PARTIAL_WRITE``, which pyOpenSSL sets, would end each write after one record;
  contexts made by ``transport/tls_context`` clear it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import (
    DNSName,
    SubjectAlternativeName,
    UniformResourceIdentifier,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

# OpenSSL keeps a memory BIO at the largest size it ever had, and there are four to a session. Two
# full records: bulk costs 2 % more than with four, and 20 % less than with one.
BIO_PIECE: Final = 32 * 1024
# SSL_read returns at most one record, and RFC 8446 section 5.1 caps its plaintext at 2^14 bytes.
_RECORD: Final = 16 * 1024
_HEADER: Final = 5
_EXPANSION: Final = 256 + _HEADER  # of a record of TLS 1.3, section 5.2; usually 22
_UNTIL_THERE_IS_NO_MORE: Final = 1 << 30
# Handshake messages and KeyUpdates wait here for the next send; a peer that makes us owe more is
# hostile.
_MAX_UNSENT: Final = 64 * 1024
# After how much what we owe is looked at, where plaintext comes; a look costs 2 µs. A full receive
# is more than that, and is looked at.
_MAX_UNCHECKED: Final = 256 * 1024


class TlsError(Exception):
    """TLS failed for good; the text names OpenSSL's reason and never holds peer data."""


class TlsEngine:
    """Encrypt and decrypt one connection.

    ``peer_closed`` is true once close_notify arrived; ``records`` is how many the last call of
    ``receive_data`` was given whole. All methods raise TlsError and nothing else.
    """

    __slots__ = (
        "_connection",
        "_header",
        "_is_fresh",
        "_missing",
        "_unchecked",
        "_unsent",
        "handshake_done",
        "peer_closed",
        "records",
        "server_side",
    )

    def __init__(
        self, context: SSL.Context, *, server_side: bool, server_name: str | None = None
    ) -> None:
        self._connection = SSL.Connection(context, None)
        self._unsent = b""
        self._unchecked = 0  # ciphertext read since _drain
        self._is_fresh = True  # something may have come with the last handshake message
        self._header = b""  # of the record under way, while it is not complete
        self._missing = 0  # bytes of the record under way
        self.handshake_done = False
        self.peer_closed = False
        self.records = 0
        self.server_side = server_side
        if server_side:
            self._connection.set_accept_state()
            return
        self._connection.set_connect_state()
        if server_name is not None:
            self._connection.set_tlsext_host_name(server_name.encode("idna"))

    @property
    def connection(self) -> SSL.Connection:
        """The OpenSSL connection, for certificate checks in ``transport``."""
        return self._connection

    @property
    def version(self) -> str:
        return self._connection.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        return self._connection.get_cipher_name() or "none"

    @property
    def server_name(self) -> str | None:
        """The name the client asked for by SNI, if any."""
        name = self._connection.get_servername()
        return None if name is None else name.decode("ascii", "replace")

    def peer_public_key(self) -> bytes | None:
        """Return the DER SubjectPublicKeyInfo of the peer's first certificate, or None without one.

        Raises TlsError when the key is of a kind that cannot be read.
        """
        certificate = self._connection.get_peer_certificate()
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
        certificate = self._connection.get_peer_certificate()
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
        certificate = self._connection.get_peer_certificate()
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

    def handshake(self, data: bytes = b"") -> bytes:
        """Take a step with ``data`` received; return bytes to send. Sets ``handshake_done``.

        On TlsError, ``data_to_send`` still yields the alert that tells the peer why.
        """
        if data:
            self._feed(data)
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            raise TlsError(openssl_reason(error)) from None
        else:
            self.handshake_done = True
        return self.data_to_send()

    def receive_data(self, data: bytes | memoryview) -> bytes:
        """Decrypt ``data``; return all plaintext that is complete, possibly nothing."""
        plain: list[bytes] = []
        self.records = 0
        try:
            if self._is_fresh or not data:
                self._is_fresh = False
                self._read(plain, _UNTIL_THERE_IS_NO_MORE)
            if 0 < len(data) <= BIO_PIECE:
                self._read(plain, self._feed(data))
            elif data:
                view = memoryview(data)
                start = 0
                while start < len(view):
                    stop = self._boundary(view, start)
                    self._read(plain, self._feed(view[start:stop]))
                    start = stop
        except SSL.ZeroReturnError:
            self.peer_closed = True
        except SSL.SysCallError as error:
            # Java says user_canceled in front of close_notify; OpenSSL takes that end in, but
            # reports it as a system call that failed.
            if not self._connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
                raise TlsError(openssl_reason(error)) from None
            self.peer_closed = True
        except SSL.Error as error:
            raise TlsError(openssl_reason(error)) from None
        self._unchecked += len(data)
        if not plain or self._unchecked > _MAX_UNCHECKED:
            # There may have been KeyUpdates that want an answer each. Bound what we owe.
            self._drain()
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def _read(self, plain: list[bytes], count: int) -> None:
        """Read ``count`` records, or as many as hold data: each at most what one read takes."""
        read = self._connection.recv
        append = plain.append
        try:
            for _ in range(count):
                append(read(_RECORD))
        except SSL.WantReadError:
            return

    def _boundary(self, data: memoryview, start: int) -> int:
        """Return up to where ``data`` is to be fed next: whole records where there are any."""
        end = min(start + BIO_PIECE + 2 * _EXPANSION, len(data))
        pos = start + self._missing
        if self._header or pos > end:
            return end
        while end - pos >= _HEADER:
            after = pos + _HEADER + (data[pos + 3] << 8 | data[pos + 4])
            if after > end:
                break
            pos = after
        return pos if pos > start else end

    def _feed(self, data: bytes | memoryview) -> int:
        """Give ``data`` to OpenSSL; return how many times to read then.

        RFC 8446 section 5.1: a header is five bytes, of which the last two are the length.
        """
        self._connection.bio_write(data)
        end = len(data)
        pos = self._missing
        if self._header:
            needed = _HEADER - len(self._header)
            self._header += bytes(data[:needed])
            if end < needed:
                return _UNTIL_THERE_IS_NO_MORE
            pos = needed + (self._header[3] << 8 | self._header[4])
            self._header = b""
        count = int(0 < pos <= end)
        while end - pos >= _HEADER:
            pos += _HEADER + (data[pos + 3] << 8 | data[pos + 4])
            count += pos <= end
        self.records += count
        if pos < end:
            self._header = bytes(data[pos:])
        self._missing = max(pos - end, 0)
        return count if pos == end else _UNTIL_THERE_IS_NO_MORE

    def send_data(self, data: bytes | memoryview) -> list[bytes]:
        """Encrypt ``data``; return the ciphertext to send, in order, in pieces of about 32 KiB."""
        out: list[bytes] = []
        if self._unsent:
            out.append(self._unsent)
            self._unsent = b""
        connection = self._connection
        try:
            if len(data) <= BIO_PIECE:
                connection.send(data)
                out.append(self._take_records())
            else:
                view = memoryview(data)
                for start in range(0, len(view), BIO_PIECE):
                    connection.send(view[start : start + BIO_PIECE])
                    out.append(self._take_records())
        except SSL.Error as error:
            raise TlsError(openssl_reason(error)) from None
        return out

    def data_to_send(self) -> bytes:
        """Take all ciphertext that waits to be sent."""
        self._drain()
        data, self._unsent = self._unsent, b""
        return data

    def send_close(self) -> bytes:
        """Send close_notify; return the bytes. After a failure there is nothing left to say:
        ``b""``.
        """
        try:
            self._connection.shutdown()
        except SSL.Error:
            return b""
        return self.data_to_send()

    def _take_records(self) -> bytes:
        """Take the records of one piece, and what was owed before them."""
        records = self._connection.bio_read(BIO_PIECE * 2)
        if len(records) == BIO_PIECE * 2:
            self._drain()
            records += self._unsent
            self._unsent = b""
        return records

    def _drain(self) -> None:
        self._unchecked = 0
        try:
            while True:
                self._unsent += self._connection.bio_read(BIO_PIECE)
                if len(self._unsent) > _MAX_UNSENT:
                    raise TlsError("the peer asks for more answers than it reads")
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise TlsError(openssl_reason(error)) from None


def openssl_reason(error: SSL.Error) -> str:
    """Turn OpenSSL's error into a short text; it only ever holds OpenSSL's own words."""
    if isinstance(error, SSL.SysCallError):
        return "connection ended inside TLS"
    if error.args and isinstance(error.args[0], list):
        reasons = [entry[2] for entry in error.args[0] if len(entry) > 2 and entry[2]]
        if reasons:
            return "; ".join(dict.fromkeys(reasons))
    return type(error).__name__
