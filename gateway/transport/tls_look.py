"""A look at a TLS server: what it speaks and which certificates it sends, believing nothing.

Owns: one handshake without verification, down to TLS 1.0, so that what is wrong with a server can
be said instead of only that it is. Nothing may be sent over such a connection.

Must not know: who is to be believed, what a certificate means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

_PIECE: Final = 16 * 1024
# Server flights are a few KiB; what is longer than this is not a handshake.
_MOST: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class TlsLook:
    """``version``: such as ``TLSv1.3``. ``chain``: what the server sent, in DER, its own first."""

    version: str
    cipher: str
    chain: tuple[bytes, ...]


class TlsLookFailed(Exception):
    """There was no handshake; the text is OpenSSL's reason, or says that the server left.

    ``wants_certificate``: the server had asked for one of ours before.
    """

    def __init__(self, reason: str, *, wants_certificate: bool = False) -> None:
        super().__init__(reason)
        self.wants_certificate = wants_certificate


async def look(stream: trio.abc.Stream, server_name: str | None) -> TlsLook:
    """Shake hands over ``stream`` and say what was seen; the caller closes it.

    ``server_name``: for SNI; None where the target is an address. Raises TlsLookFailed.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_cipher_list(b"ALL:!aNULL:@SECLEVEL=0")
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if server_name is not None:
        connection.set_tlsext_host_name(server_name.encode("idna"))
    received = 0
    while not _has_shaken_hands(connection):
        try:
            await _flush(connection, stream)
            data = await stream.receive_some(_PIECE)
        except trio.BrokenResourceError:
            raise TlsLookFailed("the connection was reset") from None
        received += len(data)
        if not data:
            raise TlsLookFailed("the connection was closed")
        if received > _MOST:
            raise TlsLookFailed("what came is no TLS handshake")
        connection.bio_write(data)
    chain = connection.get_peer_cert_chain() or []
    ders = (each.to_cryptography().public_bytes(Encoding.DER) for each in chain)
    return TlsLook(
        connection.get_protocol_version_name(), connection.get_cipher_name() or "none", tuple(ders)
    )


def _has_shaken_hands(connection: SSL.Connection) -> bool:
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    except SSL.Error as error:
        reasons = [entry[-1] for entry in error.args[0]] if error.args else []
        asked = bool(connection.get_client_ca_list())
        reason = str(reasons[-1]) if reasons else "TLS failed"
        raise TlsLookFailed(reason, wants_certificate=asked) from None
    return True


async def _flush(connection: SSL.Connection, stream: trio.abc.Stream) -> None:
    while True:
        try:
            data = connection.bio_read(_PIECE)
        except SSL.WantReadError:
            return
        await stream.send_all(data)
