"""From ``listen`` and ``ssl_*`` to listeners.

Owns: addresses, certificates, client certificates, HSTS, redirects to https. Must not know: routes.

nginx has settings for each server block, the gateway for each address: what several blocks with one
address say is put together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.importing.nginx_words import Listen, join_address, parse_listen, parse_redirect

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.importing.nginx_scope import Scope
    from gateway.importing.nginx_source import Directive
    from gateway.importing.nginx_words import Redirect
    from gateway.importing.report import Report

_EVERYTHING: Final = (
    "^",
    "^(.*)",
    "^(.*)$",
    "^/(.*)$",
    "^/(.*)",
    "(.*)",
    ".*",
    "^.*$",
    "^.*",
    "/(.*)",
)
_MODES: Final = {"on": "require", "optional": "optional"}


@dataclass(slots=True)
class _Place:
    listen: Listen
    said_by: Directive
    certificates: list[dict[str, str]] = field(default_factory=list)
    tls: list[tuple[Directive, dict[str, Any]]] = field(default_factory=list)
    """What each server block wants."""
    proxies: bool = False
    first_hosts: list[str] = field(default_factory=list)
    has_default: bool = False
    redirect: tuple[Redirect, Directive] | None = None


@dataclass(slots=True)
class Listeners:
    """Collects listeners over all server blocks."""

    folder: Path
    report: Report
    _places: dict[tuple[str, int], _Place] = field(default_factory=dict)

    def add(self, server: Scope, hosts: list[str], where: Directive, *, proxies: bool) -> bool:
        """Add a server block's addresses; say whether one of them makes it the default one."""
        is_default = False
        redirect = None if proxies and not _is_conditional(server) else find_redirect(server)
        if redirect is not None and redirect[0].host not in (None, *hosts):
            self.report.leave_out(redirect[1], "redirects keep the host, as people asked for it")
            redirect = None
        for said_by, listen in self._listens(server, where):
            is_default = is_default or listen.is_default
            place = self._places.setdefault(
                (str(listen.host), listen.port), _Place(listen, said_by)
            )
            place.first_hosts = place.first_hosts or hosts
            place.has_default = place.has_default or listen.is_default
            is_tls = listen.is_tls or server.is_on("ssl")
            if redirect is not None and not is_tls:
                place.redirect = redirect
                self._settle_redirect(server, redirect[1])
            elif proxies:
                place.proxies = True
            if is_tls:
                self._add_tls(place, server, said_by)
            self.report.take(said_by)
        return is_default

    def _settle_redirect(self, server: Scope, said_by: Directive) -> None:
        self.report.take(said_by)
        for each in server.own("if", "location"):
            if said_by in (each.block or ()):
                self.report.take(each)
        for each in server.own("return"):
            self.report.not_needed(each, "nothing but the redirect is served there")

    def _listens(self, server: Scope, where: Directive) -> list[tuple[Directive, Listen]]:
        said = server.own("listen")
        if not said:
            return [(where, Listen("0.0.0.0", 80, False, False, False))]
        found = []
        for each in said:
            listen = parse_listen(each.args)
            if listen is None or listen.host is None:
                self.report.leave_out(each, "listeners have TCP addresses")
            else:
                found.append((each, listen))
        return found

    def _add_tls(self, place: _Place, server: Scope, said_by: Directive) -> None:
        certificates = server.nearest("ssl_certificate")
        keys = server.nearest("ssl_certificate_key")
        for certificate, key in list(zip(certificates, keys, strict=False))[:1]:
            if "$" in certificate.args[0] + key.args[0] or ":" in key.args[0]:
                self.report.leave_out(certificate, "certificates are files; name them in tls")
                continue
            self.report.take(certificate, key)
            pair = {
                "certificate": str(self.folder / certificate.args[0]),
                "key": str(self.folder / key.args[0]),
            }
            if pair not in place.certificates:
                place.certificates.append(pair)
        for each in (*certificates[1:], *keys[1:]):
            self.report.leave_out(each, "one certificate for each host: the first was taken")
        tls: dict[str, Any] = {}
        self._add_versions(tls, server)
        self._add_client_certificates(tls, server)
        self._add_hsts(tls, server)
        place.tls.append((said_by, tls))

    def _add_versions(self, tls: dict[str, Any], server: Scope) -> None:
        said = server.last("ssl_protocols")
        if said is not None and set(said.args) == {"TLSv1.3"}:
            tls["minimum_version"] = "1.3"
            self.report.take(said)
        elif said is not None and set(said.args) & {"TLSv1", "TLSv1.1", "SSLv2", "SSLv3"}:
            self.report.leave_out(said, "TLS 1.2 and 1.3 are spoken, older versions never")

    def _add_client_certificates(self, tls: dict[str, Any], server: Scope) -> None:
        mode = server.last("ssl_verify_client")
        authorities = server.last("ssl_client_certificate")
        if mode is None or mode.args == ("off",):
            return
        if mode.args[0] not in _MODES or authorities is None:
            self.report.leave_out(mode, "see tls.client_certificates for what there is")
            return
        self.report.take(mode, authorities)
        tls["client_certificates"] = {
            "mode": _MODES[mode.args[0]],
            "ca_file": str(self.folder / authorities.args[0]),
        }

    def _add_hsts(self, tls: dict[str, Any], server: Scope) -> None:
        for each in server.nearest("add_header"):
            if each.args[0].lower() != "strict-transport-security":
                continue
            match = re.search(r"max-age=(\d+)", each.args[1])
            if match is None or not int(match[1]):
                continue
            self.report.take(each)
            tls["hsts"] = {"max_age": f"{match[1]}s"}
            if "includesubdomains" in each.args[1].lower():
                tls["hsts"]["include_subdomains"] = True

    def _put_together(self, place: _Place) -> dict[str, Any]:
        """Return what holds for all of an address: the strictest, but no promise for others."""
        found: dict[str, Any] = {}
        for said_by, tls in place.tls:
            for key, value in tls.items():
                if all(each.get(key) == value for _, each in place.tls):
                    found[key] = value
                elif key == "hsts":
                    self.report.add(
                        said_by, "hsts is of a listener, and the other hosts here have another"
                    )
                else:
                    found.setdefault(key, value)
                    self.report.add(
                        said_by, f"{key} holds for the whole listener, the other hosts included"
                    )
        return found

    def documents(self, *, has_trusted_proxies: bool) -> list[dict[str, Any]]:
        """Return the listeners of gateway.yaml."""
        # Every address of IPv6 is every address, of IPv4, too: both would be one too many.
        ports = {place.listen.port for place in self._places.values() if place.listen.host == "::"}
        made = []
        for place in self._places.values():
            if not place.proxies and place.redirect is None:
                continue
            if place.listen.host == "0.0.0.0" and place.listen.port in ports:
                other = self._places["::", place.listen.port]
                if other.proxies or other.redirect is not None:
                    continue
            made.append(self._document(place, has_trusted_proxies=has_trusted_proxies))
        return made

    def _document(self, place: _Place, *, has_trusted_proxies: bool) -> dict[str, Any]:
        listen = place.listen
        found: dict[str, Any] = {"address": join_address(str(listen.host), listen.port)}
        if place.certificates or place.tls:
            if not place.certificates:
                self.report.add(place.said_by, "it has no certificate: put one there")
            pairs = place.certificates or [{"certificate": "tls.crt", "key": "tls.key"}]
            found["tls"] = {"certificates": pairs, **self._put_together(place)}
        elif place.redirect is not None and place.proxies:
            self.report.add(place.redirect[1], "other hosts of this address are served without TLS")
        elif place.redirect is not None:
            port = place.redirect[0].port
            found["redirect_to_https"] = True if port == 443 else port
        elif not has_trusted_proxies and listen.host not in ("127.0.0.1", "::1", "localhost"):
            self.report.add(
                place.said_by,
                "agents are refused on a listener without tls, for they send their secret: add tls,"
                " or name the proxy in front of it in trusted_proxies",
            )
        if place.proxies and not place.has_default and "*" not in place.first_hosts:
            self.report.add(
                place.said_by,
                "nginx gave requests for other hosts to this address' first server block; they are"
                ' refused now: a route with host "*" would take them',
            )
        if listen.proxy_protocol:
            found["proxy_protocol"] = "required"
        return found


def _is_conditional(server: Scope) -> bool:
    return bool(server.own("if"))


def find_redirect(server: Scope) -> tuple[Redirect, Directive] | None:
    """Return the redirect to https by which a server block answers everything, if there is one."""
    roots = [each for each in server.own("location") if each.args in (("/",), ("^~", "/"))]
    conditions = server.own("if")
    blocks = [server.directives, *(each.block or () for each in (*conditions, *roots))]
    for block in blocks:
        for each in block:
            url = None
            if each.name == "return" and each.args:
                url = each.args[-1]
            elif each.name == "rewrite" and len(each.args) > 1 and each.args[0] in _EVERYTHING:
                url = each.args[1]
            found = None if url is None else parse_redirect(url)
            if found is not None:
                return found, each
    return None
