"""Which locations nginx never comes to, because another one always comes first.

Owns: the order of nginx: "=", then the longest prefix, then patterns in their order unless that
prefix is "^~"; in nested locations first. Must not know: what a location does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.importing.nginx_locations import Location
    from gateway.importing.report import Report


class Choice:
    """Tells the locations of a server block that are reached from those that are not."""

    __slots__ = ("_all", "_around", "_beside", "reached")

    def __init__(self, locations: list[Location]) -> None:
        self._all = locations
        self._around = {id(each.scope): each for each in reversed(locations)}
        self._beside: dict[int, list[Location]] = {}
        for each in locations:
            self._beside.setdefault(id(each.scope.outer), []).append(each)
        self.reached = [found for each in locations if (found := self._what(each)) is not None]

    def note(self, report: Report) -> None:
        """Note those that are not reached, with what comes first."""
        reached = {id(each.directive) for each in self.reached}
        for each in self._all:
            first = self._first(each)
            if first is None or first.directive is None or each.directive is None:
                continue
            reason = (
                f"nginx never came here for {each.path}: {_shown(first)} of line"
                f" {first.directive.line} comes first, so that is what the result has"
            )
            if id(each.directive) in reached:
                report.add(each.directive, reason)
            else:
                report.leave_out(each.directive, reason)

    def _what(self, location: Location) -> Location | None:
        """Return what nginx has there, if it is not there anyway."""
        first = self._first(location)
        if first is None:
            return location
        if first.pattern and self._first(first) is not None:
            # "^~ /a" ends the search and a longer "/a/b" does not: of a pattern, /a/b is left.
            begin, is_open = location.begin, location.is_open
            return replace(first, path=location.path, begin=begin, is_open=is_open)
        return None

    def _first(self, location: Location) -> Location | None:
        """Return what always comes before a location; None where it is reached."""
        place: Location | None = location
        while place is not None and place.kind != "@":
            beside = self._beside[id(place.scope.outer)]
            if place.pattern:
                return _ended(location, beside) or _covering(location, _patterns(beside, place))
            if place.kind == "=":
                return None
            first = None if place.kind == "^~" else _covering(location, _patterns(beside, None))
            if first is not None:
                return first
            place = self._around.get(id(place.scope.outer))
        return None


def _patterns(beside: list[Location], before: Location | None) -> Iterator[Location]:
    for each in beside:
        if before is not None and each.scope is before.scope:
            return
        if each.pattern:
            yield each


def _ended(location: Location, beside: list[Location]) -> Location | None:
    """Return the prefix that ends the search before any pattern."""
    if location.kind in ("~", "~*"):
        return None
    prefixes = [
        each
        for each in beside
        if not each.pattern and each.kind in ("", "^~") and location.begin.startswith(each.path)
    ]
    longest = max(prefixes, key=lambda each: len(each.path), default=None)
    return longest if longest is not None and longest.kind == "^~" else None


def _covering(location: Location, patterns: Iterable[Location]) -> Location | None:
    return next((each for each in patterns if _covers(each, location)), None)


def _covers(pattern: Location, location: Location) -> bool:
    """Say whether a pattern has all that a location has; of what is more than a beginning, no."""
    if pattern.kind in ("~", "~*") or location.kind in ("~", "~*"):
        return False
    mine, other = location.begin, pattern.begin
    if pattern.pattern == "~*":
        mine, other = mine.lower(), other.lower()
    if mine == other and (location.kind == "=" or not location.is_open):
        return True
    if pattern.kind == "=":
        return False
    return mine.startswith(other if pattern.is_open or other.endswith("/") else f"{other}/")


def _shown(location: Location) -> str:
    args = () if location.directive is None else location.directive.args
    return f"location {' '.join(args)}"
