"""What a web page of somebody else's may make a browser ask the admin listener: nothing.

Owns: the names by which it may be asked for (against DNS rebinding, where a page's own name comes
to point at this machine), and that what changes something comes from a page of its own or from no
page at all (against cross-site requests).

Must not know: tokens, what is asked for.

RFC 9110 section 7.2 (Host), RFC 6454 (Origin), W3C Fetch Metadata (Sec-Fetch-Site). A program sends
neither of the last two; a browser sends them by itself, and no page can change them.
"""

from __future__ import annotations

from typing import Final

from gateway.config.admin import AdminConfig
from gateway.config.networks import is_ip_address, is_loopback
from gateway.http.exchange import Exchange
from gateway.server.admin.messages import Problem

_LOCAL: Final = frozenset({"localhost"})


class Names:
    """The names by which one configuration lets itself be asked for."""

    __slots__ = ("_hosts", "_is_strict", "_takes_loopback")

    def __init__(self, config: AdminConfig) -> None:
        self._takes_loopback = config.listen.is_local
        self._hosts = frozenset(config.hosts) | (_LOCAL if self._takes_loopback else frozenset())
        if not self._takes_loopback and config.hosts and config.listen.address is not None:
            self._hosts |= {config.listen.address.host}
        # Beyond this machine a proof is asked for, which another name's page does not have.
        self._is_strict = self._takes_loopback or bool(config.hosts)

    def check(self, exchange: Exchange) -> None:
        """Raise Problem (421) where somebody else's name was asked for.

        No Host at all is a program's, in HTTP/1.0: browsers send one.
        """
        value = exchange.request.headers.get(b"host")
        if value is None or not self._is_strict:
            return
        host = host_in(value.decode("latin-1"))
        if host in self._hosts or (self._takes_loopback and is_loopback(host)):
            return
        # A balancer's probe asks for the address; no name of a page's is one.
        if not self._takes_loopback and is_ip_address(host):
            return
        raise Problem(
            421,
            "misdirected",
            "this name is not served here; ask for localhost, or add it to admin.hosts",
            close=True,
        )


def check_same_origin(exchange: Exchange) -> None:
    """Raise Problem (403) for what a page of another origin had a browser send."""
    headers = exchange.request.headers
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        raise _cross_site("Sec-Fetch-Site")
    origins = headers.get_all(b"origin")
    if not origins:
        return
    authority = origins[0].partition(b"://")[2].lower()
    own = (headers.get(b"host") or b"").lower()
    if len(origins) > 1 or not own or authority != own:
        raise _cross_site("Origin")


def _cross_site(field: str) -> Problem:
    return Problem(403, "cross-site", f"{field} says that a page of another site asks for this")


def host_in(authority: str) -> str:
    """Return the host of a Host field in lower case, without port and brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.partition(":")[0].lower().removesuffix(".")
