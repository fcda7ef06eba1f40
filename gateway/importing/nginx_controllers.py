"""From proxied locations to controllers and routes.

Owns: upstreams, addresses, TLS towards a controller, names. Must not know: listeners, which
locations belong together (``nginx_groups``), who gets what (``nginx_exposure``), how files are
written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.config.routing import RouteConfig
from gateway.config.values import format_duration
from gateway.errors import ConfigError
from gateway.importing.nginx_access import LOCAL, of_both
from gateway.importing.nginx_exposure import Exposure
from gateway.importing.nginx_groups import Group, group_locations
from gateway.importing.nginx_locations import Proxied, proxied_locations
from gateway.importing.nginx_words import (
    Target,
    is_host,
    join_address,
    parse_time,
    split_address,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.importing.nginx_scope import Scope
    from gateway.importing.nginx_source import Directive
    from gateway.importing.report import Report

# Of a whole configuration, with the parts of their expose: far more than anybody has for Jenkins.
_MAX_ROUTES: Final = 2000
_SESSIONS: Final = {"wsagents", "wsecho", "cli"}
_RESPONSE_TIMEOUT: Final = float(RouteConfig.model_fields["response_timeout"].default)  # seconds
_TLS_FILES: Final = {"proxy_ssl_trusted_certificate": "ca_file", "proxy_ssl_name": "server_name"}


@dataclass(slots=True)
class _Origin:
    """Where a controller comes from, and whether anything around it is called Jenkins."""

    said_by: Directive
    prefix: str
    is_jenkins: bool = False


@dataclass(slots=True)
class Controllers:
    """Collects controllers and routes over all server blocks."""

    upstreams: dict[str, Directive]
    folder: Path
    report: Report
    _controllers: dict[str, dict[str, Any]] = field(default_factory=dict)
    _places: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """Routes by host and prefix."""
    _said_by: dict[tuple[str, str], list[Directive]] = field(default_factory=dict)
    """The server blocks of each route."""
    _origins: dict[str, _Origin] = field(default_factory=dict)
    _size: int = 0

    def add_server(self, server: Scope, hosts: list[str], where: Directive) -> bool:
        """Add what a server block proxies, for these hosts; say whether that was anything."""
        groups = group_locations(proxied_locations(server, self.report), self.report)
        exposure = Exposure(server, groups, self.report)
        # A list: all of them are to be looked at.
        spare = "root" if any(map(_is_jenkins, groups)) else "jenkins"
        added = [self._add_group(each, server, hosts, where, exposure, spare) for each in groups]
        if groups:
            exposure.note_the_rest()
        return any(added)

    def _add_group(
        self,
        group: Group,
        server: Scope,
        hosts: list[str],
        where: Directive,
        exposure: Exposure,
        spare: str,
    ) -> bool:
        first = group.members[0]
        made = self._controller(first, group.prefix)
        if made is None:
            return False
        exposed = exposure.read(group)
        if exposed.get("expose") == []:
            return False
        name = self._name(made, first.target, group.prefix, spare)
        told = _is_jenkins(group) or (not group.prefix and "jenkins" in " ".join(hosts))
        origin = self._origins.setdefault(name, _Origin(first.said_by, group.prefix))
        origin.is_jenkins = origin.is_jenkins or told
        route: dict[str, Any] = {"controller": name, **exposed}
        scope = group.main.location.scope if group.main else server
        timeout = scope.last("proxy_read_timeout")
        seconds = None if timeout is None else parse_time(timeout.args[0])
        if timeout is not None and seconds:
            self.report.take(timeout)
            if seconds != _RESPONSE_TIMEOUT:
                route["response_timeout"] = format_duration(seconds)
        self._note_longer(group, seconds or _RESPONSE_TIMEOUT)
        for each in group.members:
            self.report.take(each.said_by)
            if each.location.directive is not None:
                self.report.take(each.location.directive)
        for host in hosts:
            self._add_route(host, route, group.prefix, where)
        return True

    def _note_longer(self, group: Group, seconds: float) -> None:
        for part in group.parts:
            # Where sessions are meant, no answer is waited for that long.
            if _SESSIONS & set(part.path.split("/")):
                continue
            for each in part.location.scope.own("proxy_read_timeout"):
                if (parse_time(each.args[0]) or 0) > seconds:
                    self.report.leave_out(
                        each,
                        "response_timeout is the whole route's: make it longer if answers there"
                        " begin so late",
                    )

    def _add_route(self, host: str, route: dict[str, Any], prefix: str, where: Directive) -> None:
        other = self._places.get((host, prefix))
        said_by = self._said_by.setdefault((host, prefix), [])
        if other is not None:
            if {key: other[key] for key in other if key not in ("id", "host")} == route:
                said_by.append(where)
            else:
                self.report.add(
                    where,
                    f"there is another way for host {host}, and a route holds for all listeners:"
                    " this one is not in the result",
                )
            return
        self._size += 1 + len(route.get("expose", ()))
        if self._size > _MAX_ROUTES:
            raise ConfigError(
                f"{where.file}:{where.line}: more than {_MAX_ROUTES} routes with their parts:"
                " import the file of the Jenkins site alone"
            )
        said_by.append(where)
        taken = {each["id"] for each in self._places.values()}
        self._places[host, prefix] = {
            "id": unique(route["controller"], taken), "host": host, **route
        }  # fmt: skip

    def keep_local(self, blocks: list[Directive]) -> None:
        """Keep what only these server blocks have to this machine: they were on its own address."""
        local = {id(each) for each in blocks}
        for key, said_by in self._said_by.items():
            if not all(id(each) in local for each in said_by):
                continue
            route = self._places[key]
            given = route.get("allow_from")
            allowed = of_both(None if given is None else tuple(given), LOCAL)
            route["allow_from"] = list(allowed or LOCAL)
            self.report.add(
                said_by[0],
                f"only this machine came here, and the other listeners are for others: host"
                f" {key[0]} is for {', '.join(route['allow_from'])} alone; see allow_from",
            )

    def documents(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the controllers that a route leads to, and the routes."""
        routes = list(self._places.values())
        used = dict.fromkeys(route["controller"] for route in routes)
        is_known = any(self._origins[name].is_jenkins for name in used)
        for name in used if len(used) > 1 else ():
            origin = self._origins[name]
            if not origin.is_jenkins and (is_known or origin.prefix):
                self.report.add(
                    origin.said_by,
                    f"{name} is a controller in the result: remove it and its routes if it is not"
                    " Jenkins",
                )
        return {name: made for name, made in self._controllers.items() if name in used}, routes

    def _controller(self, proxied: Proxied, prefix: str) -> dict[str, Any] | None:
        target = proxied.target
        addresses = self._addresses(proxied)
        if not addresses:
            return None
        found: dict[str, Any] = {"url": f"{target.scheme}://{addresses[0]}{prefix}/"}
        if len(addresses) > 1:
            found["addresses"] = addresses
        if target.scheme == "https":
            tls = self._tls(proxied)
            if tls:
                found["tls"] = tls
        return found

    def _addresses(self, proxied: Proxied) -> list[str]:
        target = proxied.target
        upstream = self.upstreams.get(target.authority)
        if upstream is not None:
            return self._servers(upstream)
        found = split_address(target.authority, 443 if target.scheme == "https" else 80)
        if found is None or not is_host(found[0]):
            self.report.leave_out(
                proxied.said_by, "its address cannot be read: write controllers.NAME.url"
            )
            return []
        return [join_address(str(found[0]), found[1])]

    def _servers(self, upstream: Directive) -> list[str]:
        first: list[str] = []
        backup: list[str] = []
        for each in upstream.named("server"):
            found = split_address(each.args[0], 80)
            if found is None or found[0] is None or not is_host(found[0]):
                self.report.leave_out(
                    each,
                    "only a host with a TCP port can be a controller's address: have Jenkins"
                    " listen on one",
                )
                continue
            if "down" in each.args:
                self.report.not_needed(each, "it was marked as down")
                continue
            self.report.take(each)
            (backup if "backup" in each.args else first).append(join_address(found[0], found[1]))
        self.report.take(upstream)
        for each in upstream.block or ():
            if each.name != "server":
                self.report.not_needed(
                    each, "nothing is balanced: the first address that is up gets everything"
                )
        if not first and not backup:
            self.report.leave_out(upstream, "none of its servers can be taken over")
        if len(first) > 1:
            self.report.add(
                upstream,
                "nothing is balanced: the first address that is up gets everything, the others"
                " stand by",
            )
        return [*first, *backup]

    def _tls(self, proxied: Proxied) -> dict[str, Any]:
        scope = proxied.location.scope
        tls: dict[str, Any] = {}
        for name, key in _TLS_FILES.items():
            found = scope.last(name)
            if found is not None and "$" not in found.args[0]:
                value = found.args[0]
                tls[key] = value if key == "server_name" else str(self.folder / value)
                self.report.take(found)
        pair = scope.last("proxy_ssl_certificate"), scope.last("proxy_ssl_certificate_key")
        if pair[0] is not None and pair[1] is not None:
            self.report.take(pair[0], pair[1])
            tls["client_certificate"] = {
                "certificate": str(self.folder / pair[0].args[0]),
                "key": str(self.folder / pair[1].args[0]),
            }
        if not scope.is_on("proxy_ssl_verify"):
            self.report.add(
                proxied.said_by,
                "nginx did not verify the certificate there, and the gateway does: set tls.ca_file"
                " and tls.server_name where it is not one of the public authorities'",
            )
        return tls

    def _name(self, made: dict[str, Any], target: Target, prefix: str, spare: str) -> str:
        for name, other in self._controllers.items():
            if other == made:
                return name
        host = target.authority.rpartition(":")[0] or target.authority
        wanted = target.authority if target.authority in self.upstreams else host.partition(".")[0]
        if wanted == "localhost" or not re.match(r"[A-Za-z]", wanted):
            wanted = prefix.rpartition("/")[2]
        wanted = re.sub(r"[^A-Za-z0-9_.-]", "-", wanted)[:50].lstrip("-_.0123456789") or spare
        name = unique(wanted, set(self._controllers))
        self._controllers[name] = made
        return name


def _is_jenkins(group: Group) -> bool:
    return "jenkins" in f"{group.members[0].target.authority}{group.prefix}".lower()


def unique(wanted: str, taken: set[str]) -> str:
    """Return the name, with a number behind it where it is taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name
