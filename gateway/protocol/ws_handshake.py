"""The WebSocket opening handshake, server side (RFC 6455 section 4.2).

Owns: what makes a request upgradable, with Jenkins' own sentences for what does not (PROTOCOLS A.3
rows 8 and 9), and the accept value.

Must not know: routes, agents' headers, how an answer is written. ``Origin`` is not checked here:
``/wsagents/`` must not (old agents send the wrong scheme), ``/cli/ws`` does so itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from gateway.errors import UpgradeRefused
from gateway.protocol.http_head import RequestHead

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_NONCE: Final = 64
NOT_AN_UPGRADE: Final = "only WS connections accepted here"


def accept_value(key: bytes) -> bytes:
    """Return ``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key`` (RFC 6455 section 4.2.2 item
    5.4).
    """
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def check_upgrade(request: RequestHead) -> bytes:
    """Return the accept value for ``request``, or raise UpgradeRefused with the reason."""
    headers = request.headers
    if not _has_token(headers.get_all(b"upgrade"), b"websocket"):
        raise UpgradeRefused(NOT_AN_UPGRADE)
    if request.version != b"1.1":
        raise UpgradeRefused(detail="HTTP/1.0")
    if not _has_token(headers.get_all(b"connection"), b"upgrade"):
        raise UpgradeRefused(detail="Connection does not say upgrade")
    if headers.get_all(b"sec-websocket-version") != [b"13"]:
        raise UpgradeRefused(detail="Sec-WebSocket-Version is not 13")
    keys = headers.get_all(b"sec-websocket-key")
    if len(keys) != 1 or not _is_nonce(keys[0]):
        raise UpgradeRefused(detail="Sec-WebSocket-Key is not one Base64 nonce")
    return accept_value(keys[0])


def upgrade_answer(accept: bytes) -> list[tuple[bytes, bytes]]:
    """Return the three headers that every 101 starts with."""
    return [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", accept),
    ]


def _has_token(values: list[bytes], token: bytes) -> bool:
    return any(part.strip().lower() == token for value in values for part in value.split(b","))


def _is_nonce(key: bytes) -> bool:
    """Say whether ``key`` is Base64. RFC 6455 wants 16 bytes, but no server counts them, and the
    recipes for trying an agent's upgrade by hand carry 13 (PROTOCOLS A.2).
    """
    try:
        return 0 < len(base64.b64decode(key, validate=True)) <= _MAX_NONCE
    except (binascii.Error, ValueError):
        return False
