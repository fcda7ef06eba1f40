"""Which locations of a server block are one route.

Owns: the prefix of a controller, and where nginx rewrote paths. Must not know: controllers'
addresses, who is let in.

A route covers a controller with its prefix; nginx people write a location for each part of Jenkins
that needs other settings. So the shortest location of a target is the route, and the others are
covered by it. Where there is no such location but only parts of Jenkins (/wsagents/,
/github-webhook/), the route has nothing but them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.config.values import parse_prefix
from gateway.errors import ConfigError
from gateway.importing.jenkins_names import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.importing.nginx_locations import Proxied
    from gateway.importing.report import Report

_MAX_GROUPS: Final = 1000  # of a server block


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

    def has(self, path: str) -> bool:
        """Say whether a path is the prefix or below it."""
        return f"{path.rstrip('/')}/".startswith(f"{self.prefix}/")


def group_locations(proxied: Iterable[Proxied], report: Report) -> list[Group]:
    """Return the groups, shorter prefixes first; note what cannot be in one."""
    by_target: dict[tuple[str, str], list[Proxied]] = {}
    for each in proxied:
        by_target.setdefault((each.target.scheme, each.target.authority), []).append(each)
    groups: list[Group] = []
    for members in by_target.values():
        members.sort(key=lambda each: len(each.path.rstrip("/")))
        groups += _split(members, report)
    for group in groups:
        _note_rewritten(group, report)
    return sorted(groups, key=lambda group: len(group.prefix))


def _split(members: list[Proxied], report: Report) -> Iterator[Group]:
    groups: list[Group] = []
    for each in members:
        try:
            path = parse_prefix(each.path if each.path.startswith("/") else f"/{each.path}")
        except ValueError:
            report.leave_out(each.said_by, "such a path cannot be a route's")
            continue
        inside = next((group for group in groups if group.has(path)), None)
        if inside is not None:
            inside.parts.append(each)
            continue
        front, _, last = path.rpartition("/")
        given = each.target.path
        if given is not None and any(group.prefix and group.has(given) for group in groups):
            # Such as /github-webhook/ for a Jenkins that has it at /ci/github-webhook/.
            report.leave_out(
                each.said_by,
                f"paths are not rewritten: have whoever asks for {each.path} ask for {given}",
            )
            if each.location.directive is not None:
                report.take(each.location.directive)
        elif last in PARTS:
            groups.append(Group(None, [each], front))
        elif each.location.kind == "=":
            report.leave_out(
                each.said_by,
                "a route is a path and all that is below it: write one if that is meant",
            )
            if each.location.directive is not None:
                report.take(each.location.directive)
        else:
            groups.append(Group(each, [], _prefix(each, path, report)))
        if len(groups) > _MAX_GROUPS:
            raise ConfigError(
                f"{each.said_by.file}:{each.said_by.line}: more than {_MAX_GROUPS} routes in a"
                " server block"
            )
    yield from groups


def _prefix(main: Proxied, outside: str, report: Report) -> str:
    """Return the controller's prefix; note where inside and outside differ."""
    if main.target.path is None:
        return outside
    try:
        inside = parse_prefix(main.target.path)
    except ValueError:
        report.leave_out(main.said_by, "such a path cannot be a controller's")
        return outside
    if inside == outside:
        return inside
    if inside:
        report.add(
            main.said_by,
            f"paths are not rewritten: Jenkins is at {inside}/, and that is where people find"
            f" it now, not at {outside}/ any more",
        )
        return inside
    report.add(
        main.said_by,
        f"paths are not rewritten: start Jenkins with --prefix={outside} (JENKINS_PREFIX), or"
        " give it a host of its own",
    )
    return outside


def _note_rewritten(group: Group, report: Report) -> None:
    """Note the other ways in which nginx gave Jenkins another path than it was asked for."""
    main = group.main
    inside = outside = ""
    if main is not None:
        outside = main.path.rstrip("/")
        inside = outside if main.target.path is None else main.target.path.rstrip("/")
        for each in main.location.scope.own("rewrite"):
            if group.prefix and each.args[-1] == "break":
                report.leave_out(
                    each,
                    f"paths are not rewritten: start Jenkins with --prefix={group.prefix}"
                    " (JENKINS_PREFIX), or give it a host of its own",
                )
    for part in group.parts:
        expected = inside + part.path.rstrip("/").removeprefix(outside)
        given = part.target.path
        if given is not None and given.rstrip("/") != expected:
            report.add(
                part.said_by,
                f"paths are not rewritten: Jenkins is asked for {part.path}, no more for {given};"
                " have whoever uses it ask for the path that Jenkins knows",
            )
