"""What a host is, as text: an IP address or a name, in which networks, counted as which address.

Owns: that one client has one address: an IPv4 address that IPv6 carries (``::ffff:192.0.2.7``) is
that IPv4 address, and the zone with which the kernel names a link-local peer is passed over.

Must not know: whose addresses these are, and what being in a network allows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)
# Who has an IPv6 address usually has all of its /64 (RFC 6177), so that is what counts as one.
_IPV6_SITE: Final = 64


def is_ip_address(host: str) -> bool:
    """Say whether ``host`` is an IP address and not a host name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Say whether ``host`` is an IP address of this machine alone; no name is."""
    return is_ip_address(host) and ipaddress.ip_address(host).is_loopback


def read_address(text: str) -> IpAddress | None:
    """Return the address that somebody wrote, None for anything else.

    A zone (``fe80::1%eth0``) means nothing on another machine, and may be any text: None.
    """
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def peer_address(host: str) -> IpAddress | None:
    """Return a peer's address, without the zone; None for a Unix peer, or where none is known."""
    return read_address(host.partition("%")[0])


def is_in(networks: Sequence[Network], host: str) -> bool:
    """Say whether a peer's ``host`` is an address in one of ``networks``; ``unix`` never is."""
    if not networks:
        return False
    address = peer_address(host)
    return address is not None and any(address in network for network in networks)


def site_of(host: str) -> str | None:
    """Return what counts as one address: an IPv4 address, an IPv6 /64; None for a Unix peer."""
    address = peer_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, _IPV6_SITE), strict=False))
    return None if address is None else str(address)
