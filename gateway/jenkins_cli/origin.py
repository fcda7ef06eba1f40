"""Where a client of ``/cli/ws`` may come from, and what the controller is told (PROTOCOLS E.2).

Owns: the check of ``Origin`` against the gateway's own public origins, and the origin that takes
its place.

Must not know: connections, answers.

Why it is checked. A browser lets any page open a WebSocket to any host, with the cookies for that
host, and only ``Origin`` tells. What the request says about itself (``Host``) is no measure: a name
of the attacker's may lead to us, and then both say the same. So the address that a client came by
counts only if the route names it, or if it is an IP address, which nobody else's page can have.

Old clients say ``http`` where they use ``https``. That is let pass where there is no cookie, since
then no browser's login is at stake. The controller compares the whole of it with the URL that is
set in Jenkins, so that is what it is sent: the origin of ``jenkins_url``, or of the address that
the client came by, which is what older controllers compare with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.config.models import ControllerConfig
from gateway.config.networks import is_ip_address
from gateway.config.values import ControllerUrl
from gateway.errors import OriginRefused
from gateway.http.exchange import Exchange

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN: Final = re.compile(
    rb"(https?)://([a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin as RFC 6454 compares it; ``host`` in lower case, IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, value: bytes) -> Origin | None:
        """Read an ``Origin`` of http or https; None for all else, ``null`` included."""
        match = _ORIGIN.fullmatch(value)
        if match is None:
            return None
        scheme = match[1].decode().lower()
        port = int(match[3]) if match[3] is not None else _DEFAULT_PORTS[scheme]
        return cls(scheme, match[2].decode().lower().strip("[]"), port)

    @classmethod
    def of_url(cls, url: ControllerUrl) -> Origin:
        """Return the origin of a URL."""
        return cls(url.scheme, url.host, url.port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def other_scheme(self) -> Origin:
        """Return the same with the other scheme: its default port becomes the other's."""
        scheme = "http" if self.scheme == "https" else "https"
        is_default = self.port == _DEFAULT_PORTS[self.scheme]
        return Origin(scheme, self.host, _DEFAULT_PORTS[scheme] if is_default else self.port)


def address_of(exchange: Exchange) -> Origin | None:
    """Return the origin of the address that the client came by; None where it named none."""
    provenance = exchange.provenance
    if provenance.host is None:
        return None
    name = re.sub(rb":[0-9]*\Z", b"", provenance.host)
    return Origin.parse(b"%b://%b:%b" % (provenance.scheme.encode(), name, provenance.port))


def check_origin(exchange: Exchange) -> None:
    """Raise OriginRefused unless a client of the route may have the request's ``Origin``."""
    values = exchange.request.headers.get_all(b"origin")
    if len(values) != 1:
        raise OriginRefused(detail="no Origin" if not values else "several Origins")
    found = Origin.parse(values[0])
    if found is None:
        raise OriginRefused(detail="Origin is null, malformed, or not http")
    allowed = _allowed(exchange)
    if found in allowed:
        return
    if b"cookie" not in exchange.request.headers and found.other_scheme in allowed:
        return
    raise OriginRefused(detail=_explain(exchange, found))


def _allowed(exchange: Exchange) -> set[Origin]:
    controller = exchange.match.controller
    urls = [*controller.cli.origins]
    if controller.jenkins_url is not None:
        urls.append(controller.jenkins_url)
    allowed = {Origin.of_url(url) for url in urls}
    address = address_of(exchange)
    if address is not None and _is_named(exchange.match.route.host, address.host):
        allowed.add(address)
    return allowed


def _is_named(route_host: str, host: str) -> bool:
    """Say whether the route is for ``host``, and not for whatever a name server leads here."""
    if route_host == "*":
        return host == "localhost" or is_ip_address(host)
    if route_host.startswith("*."):
        return host.endswith(route_host[1:]) and len(host) > len(route_host) - 1
    return host == route_host.removesuffix(".").lower()


def _explain(exchange: Exchange, found: Origin) -> str:
    name = exchange.match.controller_id
    route = exchange.match.route
    why = f"{found} is neither that of route {route.id} (host {route.host}) nor"
    return f"{why} of controllers.{name}.jenkins_url or .cli.origins"


def outgoing_origin(exchange: Exchange, controller: ControllerConfig) -> bytes:
    """Return the ``Origin`` that the controller is sent."""
    if controller.jenkins_url is not None:
        return str(Origin.of_url(controller.jenkins_url)).encode()
    address = address_of(exchange)
    if address is None:  # HTTP/1.0 has no WebSockets, so there is a Host
        return exchange.request.headers.get(b"origin") or b""
    return str(address).encode()
