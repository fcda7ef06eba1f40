"""Which locations of a server block go to which address.

Owns: prefixes, regular expressions, named locations behind ``try_files`` and ``error_page``, and
the older ``if (!-f $request_filename) { proxy_pass ...; }``.

Must not know: gateway.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.importing.nginx_scope import Scope
from gateway.importing.nginx_words import Target, fill_in, parse_target

if TYPE_CHECKING:
    from gateway.importing.nginx_source import Directive
    from gateway.importing.report import Report

_BEGINNING: Final = re.compile(r"\^((?:/[\w-]+)*)(?:/|/?\.\*|/\(\.\*\)|\(/\|\$\))?\$?", re.ASCII)
_PREFIX_KINDS: Final = ("", "^~", "=")


@dataclass(frozen=True, slots=True)
class Location:
    """A place of the server: ``kind`` is "", "=", "^~", "~", "~*" or "@" (in nginx' own words)."""

    kind: str
    path: str
    scope: Scope
    directive: Directive | None
    """None for what stands in the server block itself."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """A location whose requests go to ``target``."""

    location: Location
    target: Target
    said_by: Directive

    @property
    def path(self) -> str:
        """Return the path that its requests begin with."""
        return self.location.path


def locations_of(scope: Scope) -> Iterator[Location]:
    """Yield the locations of a server block, nested ones, too."""
    for each in scope.own("location"):
        kind, path = _plain(*_read(each.args))
        inner = scope.inner(each)
        yield Location(kind, path, inner, each)
        yield from locations_of(inner)


def _read(args: tuple[str, ...]) -> tuple[str, str]:
    if len(args) > 1:
        return args[0], args[1]
    text = args[0] if args else "/"
    if text.startswith("@"):
        return "@", text
    # nginx takes "location =/x" and "location ~^/x", too.
    for kind in ("^~", "~*", "=", "~"):
        if text.startswith(kind):
            return kind, text[len(kind) :]
    return "", text


def _plain(kind: str, text: str) -> tuple[str, str]:
    """Return a pattern that is nothing but the beginning of a path as such a beginning."""
    match = _BEGINNING.fullmatch(text) if kind == "~" else None
    return (kind, text) if match is None else ("", match[1] or "/")


def proxied_locations(server: Scope, report: Report) -> list[Proxied]:
    """Return the locations with a path that are proxied. What cannot be read is noted."""
    everything = list(locations_of(server))
    named = {each.path: each for each in everything if each.kind == "@"}
    found: list[Proxied] = []
    whole = Location("", "/", server, None)
    for each in (*(loc for loc in everything if loc.kind in _PREFIX_KINDS), whole):
        place, passing = each, _passing(each.scope)
        if passing is None:
            other = _led_to(each.scope, named)
            if other is None:
                continue
            place, passing = other, _passing(other.scope)
        if passing is None:
            continue
        target = parse_target(fill_in(passing.args[0], place.scope.variables()))
        if target is None:
            report.leave_out(
                passing, "only http and https addresses that are written out can be taken over"
            )
            continue
        if place is not each and place.directive is not None:
            report.take(place.directive)
        report.take(*(each for each in place.scope.own("if") if passing in (each.block or ())))
        found.append(
            Proxied(Location(each.kind, each.path, place.scope, each.directive), target, passing)
        )
    return found


def _passing(scope: Scope) -> Directive | None:
    own = scope.own("proxy_pass")
    if own:
        return own[-1]
    for each in scope.own("if"):
        # Files are Jenkins' own matter, so what is done where there is no file is done always.
        if any(arg.lstrip("(!") in ("-f", "-e", "-d") for arg in each.args):
            inner = each.named("proxy_pass")
            if inner:
                return inner[-1]
    return None


def _led_to(scope: Scope, named: dict[str, Location]) -> Location | None:
    for each in (*scope.own("try_files"), *scope.own("error_page")):
        if each.args and each.args[-1] in named:
            return named[each.args[-1]]
    return None
