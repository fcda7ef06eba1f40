"""From closed and restricted locations to a route's ``expose`` and ``allow_from``.

Owns: which parts of a controller are for whom. What nginx closed stays closed. Must not know:
controllers, hosts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.config.routing import ExposeConfig
from gateway.importing.nginx_access import NOBODY, closing, own_rules, read_rules
from gateway.importing.nginx_groups import AGENTS, ROOT
from gateway.importing.nginx_locations import locations_of
from gateway.importing.nginx_words import fill_in, parse_target

if TYPE_CHECKING:
    from gateway.importing.nginx_groups import Group
    from gateway.importing.nginx_locations import Location
    from gateway.importing.nginx_scope import Scope
    from gateway.importing.report import Report

_PATHS: Final = ("", "^~", "=")


class Exposure:
    """Reads what one server block says."""

    __slots__ = ("_groups", "_locations", "_report", "_server")

    def __init__(self, server: Scope, groups: list[Group], report: Report) -> None:
        self._server = server
        self._groups = groups
        self._report = report
        self._locations = locations_of(server)

    def read(self, group: Group) -> dict[str, Any]:
        """Return the keys of the group's route that say who gets what."""
        scope = group.main.location.scope if group.main else self._server
        networks = read_rules(scope.nearest("allow", "deny"), self._report).networks
        parts: dict[str, tuple[str, ...] | None] = {}
        for part in group.parts:
            # What a location does not say itself is the server's, and never its neighbour's.
            rules = read_rules(part.location.scope.nearest("allow", "deny"), self._report)
            if group.main is not None and (not rules.understood or rules.networks == networks):
                continue
            if group.main is not None and networks and part.location.kind == "=":
                self._report.add(
                    part.location.directive or part.said_by,
                    "a part is a path and all that is below it, so it stays as closed as the rest:"
                    " see expose",
                )
                continue
            if not self._add_part(parts, part.location, group, rules.networks):
                self._report.add(
                    part.location.directive or part.said_by,
                    "such a path cannot be a part of a route by itself: see expose",
                )
        self._close(group, parts)
        if group.main is None:
            names = {path.lstrip("/") for path in parts}
            if "wsagents" in names and names <= AGENTS and not any(parts.values()):
                return {"expose": ["agents"]}
            return {"expose": _put_together(parts)}
        if parts:
            everything = {"set": "all", "allow_from": list(networks)} if networks else "all"
            return {"expose": [everything, *_put_together(parts)]}
        return {"allow_from": list(networks)} if networks else {}

    def _add_part(
        self,
        parts: dict[str, tuple[str, ...] | None],
        location: Location,
        group: Group,
        networks: tuple[str, ...] | None,
    ) -> bool:
        """Add a path, and what nginx counts in with it; say whether it can be a part."""
        path = _below(location.path, group.prefix)
        try:
            ExposeConfig(paths=(path,))
        except ValueError:
            return False
        parts.setdefault(path, networks)
        if networks is None or not location.is_open or location.directive is None or path == "/":
            return True
        mine = location.path
        longer = [each.path for each in self._locations if len(each.path) > len(mine)]
        begun = [f"/{name}" for name in sorted(ROOT) if f"/{name}".startswith(path)]
        for each in begun:
            whole = group.prefix + each
            if each != path and not any(whole.startswith(other) for other in longer):
                parts.setdefault(each, networks)
        self._report.add(
            location.directive,
            f"nginx counted in every path that begins so; here it is {path} and what is below it"
            + "".join(f", and {each}" for each in begun if each in parts and each != path)
            + ": add more to expose if there are any",
        )
        return True

    def _close(self, group: Group, parts: dict[str, tuple[str, ...] | None]) -> None:
        """Take the locations that are closed to everybody."""
        for location in self._locations:
            reasons = closing(location.scope)
            answers = location.scope.own("return")
            passing = None if answers else location.scope.own("proxy_pass")
            if passing and location.scope.own("internal"):
                if not self._goes_to(location, group):
                    continue
                reasons = location.scope.own("internal")
            elif passing:
                continue
            if not reasons or location.directive is None or location.kind not in _PATHS:
                continue
            if not group.has(location.path) or self._belongs_elsewhere(location, group):
                continue
            if group.main is None:
                self._report.not_needed(location.directive, "only what expose names gets through")
            elif self._add_part(parts, location, group, NOBODY):
                self._report.take(location.directive, *reasons)

    def _goes_to(self, location: Location, group: Group) -> bool:
        said = location.scope.own("proxy_pass")[-1].args[0]
        target = parse_target(fill_in(said, location.scope.variables()))
        first = group.members[0].target
        return target is not None and (target.scheme, target.authority) == (
            first.scheme,
            first.authority,
        )

    def _belongs_elsewhere(self, location: Location, group: Group) -> bool:
        return any(
            len(other.prefix) > len(group.prefix) and other.has(location.path)
            for other in self._groups
        )

    def note_the_rest(self) -> None:
        """Settle closed locations beside all routes, and patterns that go where a route goes."""
        for location in self._locations:
            if location.directive is None:
                continue
            if location.kind in _PATHS:
                self._note_path(location)
            elif location.scope.own("proxy_pass") and any(
                self._goes_to(location, group) for group in self._groups if group.main
            ):
                said = location.scope.own("proxy_pass")
                if own_rules(location.scope):
                    self._report.leave_out(
                        location.directive,
                        "parts of routes go by the beginnings of paths, not by patterns: it is as"
                        " open as the rest of its route now; see expose",
                    )
                else:
                    self._report.take(location.directive, *said)

    def _note_path(self, location: Location) -> None:
        """Settle a location that is closed where no route leads, or sends people to a prefix."""
        scope, directive = location.scope, location.directive
        if directive is None or scope.own("proxy_pass"):
            return
        if closing(scope):
            if not any(group.has(location.path) for group in self._groups):
                self._report.not_needed(directive, "no route leads there")
            return
        sends = [
            each.args[-1] if each.name == "return" else each.args[1]
            for each in scope.own("return", "rewrite")
        ]
        for group in self._groups:
            if not group.prefix or not any(group.prefix in each for each in sends):
                continue
            if location.path.rstrip("/") == group.prefix:
                self._report.not_needed(directive, "Jenkins does so by itself")
            else:
                self._report.leave_out(
                    directive,
                    f"the gateway sends nobody from {location.path} to Jenkins: people have to go"
                    f" to {group.prefix}/",
                )


def _below(path: str, prefix: str) -> str:
    return path.rstrip("/").removeprefix(prefix) or "/"


def _put_together(parts: dict[str, tuple[str, ...] | None]) -> list[dict[str, Any]]:
    """Return the parts, paths for the same people in one."""
    found: dict[tuple[str, ...] | None, list[str]] = {}
    for path, allowed in parts.items():
        found.setdefault(allowed, []).append(path)
    return [
        {"paths": paths, **({"allow_from": list(allowed)} if allowed else {})}
        for allowed, paths in found.items()
    ]
