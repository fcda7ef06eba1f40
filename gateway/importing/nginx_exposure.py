"""From closed and restricted locations to a route's ``expose`` and ``allow_from``.

Owns: which parts of a controller are for whom. What nginx refused stays refused, as far as it is a
path; where it had files or a pattern instead, the report says that Jenkins is open there now.

Must not know: controllers, hosts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.config.routing import ExposeConfig
from gateway.importing.jenkins_names import AGENTS, ROOT, spell
from gateway.importing.nginx_access import (
    NOBODY,
    Allowed,
    closing,
    of_both,
    own_rules,
    read_rules,
)
from gateway.importing.nginx_choice import Choice
from gateway.importing.nginx_locations import locations_of
from gateway.importing.nginx_words import fill_in, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importing.nginx_groups import Group
    from gateway.importing.nginx_locations import Location, Proxied
    from gateway.importing.nginx_scope import Scope
    from gateway.importing.nginx_source import Directive
    from gateway.importing.report import Report

_PATHS: Final = ("", "^~", "=")


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A location, and who gets what it has. ``reasons``: what restricts one not passed on."""

    location: Location
    allowed: Allowed
    reasons: list[Directive] | None = None


class Exposure:
    """Reads what one server block says."""

    __slots__ = ("_groups", "_locations", "_report", "_server")

    def __init__(self, server: Scope, groups: list[Group], report: Report) -> None:
        self._server = server
        self._groups = groups
        self._report = report
        self._locations = Choice(locations_of(server)).reached

    def read(self, group: Group) -> dict[str, Any]:
        """Return the keys of the group's route that say who gets what."""
        networks = self._allowed(group.main) if group.main else None
        wanted = [_Part(each.location, self._allowed(each)) for each in group.parts]
        wanted += self._closed(group)
        parts: dict[str, Allowed] = {}
        # Shorter ones first: what a longer one is compared with is what it is in.
        wanted.sort(key=lambda e: (len(e.location.path.rstrip("/")), e.location.kind == "="))
        for part in wanted:
            self._add(parts, part, group, networks)
        if group.main is None:
            names = {path.lstrip("/") for path in parts}
            if "wsagents" in names and names <= AGENTS and not any(parts.values()):
                return {"expose": ["agents"]}
            return {"expose": _put_together(parts)}
        if parts:
            everything = {"set": "all", "allow_from": list(networks)} if networks else "all"
            return {"expose": [everything, *_put_together(parts)]}
        return {"allow_from": list(networks)} if networks else {}

    def _allowed(self, proxied: Proxied) -> Allowed:
        # What a location does not say itself is the server's, and never its neighbour's. Who is
        # led to a named location has been let in twice.
        return of_both(
            read_rules(proxied.asked.nearest("allow", "deny"), self._report),
            read_rules(proxied.location.scope.nearest("allow", "deny"), self._report),
        )

    def _add(self, parts: dict[str, Allowed], part: _Part, group: Group, networks: Allowed) -> None:
        """Add a part, unless what it is in has the same."""
        location, allowed = part.location, part.allowed
        said_by = location.directive or part.location.scope.directives[0]
        path = _below(location.path, group.prefix)
        around = _around(parts, path)
        if group.main is None and around is None and part.reasons is not None:
            self._report.not_needed(said_by, "only what expose names gets through")
            return
        inherited = parts[around] if around is not None else networks
        is_inside = group.main is not None or around is not None
        if part.reasons is None and is_inside and allowed == inherited:
            return
        if is_inside and location.kind == "=" and of_both(allowed, inherited) != allowed:
            self._report.add(
                said_by,
                "a part is a path and all that is below it, so it stays as closed as the rest:"
                " see expose",
            )
            return
        if not is_inside and location.kind == "=" and path.lstrip("/") not in AGENTS:
            self._report.add(
                said_by,
                "a part is a path and all that is below it, so what is below is let through, too:"
                " see expose",
            )
        if self._add_part(parts, location, group, allowed):
            self._report.take(said_by, *(part.reasons or ()))
        elif part.reasons is None:
            self._report.add(
                said_by, "such a path cannot be a part of a route by itself: see expose"
            )

    def _add_part(
        self, parts: dict[str, Allowed], location: Location, group: Group, networks: Allowed
    ) -> bool:
        """Add a path, and what nginx counts in with it; say whether it can be a part."""
        path = _below(location.path, group.prefix)
        try:
            ExposeConfig(paths=(path,))
        except ValueError:
            return False
        if parts.setdefault(path, networks) != networks:
            parts[path] = of_both(parts[path], networks)
            self._report.add(
                location.directive or location.scope.directives[0],
                f"another location has {path}, too, and here they are one: it is for those whom"
                " both let in",
            )
        if networks is None or location.directive is None:
            return True
        if path == "/":
            if location.kind == "=":
                self._report.add(
                    location.directive,
                    "a part is a path and all that is below it, so everything is as closed as the"
                    " first page was: take it out of expose if that is not meant",
                )
            return True
        if location.pattern == "~*" and path == spell(path):  # once, and not for its other case
            self._report.add(
                location.directive,
                "upper and lower case were the same there and are not here: names that Jenkins is"
                f" known to have are written as it spells them, others as there ({path}); add to"
                " expose what else there is",
            )
        if not location.is_open:
            return True
        begun = [each for each in _begun(path, location.pattern) if each != path]
        for each in begun:
            if not self._has_its_own(group.prefix + each, location, group):
                parts.setdefault(each, networks)
        self._report.add(
            location.directive,
            f"nginx counted in every path that begins so; here it is {path} and what is below it"
            + "".join(f", and {each}" for each in begun if each in parts)
            + ": add more to expose if there are any",
        )
        return True

    def _has_its_own(self, path: str, location: Location, group: Group) -> bool:
        """Say whether a longer location has a path and all that is below it."""
        return any(
            len(each.path) > len(location.path)
            and each.kind in ("", "^~")
            and path.startswith(each.path)
            and (
                closing(each.scope)
                or any(each.directive is part.location.directive for part in group.parts)
            )
            for each in self._locations
        )

    def _closed(self, group: Group) -> Iterator[_Part]:
        """Yield the locations that are closed to everybody, or to some and not passed on."""
        proxied = [each.location.directive for other in self._groups for each in other.members]
        for location in self._locations:
            if location.directive is None or location.kind not in _PATHS:
                continue
            if not group.has(location.path) or self._belongs_elsewhere(location, group):
                continue
            if any(each is location.directive for each in proxied):
                continue
            yield from self._restricted(location, group)

    def _restricted(self, location: Location, group: Group) -> Iterator[_Part]:
        own = location.scope.own
        passing = [] if own("return") else own("proxy_pass")
        if own("internal") and (
            self._goes_to(location, group) if passing else self._is_jenkins(location, group)
        ):
            yield _Part(location, NOBODY, own("internal"))
        elif not passing and closing(location.scope):
            yield _Part(location, NOBODY, closing(location.scope))
        elif not passing and not own("return") and self._is_jenkins(location, group):
            allowed = read_rules(own_rules(location.scope), self._report)
            if allowed is not None:
                # Files that nginx had, Jenkins has for the same people. Nothing else was there.
                has_files = "userContent" in location.path.split("/")
                found = allowed if has_files else NOBODY
                yield _Part(location, found, own_rules(location.scope))

    def _is_jenkins(self, location: Location, group: Group) -> bool:
        return _below(location.path, group.prefix).split("/")[1] in ROOT

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

    def _is_open(self, location: Location) -> bool:
        """Say whether a route leads to what Jenkins has there; its files are no matter."""
        owner = max(
            (each for each in self._groups if each.has(location.path)),
            key=lambda each: (len(each.prefix), each.main is not None),
            default=None,
        )
        if owner is None or not self._is_jenkins(location, owner):
            return False
        around = [each.path for each in owner.parts if each.location.kind != "="]
        if owner.main is None and _around(dict.fromkeys(around), location.path) is None:
            return False
        return _below(location.path, owner.prefix).split("/")[1] not in ("static", "userContent")

    def _note_path(self, location: Location) -> None:
        """Settle a location that is closed where no route leads, or sends people to a prefix."""
        scope, directive = location.scope, location.directive
        if directive is None or scope.own("proxy_pass"):
            return
        if closing(scope):
            if not any(group.has(location.path) for group in self._groups):
                self._report.not_needed(directive, "no route leads there")
            return
        has_files = scope.own("root", "alias", "index", "autoindex", "try_files", "expires")
        if has_files and not scope.own("return") and self._is_open(location):
            self._report.leave_out(
                directive,
                "nginx had files there and the gateway serves none: Jenkins has it now, and it is"
                " as open as the rest; see expose",
            )
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


def _around(parts: dict[str, Allowed], path: str) -> str | None:
    """Return the longest part that a path is in; None where there is none."""
    found = [each for each in parts if f"{path}/".startswith(f"{each.rstrip('/')}/")]
    return max(found, key=len, default=None)


def _begun(path: str, pattern: str) -> list[str]:
    """Return what Jenkins has that begins with a path."""
    if pattern == "~*":
        return [f"/{each}" for each in sorted(ROOT) if f"/{each.lower()}".startswith(path.lower())]
    return [f"/{each}" for each in sorted(ROOT) if f"/{each}".startswith(path)]


def _put_together(parts: dict[str, Allowed]) -> list[dict[str, Any]]:
    """Return the parts, paths for the same people in one."""
    found: dict[Allowed, list[str]] = {}
    for path, allowed in parts.items():
        found.setdefault(allowed, []).append(path)
    return [
        {"paths": paths, **({"allow_from": list(allowed)} if allowed else {})}
        for allowed, paths in found.items()
    ]
