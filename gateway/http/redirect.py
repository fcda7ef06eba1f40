"""Sending people from http to https.

Owns: who is sent on, and where to: the host that the client used, and the public port.

Must not know: routes' rules, how the answer is sent.

Agents are never sent on: Java follows no redirect from http to https, so a redirected agent would
only try again for ever (PROTOCOLS I.5). They get an answer that says what is wrong instead.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import RemoteProtocolError
from gateway.http.exchange import Exchange
from gateway.http.exposure import is_agents

# Unlike 301, it keeps method and body (RFC 9110 section 15.4.9).
REDIRECT_STATUS: Final = 308
_HTTPS_PORT: Final = 443


def https_location(exchange: Exchange) -> bytes | None:
    """Return where a routed request is to be sent, None where it is served here.

    Raises RemoteProtocolError for a request that names no host: nobody knows which https that is.
    """
    port = exchange.listener.redirect_to_https
    if port is None or exchange.scheme != "http":
        return None
    if is_agents(exchange.match, exchange.request):
        return None
    host = exchange.provenance.host
    if host is None:
        raise RemoteProtocolError("use https")
    target = exchange.request.target
    name = _without_port(host)
    shown = b"" if port == _HTTPS_PORT else b":%d" % port
    return b"https://" + name + shown + (target if target[:1] == b"/" else b"/")


def _without_port(host: bytes) -> bytes:
    if host[:1] == b"[":
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0]
