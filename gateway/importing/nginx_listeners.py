"""From ``listen`` and ``ssl_*`` to listeners.

Owns: addresses, certificates, client certificates, HSTS, redirects to https. Must not know: routes.

nginx has settings for each server block, the gateway for each address: what several blocks with one
address say is put together. As in nginx, ``ssl`` and ``proxy_protocol`` of one are everybody's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import ConfigError
from gateway.importing.nginx_locations import locations_of
from gateway.importing.nginx_redirects import Redirecting, answers_itself, find_redirect
from gateway.importing.nginx_words import Listen, is_host, join_address, parse_listen

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.importing.nginx_scope import Scope
    from gateway.importing.nginx_source import Directive
    from gateway.importing.report import Report

_MODES: Final = {"on": "require", "optional": "optional"}
_ANY: Final = "*"
_MAX_NAMED: Final = 5  # addresses in a sentence
_MAX_PLACES: Final = 500
_OWN_SCHEME: Final = ("$scheme", "${scheme}", "http")
_HEADER: Final = "strict-transport-security"


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """A server block that listens somewhere."""

    server: Scope
    hosts: list[str]
    where: Directive
    proxies: bool
    redirecting: Redirecting | None
    is_local: bool
    """Whether nobody but this machine comes here."""


@dataclass(slots=True)
class _Place:
    """An address, with the blocks that listen there, in their order."""

    host: str
    port: int
    said_by: Directive
    blocks: list[_Block] = field(default_factory=list)
    is_tls: bool = False
    has_proxy_protocol: bool = False
    has_default: bool = False
    has_ipv4: bool = False
    certificates: list[dict[str, str]] = field(default_factory=list)
    tls: list[tuple[Directive, dict[str, Any]]] = field(default_factory=list)
    """What each server block wants."""
    redirecting: Redirecting | None = None
    redirected: list[_Block] = field(default_factory=list)
    """The blocks whose people are sent to https."""

    @property
    def address(self) -> str:
        """Return what the listener has."""
        return join_address(self.host, self.port)

    @property
    def proxies(self) -> bool:
        """Say whether anything is passed on that came in here."""
        return any(each.proxies for each in self.blocks)

    @property
    def redirects(self) -> bool:
        """Say whether all that it gets is sent to https."""
        plain = any(each.proxies and each not in self.redirected for each in self.blocks)
        return self.redirecting is not None and not plain


@dataclass(slots=True)
class Listeners:
    """Collects listeners over all server blocks."""

    folder: Path
    report: Report
    _places: dict[tuple[str, int], _Place] = field(default_factory=dict)
    _blocks: list[_Block] = field(default_factory=list)

    def add(self, server: Scope, hosts: list[str], where: Directive, *, proxies: bool) -> bool:
        """Add a server block's addresses; say whether one of them makes it the default one."""
        is_default = False
        listens = self._listens(server, where)
        is_local = all(listen.is_local for _, listen in listens)
        block = _Block(server, hosts, where, proxies, find_redirect(server), is_local)
        self._blocks.append(block)
        for said_by, listen in listens:
            host = str(listen.host)
            # Every address of IPv6 is every address, of IPv4, too.
            key = (_ANY if listen.is_any else host, listen.port)
            place = self._places.setdefault(key, _Place(host, listen.port, said_by))
            if host == "::":
                place.host = host
            place.has_ipv4 = place.has_ipv4 or host != "::" or "ipv6only=off" in said_by.args
            is_default = is_default or listen.is_default
            place.has_default = place.has_default or listen.is_default
            place.is_tls = place.is_tls or listen.is_tls or server.is_on("ssl")
            place.has_proxy_protocol = place.has_proxy_protocol or listen.proxy_protocol
            if block not in place.blocks:
                place.blocks.append(block)
            self.report.take(said_by)
        if len(self._places) > _MAX_PLACES:
            raise ConfigError(
                f"{where.file}:{where.line}: more than {_MAX_PLACES} addresses: import the file of"
                " the Jenkins site alone"
            )
        return is_default

    def _listens(self, server: Scope, where: Directive) -> list[tuple[Directive, Listen]]:
        said = server.own("listen")
        if not said:
            return [(where, Listen("0.0.0.0", 80, False, False, False))]
        found = []
        for each in said:
            listen = parse_listen(each.args)
            if listen is None or not is_host(listen.host):
                self.report.leave_out(
                    each, "listeners have TCP addresses: give whoever uses it one"
                )
            else:
                found.append((each, listen))
        return found

    def documents(self, *, has_trusted_proxies: bool) -> list[dict[str, Any]]:
        """Return the listeners of gateway.yaml."""
        self._fold()
        places = list(self._places.values())
        for place in places:
            for block in place.blocks:
                self._settle(place, block, has_trusted_proxies=has_trusted_proxies)
        self._note_plain(places, has_trusted_proxies=has_trusted_proxies)
        used = [each for each in places if each.proxies or each.redirecting is not None]
        self._note_reach([each for each in used if each.proxies and not each.redirects])
        return [self._document(each, has_trusted_proxies=has_trusted_proxies) for each in used]

    def local_blocks(self) -> list[Directive]:
        """Return the server blocks that only this machine came to, if others came to others."""
        proxying = [each for each in self._blocks if each.proxies]
        local = [each.where for each in proxying if each.is_local]
        return local if len(local) < len(proxying) else []

    def _fold(self) -> None:
        """Put an address into the listener that has all of its port."""
        for key, place in list(self._places.items()):
            whole = self._places.get((_ANY, place.port))
            if whole is None or whole is place:
                continue
            self.report.add(place.said_by, f"{whole.address} has this address, too")
            whole.blocks += [each for each in place.blocks if each not in whole.blocks]
            whole.is_tls = whole.is_tls or place.is_tls
            whole.has_proxy_protocol = whole.has_proxy_protocol or place.has_proxy_protocol
            del self._places[key]

    def _settle(self, place: _Place, block: _Block, *, has_trusted_proxies: bool) -> None:
        redirecting = block.redirecting
        if redirecting is not None:
            self._settle_redirect(place, block, redirecting, has_trusted_proxies)
        if place.is_tls and (block.proxies or redirecting is not None):
            self._add_tls(place, block.server, block.where)

    def _settle_redirect(
        self, place: _Place, block: _Block, found: Redirecting, has_trusted_proxies: bool
    ) -> None:
        whole = found.around or found.said_by
        is_elsewhere = found.redirect.host not in (None, *block.hosts)
        if place.is_tls:
            if is_elsewhere:
                self.report.leave_out(
                    found.said_by,
                    "only redirects from http to https are made: give"
                    f" {', '.join(block.hosts)} a route, or its people are refused",
                )
            return
        if found.by_field and not has_trusted_proxies:
            self.report.leave_out(
                whole,
                "name the proxy in front, which has the TLS, in trusted_proxies and set"
                " redirect_to_https: true here; without the first it would redirect for ever",
            )
            return
        if block.proxies and found.around is not None and found.around.name == "location":
            self.report.leave_out(
                whole,
                "redirect_to_https is for all that an address gets, and other paths are served"
                " without TLS there: set it if they need not be",
            )
            return
        if is_elsewhere:
            self.report.add(
                found.said_by,
                "redirect_to_https keeps the host that people asked for: give each such host a"
                f" route beside that of {found.redirect.host}, or they are refused",
            )
        place.redirecting = place.redirecting or found
        place.redirected.append(block)
        self.report.take(found.said_by, whole)
        for each in block.server.own("return", "location"):
            # Where certificates come from is worth a word, even if it did not work.
            if answers_itself(block.server) and not any(".well-known" in arg for arg in each.args):
                self.report.not_needed(each, "nothing but the redirect is served there")

    def _note_plain(self, places: list[_Place], *, has_trusted_proxies: bool) -> None:
        """Note what blocks without TLS of their own say of TLS."""
        encrypted = {id(block) for place in places if place.is_tls for block in place.blocks}
        for block in (block for place in places for block in place.blocks):
            if id(block) in encrypted:
                continue
            for each in block.server.own("ssl_certificate", "ssl_certificate_key"):
                self.report.leave_out(
                    each,
                    'nginx spoke plain HTTP there, for "listen" has no ssl: put it into the'
                    " listener's tls if https is meant",
                )
            scopes = (block.server, *(each.scope for each in locations_of(block.server)))
            for each in (each for scope in scopes for each in scope.nearest("proxy_set_header")):
                if has_trusted_proxies or each.args[0].lower() != "x-forwarded-proto":
                    continue
                if block.proxies and each.args[-1] not in _OWN_SCHEME:
                    self.report.leave_out(
                        each,
                        "Jenkins is told http, for so it came in here: name the proxy in front,"
                        " which has the TLS and says so, in trusted_proxies",
                    )

    def _note_reach(self, places: list[_Place]) -> None:
        """Note what can be asked for on more addresses than before."""
        for block in {id(each): each for place in places for each in place.blocks}.values():
            more = [each.address for each in places if block not in each.blocks]
            if block.proxies and more:
                others = f" and {len(more) - _MAX_NAMED} more" if len(more) > _MAX_NAMED else ""
                self.report.add(
                    block.where,
                    "a route holds for all listeners: what is served here can be asked for at"
                    f" {', '.join(more[:_MAX_NAMED])}{others}, too; see allow_from, or serve what"
                    " is not for everybody by a gateway of its own",
                )
        for place in places:
            if place.host == "::" and not place.has_ipv4:
                self.report.add(
                    place.said_by,
                    "only IPv6 could come here, and [::] is every address of IPv4, too: name the"
                    " address of IPv6 that is meant if there is one",
                )

    def _add_tls(self, place: _Place, server: Scope, where: Directive) -> None:
        certificates = server.nearest("ssl_certificate")
        keys = server.nearest("ssl_certificate_key")
        for certificate, key in zip(certificates, keys, strict=False):
            if "$" in certificate.args[0] + key.args[0] or ":" in key.args[0]:
                self.report.leave_out(certificate, "certificates are files: name them in tls")
                continue
            self.report.take(certificate, key)
            pair = {
                "certificate": str(self.folder / certificate.args[0]),
                "key": str(self.folder / key.args[0]),
            }
            if pair not in place.certificates:
                place.certificates.append(pair)
        shorter = min(len(certificates), len(keys))
        for each in (*certificates[shorter:], *keys[shorter:]):
            self.report.leave_out(each, "a certificate and its key come together: name both in tls")
        tls: dict[str, Any] = {}
        self._add_versions(tls, server)
        self._add_client_certificates(tls, server)
        self._add_hsts(tls, server)
        place.tls.append((where, tls))

    def _add_versions(self, tls: dict[str, Any], server: Scope) -> None:
        said = server.last("ssl_protocols")
        if said is not None and set(said.args) == {"TLSv1.3"}:
            tls["minimum_version"] = "1.3"
            self.report.take(said)
        elif said is not None and set(said.args) & {"TLSv1", "TLSv1.1", "SSLv2", "SSLv3"}:
            self.report.leave_out(
                said,
                "TLS 1.2 and 1.3 are spoken, older versions never: look for clients that old",
            )

    def _add_client_certificates(self, tls: dict[str, Any], server: Scope) -> None:
        mode = server.last("ssl_verify_client")
        authorities = server.last("ssl_client_certificate")
        if mode is None or mode.args == ("off",):
            return
        if mode.args[0] not in _MODES or authorities is None:
            self.report.leave_out(mode, "see tls.client_certificates for what there is")
            for each in server.nearest("ssl_client_certificate"):
                self.report.leave_out(
                    each,
                    "nobody is asked for a certificate in the result: certificates of unknown"
                    " authorities are not taken, and of these only with the modes require and"
                    " optional; see tls.client_certificates",
                )
            return
        self.report.take(mode, authorities)
        tls["client_certificates"] = {
            "mode": _MODES[mode.args[0]],
            "ca_file": str(self.folder / authorities.args[0]),
        }

    def _add_hsts(self, tls: dict[str, Any], server: Scope) -> None:
        # Of one answer, browsers take it for the whole host.
        inner = [each for place in locations_of(server) for each in place.scope.own("add_header")]
        for each in (*server.nearest("add_header"), *inner):
            if each.args[0].lower() != _HEADER:
                continue
            match = re.search(r"max-age=(\d+)", each.args[1])
            if match is None or not int(match[1]):
                continue
            self.report.take(each)
            tls["hsts"] = {"max_age": f"{match[1]}s"}
            if "includesubdomains" in each.args[1].lower():
                tls["hsts"]["include_subdomains"] = True
            if "preload" in each.args[1].lower():
                self.report.add(each, "preload is not sent; it matters to browsers' lists alone")

    def _put_together(self, place: _Place) -> dict[str, Any]:
        """Return what holds for all of an address: the strictest, but no promise for others."""
        found: dict[str, Any] = {}
        for key in dict.fromkeys(key for _, tls in place.tls for key in tls):
            wanted = [tls[key] for _, tls in place.tls if key in tls]
            strictest = next((each for each in wanted if _is_strict(each)), wanted[0])
            if key != "hsts" or all(tls.get(key) == strictest for _, tls in place.tls):
                found[key] = strictest
            for said_by, tls in place.tls:
                if key not in tls or all(each.get(key) == tls[key] for _, each in place.tls):
                    continue
                if key == "hsts":
                    reason = "hsts is of a listener, and the other hosts here have another: add it"
                    reason += " there if all of them are to be asked for by https only"
                elif tls[key] == strictest:
                    reason = f"{key} holds for the whole listener, the other hosts included"
                else:
                    reason = f"{key} is another host's on this listener: put them together there"
                self.report.add(said_by, reason)
        return found

    def _document(self, place: _Place, *, has_trusted_proxies: bool) -> dict[str, Any]:
        found: dict[str, Any] = {"address": place.address}
        if place.is_tls:
            if not place.certificates:
                self.report.add(place.said_by, "it has no certificate: put one there")
            pairs = place.certificates or [{"certificate": "tls.crt", "key": "tls.key"}]
            found["tls"] = {"certificates": pairs, **self._put_together(place)}
        elif place.redirecting is not None and place.redirects:
            port = place.redirecting.redirect.port
            found["redirect_to_https"] = True if port == 443 else port
        elif place.redirecting is not None:
            self.report.add(
                place.redirecting.said_by,
                "redirect_to_https is for all that an address gets, and other hosts are served"
                " without TLS there: set it if they need not be",
            )
        elif not has_trusted_proxies and place.host not in ("127.0.0.1", "::1", "localhost"):
            self.report.add(
                place.said_by,
                "agents are refused on a listener without tls, for they send their secret: add tls,"
                " or name the proxy in front of it in trusted_proxies",
            )
        first = place.blocks[0]
        if first.proxies and not place.has_default and "*" not in first.hosts:
            self.report.add(
                place.said_by,
                "nginx gave requests for other hosts to this address' first server block; they are"
                ' refused now: a route with host "*" would take them',
            )
        if place.has_proxy_protocol:
            found["proxy_protocol"] = "required"
            if not has_trusted_proxies:
                self.report.add(
                    place.said_by,
                    "proxy_protocol needs trusted_proxies: name the networks of the balancers",
                )
        return found


def _is_strict(wanted: Any) -> bool:
    return isinstance(wanted, dict) and wanted.get("mode") == "require"
