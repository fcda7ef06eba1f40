"""Headers by which a proxy makes claims about a client: log-ins by header, certificates it saw.

Owns: which names are claims, and that only those can be let through by name: the others either
travel on anyway, or are written by the gateway itself.

Must not know: whom to believe, requests.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

# Any X-Forwarded-* is a claim: plugins log people in by X-Forwarded-User and its like, and can be
# given other names.
CLAIM_PREFIX: Final = "x-forwarded-"
# What Jetty's ForwardedRequestCustomizer reads besides.
CLAIMS: Final = frozenset({"proxy-auth-cert", "proxy-ssl-id", "x-proxied-https"})
# What the gateway takes out of every request and writes itself: naming it would change nothing.
WRITTEN_HERE: Final = frozenset(
    {"forwarded", *(CLAIM_PREFIX + name for name in ("for", "host", "port", "proto"))}
)
# No pattern: a * would be taken for one, and change nothing.
_LETTERS: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyz-_")


def _check_header(text: str) -> str:
    """Return a claim's name in lower case; ValueError for others."""
    name = text.lower()
    if name in WRITTEN_HERE:
        raise ValueError("allowed: a header that the gateway does not write; this one it does")
    is_claim = name in CLAIMS or (name.startswith(CLAIM_PREFIX) and name != CLAIM_PREFIX)
    if is_claim and _LETTERS.issuperset(name):
        return name
    raise ValueError(
        "allowed: the whole name of a header that begins with X-Forwarded-, or X-Proxied-Https,"
        " Proxy-Auth-Cert, Proxy-Ssl-Id; others pass without being named"
    )


ClaimHeader = Annotated[
    str,
    AfterValidator(_check_header),
    WithJsonSchema({"type": "string", "examples": ["X-Forwarded-User", "X-Forwarded-Groups"]}),
]
