"""Introducing a client to a controller by the PROXY protocol.

Owns: which addresses go into the header: the client's, as far as it is believed, and the one that
it connected to.

Must not know: the header's bytes (``protocol.proxy_protocol``), connections to controllers.
"""

from __future__ import annotations

from gateway.config.networks import is_ip_address
from gateway.http.exchange import Exchange
from gateway.protocol.proxy_protocol import Endpoint, write_proxy_header


def proxy_header(exchange: Exchange) -> bytes:
    """Return the header for the connection that is to serve ``exchange``.

    The client's port is known only where the client is the peer, and not one that a trusted proxy
    speaks for; else it is 0.
    """
    peer = exchange.peer
    client = exchange.client_address
    local = exchange.stream.local_address()
    source = _endpoint(client, peer.port if client == peer.host else 0)
    return write_proxy_header(source, _endpoint(local.host, local.port))


def _endpoint(host: str, port: int) -> Endpoint | None:
    """Return an address, None for one that is not known, or that is a Unix socket's."""
    return Endpoint(host, port) if is_ip_address(host) else None
