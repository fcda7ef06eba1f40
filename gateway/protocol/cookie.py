"""The connection cookie (``Connection-Cookie``, ``JnlpAgentProtocol.cookie``).

Owns: what one looks like, in one place: an agent's is echoed, a controller's is handed on, and
nothing else may ever stand in that header.
"""

from __future__ import annotations

import re
from typing import Final

# Real ones are 32 random bytes as hexadecimal; Util.fromHexString wants whole bytes.
_COOKIE: Final = re.compile(rb"(?:[0-9A-Fa-f]{2}){1,128}")


def is_cookie(value: bytes) -> bool:
    """Say whether ``value`` is hexadecimal: whole bytes, 128 of them at most."""
    return _COOKIE.fullmatch(value) is not None
