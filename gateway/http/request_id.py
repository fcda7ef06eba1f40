"""The id of a request, by which log lines, controllers and clients speak of the same one.

Owns: making one, and whom to believe about one: a trusted proxy that sends a well-formed
``X-Request-Id``, as ingress-nginx does. It is also the error id that a client is told.

Must not know: who logs it, where it is sent.
"""

from __future__ import annotations

import random
import re
from typing import Final

from gateway.protocol.http_headers import Headers

# Without 0, 1, l and o: ids are read aloud and typed.
_ALPHABET: Final = "23456789abcdefghijkmnpqrstuvwxyz"
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
# Hexadecimal (nginx), UUIDs (Envoy), base64url: nothing that means something in a log or a shell.
_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{7,127}")


def new_request_id() -> str:
    """Return a request id that people can copy, such as ``k3vq-9x2m`` (40 random bits).

    A name and no secret: asking the kernel for better bits is 8 µs of a request's 250.
    """
    bits = random.getrandbits(40)
    pairs = _PAIRS[bits & 1023], _PAIRS[bits >> 10 & 1023]
    more = _PAIRS[bits >> 20 & 1023], _PAIRS[bits >> 30]
    return f"{pairs[0]}{pairs[1]}-{more[0]}{more[1]}"


def given_request_id(headers: Headers) -> str | None:
    """Return the id in ``X-Request-Id`` if it is the only one and well-formed."""
    values = headers.get_all(b"x-request-id")
    if len(values) != 1 or _WELL_FORMED.fullmatch(values[0]) is None:
        return None
    return values[0].decode("ascii")
