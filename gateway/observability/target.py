"""What of a request's target may be written into a log.

Owns: masking the secrets that people and Jenkins put into addresses: query parameters and path
parameters (``;jsessionid=``) that are called like secrets, addresses with such parameters inside a
parameter (``/login?from=``), and the signature in Jenkins' resource URLs, whose bearer may read
(SECURITY-95). Whoever reads a path decodes it, some more than once, so names are looked for in the
decoded one; what is harmless is shown as it was sent.

Must not know: lines, fields, who logs.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

_MASK: Final = b"***"
_MAX_BYTES: Final = 8 * 1024  # looked at; the gate's usual limit of a request line
_DECODINGS: Final = 4
# In the name of a parameter: Jenkins' build tokens, log-ins and signed links of plugins.
_SECRET_PART: Final = re.compile(
    rb"token|secret|passw|passphrase|credential|api[-_.]?key|signature|crumb|session|jwt|saml"
    rb"|assertion|authori[sz]ation|cookie"
)
_SECRET_NAMES: Final = frozenset(
    {b"auth", b"code", b"key", b"otp", b"pin", b"pwd", b"sig", b"state", b"ticket"}
)
# Where this finds nothing in a whole query, none of its parameters is to be looked at alone.
_SUSPICIOUS: Final = re.compile(
    rb"%|(?:\A|[&;])(?:" + b"|".join(sorted(_SECRET_NAMES)) + rb")=|" + _SECRET_PART.pattern, re.I
)
_RESOURCES: Final = b"static-files"
# Separators, also as they look after they were encoded any number of times.
_SLASH: Final = re.compile(rb"(/|\\|%(?:25)*(?:2[fF]|5[cC]))")
_SEMICOLON: Final = re.compile(rb"(;|%(?:25)*3[bB])")
_EQUALS: Final = re.compile(rb"(=|%(?:25)*3[dD])")
_PAIRS: Final = re.compile(rb"([&;])")
_INNER: Final = re.compile(rb"[?&;]")


def redact_path(path: bytes) -> str:
    """Return a raw path without its secrets."""
    path = path[:_MAX_BYTES]
    if b"%" in path or b";" in path or _RESOURCES in path.lower():
        path = _redact_resource(path)
    return path.decode("latin-1")


def redact_query(query: bytes) -> str:
    """Return a query with the values of parameters that are called like secrets masked."""
    query = query[:_MAX_BYTES]
    if _SUSPICIOUS.search(query) is None:
        return query.decode("latin-1")
    parts = _PAIRS.split(query)
    return b"".join(map(_redact_parameter, parts)).decode("latin-1")


def _redact_resource(path: bytes) -> bytes:
    pieces = _SLASH.split(path)  # elements, with a separator after each but the last
    for i in range(0, len(pieces), 2):
        if _decode(_SEMICOLON.split(pieces[i])[0]).lower() == _RESOURCES:
            return b"".join(map(_redact_element, pieces[: i + 1])) + _redact_after(pieces[i + 1 :])
    return b"".join(map(_redact_element, pieces))


def _redact_after(pieces: list[bytes]) -> bytes:
    """Mask the element after the first separator; everything where it is not sure which that is."""
    if len(pieces) < 2:
        return b"".join(pieces)
    elements = [_decode(_SEMICOLON.split(each)[0]) for each in pieces[1::2]]
    if not {b".", b".."}.isdisjoint(elements) or b"" in elements[:-1]:
        return pieces[0] + _MASK
    return pieces[0] + _MASK + b"".join(map(_redact_element, pieces[2:]))


def _redact_element(element: bytes) -> bytes:
    """Mask path parameters."""
    name, *parameters = _SEMICOLON.split(element)
    return name + b"".join(map(_redact_parameter, parameters))


def _redact_parameter(part: bytes) -> bytes:
    if b"%" not in part:  # nearly all
        name, equal, _ = part.partition(b"=")
        return name + equal + _MASK if equal and _is_secret(name) else part
    name, *rest = _EQUALS.split(part, maxsplit=1)
    if not rest:
        return part
    equals, value = rest
    if _is_secret(_decode(name)) or (b"%" in value and _holds_secret(_decode(value))):
        return name + equals + _MASK
    return part


def _holds_secret(text: bytes) -> bool:
    """Say whether an address inside a parameter has a secret."""
    if _RESOURCES in text.lower():
        return True
    pairs = (each.partition(b"=") for each in _INNER.split(text))
    return any(equals and _is_secret(name) for name, equals, _ in pairs)


def _is_secret(name: bytes) -> bool:
    plain = name.lower()
    return plain in _SECRET_NAMES or _SECRET_PART.search(plain) is not None


def _decode(text: bytes) -> bytes:
    for _ in range(_DECODINGS):
        if b"%" not in text:
            break
        text = unquote_to_bytes(text)
    return text
