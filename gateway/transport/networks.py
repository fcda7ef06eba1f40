"""Which addresses are in which networks: ``trusted_proxies``, ``allow_from``.

Owns: what an address is as text, so that one client has one address: an IPv4 address that IPv6
carries (``::ffff:192.0.2.7``) is that IPv4 address.

Must not know: whose addresses these are, and what being in a network allows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
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


def is_in(networks: Sequence[Network], host: str) -> bool:
    """Say whether a peer's ``host`` is an address in one of ``networks``; ``unix`` never is.

    The zone with which the kernel names a link-local peer is passed over.
    """
    if not networks:
        return False
    address = read_address(host.partition("%")[0])
    return address is not None and any(address in network for network in networks)
