"""The PROXY protocol on a listener: who a connection really comes from.

Owns: whom to believe, the deadline, and putting the address in place of the TCP peer's.

Must not know: the header's bytes (``protocol.proxy_protocol``), TLS, HTTP.

A balancer that is not in ``trusted_proxies`` is not read at all. An address that the balancer does
not know (UNKNOWN, a Unix socket) becomes ``unknown``, which no network contains and no rule
trusts: the balancer's own address in its place would lend the client the balancer's trust. Only a
connection that the balancer makes for itself (LOCAL, such as a health check) keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from gateway.config.networks import Network, is_in
from gateway.errors import RemoteProtocolError
from gateway.protocol.proxy_protocol import ProxyHeader, ProxyHeaderReader
from gateway.transport.stream import UNKNOWN, PeerAddress, Stream, StreamBroken

# nginx: 5 s (FIELD 1a); the header is the first thing that a balancer sends.
PROXY_HEADER_TIMEOUT: Final = 5.0


async def take_proxy_header(stream: Stream, trusted: Sequence[Network]) -> str | None:
    """Read the header that ``stream`` begins with and take its address over; return the problem.

    At most 5 s. What follows the header stays to be received, TLS included.
    """
    if not is_in(trusted, stream.peer.host):
        return "a PROXY header is required here, and the peer is not in trusted_proxies"
    reader = ProxyHeaderReader()
    with trio.move_on_after(PROXY_HEADER_TIMEOUT):
        try:
            header = None
            while header is None:
                data = await stream.peek()
                if not data:
                    return "closed before its PROXY header was complete"
                header = reader.receive_data(data)
                # What follows the header is not ours to take: OpenSSL reads the socket itself.
                stream.skip(len(data) - (0 if header is None else len(reader.trailing_data)))
        except (StreamBroken, RemoteProtocolError) as error:
            return str(error)
        _introduce(stream, header)
        return None
    return f"no PROXY header within {PROXY_HEADER_TIMEOUT:g} s"


def _introduce(stream: Stream, header: ProxyHeader) -> None:
    if header.local:
        return
    source, destination = header.source, header.destination
    stream.peer = UNKNOWN if source is None else PeerAddress(source.host, source.port)
    stream.local = (
        UNKNOWN if destination is None else PeerAddress(destination.host, destination.port)
    )
