"""The remoting capability as it travels in headers and JNLP4 (``hudson.remoting.Capability``).

Owns: what may stand in ``X-Remoting-Capability``. A gateway forwards each end's own string and
invents none (PROTOCOLS 0.4): a made-up one makes a peer send commands that the other cannot
understand.

Must not know: what the bits mean. Nothing is ever deserialized.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import RemoteProtocolError

# Real ones are 84 characters; an odd future one may be longer.
MAX_CAPABILITY: Final = 1024
# Base64 in independently padded groups: BinarySafeStream may flush in the middle.
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)+", re.ASCII)


def check_capability(text: str) -> str:
    """Return ``text`` if it is Base64 of at most 1 KiB; raise RemoteProtocolError otherwise."""
    if len(text) > MAX_CAPABILITY:
        raise RemoteProtocolError("X-Remoting-Capability is longer than 1 KiB")
    if _BASE64.fullmatch(text) is None:
        raise RemoteProtocolError("X-Remoting-Capability is not Base64")
    return text
