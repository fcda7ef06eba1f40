"""From proxied locations to controllers and routes.

Owns: upstreams, the prefix of a controller, TLS towards it, and which locations are parts of one
route.

Must not know: listeners, how files are written.

A route covers a controller with its prefix; nginx people write a location for each part of Jenkins
that needs other settings. So the shortest location of a target is the route, and the others are
covered by it; what they restrict becomes a part of ``expose``. Where there is no such location but
only parts of Jenkins (/wsagents/, /github-webhook/), nothing else is exposed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.config.routing import ExposeConfig
from gateway.config.values import format_duration, parse_host, parse_prefix
from gateway.importing.nginx_access import NOBODY, closing, own_rules, read_rules
from gateway.importing.nginx_locations import Proxied, locations_of, proxied_locations
from gateway.importing.nginx_words import (
    Target,
    fill_in,
    join_address,
    parse_target,
    parse_time,
    split_address,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.importing.nginx_scope import Scope
    from gateway.importing.nginx_source import Directive
    from gateway.importing.report import Report

_AGENTS: Final = frozenset({"wsagents", "tcpSlaveAgentListener", "jnlpJars", "login"})
# What Jenkins and well-known plugins have at the root: with such an end, a path is no prefix.
_PARTS: Final = _AGENTS | {
    "adjuncts", "bitbucket-hook", "bitbucket-scmsource-hook", "cli", "computer", "crumbIssuer",
    "generic-webhook-trigger", "ghprbhook", "git", "github-webhook", "gitlab-webhook", "health",
    "job", "jobs", "manage", "multibranch-webhook-trigger", "project", "prometheus", "script",
    "securityRealm", "static", "userContent", "view", "whoAmI", "wsecho",
}  # fmt: skip
_TLS_FILES: Final = {"proxy_ssl_trusted_certificate": "ca_file", "proxy_ssl_name": "server_name"}


@dataclass(slots=True)
class Group:
    """What goes to one address: the route's own location, if there is one, and its parts."""

    main: Proxied | None
    parts: list[Proxied]
    prefix: str

    @property
    def members(self) -> list[Proxied]:
        """Return all of them."""
        return [*([self.main] if self.main else []), *self.parts]


@dataclass(slots=True)
class Controllers:
    """Collects controllers and routes over all server blocks."""

    upstreams: dict[str, Directive]
    folder: Path
    report: Report
    controllers: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: list[dict[str, Any]] = field(default_factory=list)

    def add_server(self, server: Scope, hosts: list[str], where: Directive) -> bool:
        """Add what a server block proxies, for these hosts; say whether that was anything."""
        proxied = proxied_locations(server, self.report)
        groups = sorted(self._group(proxied), key=lambda group: len(group.prefix))
        for group in groups:
            self._add_group(group, server, hosts, where)
            if len(groups) > 1 and group.main is not None and group.prefix:
                self.report.add(
                    group.main.said_by,
                    "taken over as a controller of its own; remove it if it is not Jenkins",
                )
        self._cover_patterns(groups, server)
        if groups:
            self._forget_what_no_route_has(groups, server)
        return bool(groups)

    def _forget_what_no_route_has(self, groups: list[Group], server: Scope) -> None:
        """Say of closed locations beside all routes that they stay closed."""
        prefixes = [f"{group.prefix}/" for group in groups]
        for location in locations_of(server):
            if location.kind not in ("", "^~", "=") or location.directive is None:
                continue
            path = f"{location.path.rstrip('/')}/"
            if closing(location.scope) and not any(map(path.startswith, prefixes)):
                self.report.not_needed(location.directive, "no route leads there")

    def _cover_patterns(self, groups: list[Group], server: Scope) -> None:
        """Take locations by pattern that go where a route goes anyway."""
        reached = {
            (each.main.target.scheme, each.main.target.authority) for each in groups if each.main
        }
        for location in locations_of(server):
            said = location.scope.own("proxy_pass")
            if not location.kind.startswith("~") or not said or own_rules(location.scope):
                continue
            target = parse_target(fill_in(said[-1].args[0], location.scope.variables()))
            if target and (target.scheme, target.authority) in reached and location.directive:
                self.report.take(location.directive, *said)

    def _group(self, proxied: list[Proxied]) -> list[Group]:
        by_target: dict[tuple[str, str], list[Proxied]] = {}
        for each in proxied:
            by_target.setdefault((each.target.scheme, each.target.authority), []).append(each)
        groups = []
        for members in by_target.values():
            members.sort(key=lambda each: len(each.path.rstrip("/")))
            groups += self._split(members)
        return groups

    def _split(self, members: list[Proxied]) -> list[Group]:
        groups: list[Group] = []
        for each in members:
            try:
                path = parse_prefix(each.path if each.path.startswith("/") else f"/{each.path}")
            except ValueError:
                self.report.leave_out(each.said_by, "such a path cannot be a route's")
                continue
            inside = next((g for g in groups if f"{path}/".startswith(f"{g.prefix}/")), None)
            if inside is not None:
                inside.parts.append(each)
                continue
            front, _, last = path.rpartition("/")
            if last in _PARTS:
                groups.append(Group(None, [each], front))
            elif each.location.kind == "=":
                self.report.leave_out(each.said_by, "a route is a path and all that is below it")
            else:
                groups.append(Group(each, [], self._prefix(each, path)))
        return groups

    def _prefix(self, main: Proxied, outside: str) -> str:
        """Return the controller's prefix; note where inside and outside differ."""
        if main.target.path is None:
            return outside
        try:
            inside = parse_prefix(main.target.path)
        except ValueError:
            self.report.leave_out(main.said_by, "such a path cannot be a controller's")
            return outside
        if inside == outside:
            return inside
        if inside:
            self.report.leave_out(
                main.said_by,
                f"paths are not rewritten: Jenkins is at {inside}/, and that is where people find"
                f" it now, not at {outside}/ any more",
            )
            return inside
        self.report.leave_out(
            main.said_by,
            f"paths are not rewritten: start Jenkins with --prefix={outside} (JENKINS_PREFIX), or"
            " give it a host of its own",
        )
        return outside

    def _add_group(self, group: Group, server: Scope, hosts: list[str], where: Directive) -> None:
        first = group.members[0]
        made = self._controller(first, group.prefix)
        if made is None:
            return
        name = self._name(made, first.target)
        route: dict[str, Any] = {"controller": name}
        scope = group.main.location.scope if group.main else server
        self._expose(group, server, route)
        timeout = scope.last("proxy_read_timeout")
        seconds = None if timeout is None else parse_time(timeout.args[0])
        if timeout is not None and seconds:
            self.report.take(timeout)
            if seconds != 90:
                route["response_timeout"] = format_duration(seconds)
        for each in group.members:
            self.report.take(each.said_by)
            if each.location.directive is not None:
                self.report.take(each.location.directive)
        for host in hosts:
            self._add_route(host, route, group.prefix, where)

    def _add_route(self, host: str, route: dict[str, Any], prefix: str, where: Directive) -> None:
        for other in self.routes:
            if (other["host"], other["prefix"]) == (host, prefix):
                same = {key: other[key] for key in other if key not in ("id", "host", "prefix")}
                if same != route:
                    self.report.leave_out(
                        where,
                        f"there is another way for host {host}; a route holds for all listeners",
                    )
                return
        taken = {each["id"] for each in self.routes}
        self.routes.append(
            {"id": unique(route["controller"], taken), "host": host, "prefix": prefix, **route}
        )

    def _expose(self, group: Group, server: Scope, route: dict[str, Any]) -> None:
        scope = group.main.location.scope if group.main else server
        networks = read_rules(scope.nearest("allow", "deny"), self.report).networks
        parts: dict[str, tuple[str, ...] | None] = {}
        for part in group.parts:
            # What a location does not say itself is the server's, and never its neighbour's.
            rules = read_rules(part.location.scope.nearest("allow", "deny"), self.report)
            if group.main is None or (rules.understood and rules.networks != networks):
                parts[_below(part.path, group.prefix)] = rules.networks
        self._close(group, server, parts)
        if group.main is None:
            names = {path.lstrip("/") for path in parts}
            if "wsagents" in names and names <= _AGENTS and not any(parts.values()):
                route["expose"] = ["agents"]
                return
            route["expose"] = [_part(path, allowed) for path, allowed in parts.items()]
        elif parts:
            everything = {"set": "all", "allow_from": list(networks)} if networks else "all"
            route["expose"] = [everything, *(_part(path, nets) for path, nets in parts.items())]
        elif networks:
            route["allow_from"] = list(networks)

    def _close(self, group: Group, server: Scope, parts: dict[str, tuple[str, ...] | None]) -> None:
        """Take the locations that are closed to everybody."""
        for location in locations_of(server):
            reasons = closing(location.scope)
            if not reasons or location.directive is None or location.kind not in ("", "^~", "="):
                continue
            if location.scope.own("proxy_pass") or not f"{location.path}/".startswith(
                f"{group.prefix}/"
            ):
                continue
            path = _below(location.path, group.prefix)
            if group.main is None:
                self.report.not_needed(location.directive, "only what expose names gets through")
                continue
            try:
                ExposeConfig(paths=(path,))
            except ValueError:
                continue
            parts.setdefault(path, NOBODY)
            self.report.take(location.directive, *reasons)

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
        if found is None or not _is_host(found[0]):
            self.report.leave_out(proxied.said_by, "its address cannot be read")
            return []
        return [join_address(str(found[0]), found[1])]

    def _servers(self, upstream: Directive) -> list[str]:
        first: list[str] = []
        backup: list[str] = []
        for each in upstream.named("server"):
            found = split_address(each.args[0], 80)
            if found is None or found[0] is None or not _is_host(found[0]):
                self.report.leave_out(each, "only hosts with TCP ports can be taken over")
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
            self.report.leave_out(
                proxied.said_by,
                "nginx did not verify the certificate there, and the gateway does: set tls.ca_file"
                " and tls.server_name where it is not one of the public authorities'",
            )
        return tls

    def _name(self, made: dict[str, Any], target: Target) -> str:
        for name, other in self.controllers.items():
            if other == made:
                return name
        host = target.authority.rpartition(":")[0] or target.authority
        upstream = target.authority in self.upstreams
        wanted = target.authority if upstream else host.partition(".")[0]
        if not re.match(r"[A-Za-z]", wanted):
            wanted = "jenkins"
        wanted = re.sub(r"[^A-Za-z0-9_.-]", "-", wanted)[:50]
        name = unique(wanted if wanted != "localhost" else "jenkins", set(self.controllers))
        self.controllers[name] = made
        return name


def unique(wanted: str, taken: set[str]) -> str:
    """Return the name, with a number behind it where it is taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def _below(path: str, prefix: str) -> str:
    return path.rstrip("/").removeprefix(prefix) or "/"


def _part(path: str, allowed: tuple[str, ...] | None) -> dict[str, Any]:
    return {"paths": [path], **({"allow_from": list(allowed)} if allowed else {})}


def _is_host(text: str | None) -> bool:
    try:
        parse_host(text or "")
    except ValueError:
        return False
    return True
