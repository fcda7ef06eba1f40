"""Which locations of a server block go to which address.

Owns: prefixes, regular expressions, named locations behind ``try_files`` and ``error_page``, and
the older ``if (!-f $request_filename) { proxy_pass ...; }``.

Must not know: gateway.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.errors import ConfigError
from gateway.importing.jenkins_names import spell
from gateway.importing.nginx_choice import Choice
from gateway.importing.nginx_scope import Scope
from gateway.importing.nginx_words import Target, fill_in, parse_target

if TYPE_CHECKING:
    from gateway.importing.nginx_source import Directive
    from gateway.importing.report import Report

_WORD: Final = r"(?:[\w-]|\\[._-])+"
# Patterns that are nothing but beginnings of paths: ^/ci/, ^/ci(/|$), ^/(script|cli), ^/ci/(.*)$.
_BEGINNING: Final = re.compile(
    rf"\^((?:/{_WORD})*)(?:/\((?:\?:)?({_WORD}(?:\|{_WORD})*)\))?"
    r"(/|/?\.\*|/?\(\.\*\)|\(/\|\$\)|\(\$\|/\)|\(/\.\*\)\??)?(\$?)",
    re.ASCII,
)
_EVERYTHING: Final = re.compile(r"\^?(?:/|\.|\(?/?\.[*+]\)?)?\$?")
_FIRST_GROUP: Final = re.compile(r"/\$(?:1|\{1\})")
_PREFIX_KINDS: Final = ("", "^~", "=")
_MAX_LOCATIONS: Final = 1000  # of a server block


@dataclass(frozen=True, slots=True)
class Location:
    """A place of the server: ``kind`` is "", "=", "^~", "~", "~*" or "@" (in nginx' own words)."""

    kind: str
    path: str
    scope: Scope
    directive: Directive | None
    """None for what stands in the server block itself."""
    is_open: bool = False
    """Whether it has what merely begins so: /scriptText, where ``path`` is /script."""
    has_rest: bool = False
    """Whether ``$1`` is what follows ``path``."""
    pattern: str = ""
    """"~" or "~*" of a pattern, also of one whose ``kind`` is "" or "=" here."""
    begin: str = ""
    """What its requests begin with, to the letter: "/ci/", where ``path`` is /ci."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """A location whose requests go to ``target``."""

    location: Location
    target: Target
    said_by: Directive
    asked: Scope
    """The block that the request came to first; another one than ``location`` has for "@"."""

    @property
    def path(self) -> str:
        """Return the path that its requests begin with."""
        return self.location.path


def locations_of(scope: Scope) -> list[Location]:
    """Return the locations of a server block, nested ones, too; a pattern may be several."""
    found: list[Location] = []
    for each in scope.own("location"):
        kind, text = _read(each.args)
        inner = scope.inner(each)
        if kind in ("~", "~*"):
            found += _beginnings(kind, text, inner, each)
        else:
            is_open = kind in ("", "^~") and not text.endswith("/")
            found.append(Location(kind, text, inner, each, is_open, begin=text))
        found += locations_of(inner)
        if len(found) > _MAX_LOCATIONS:
            raise ConfigError(
                f"{each.file}:{each.line}: more than {_MAX_LOCATIONS} locations in a server block"
            )
    return found


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


def _beginnings(kind: str, text: str, scope: Scope, directive: Directive) -> list[Location]:
    """Return the beginnings of paths that a pattern stands for; itself where it is more."""
    text = text.replace("\\/", "/")
    if _EVERYTHING.fullmatch(text) and text not in ("^$", "^/$", "/$", "^.$"):
        text = "^/(.*)$" if "(" in text else "^/"
    match = _BEGINNING.fullmatch(text)
    if match is None:
        return [Location(kind, text, scope, directive, pattern=kind)]
    front, words, tail, end = match.groups()
    paths = [f"{front}/{word}" for word in words.split("|")] if words else [front]
    paths = [_plain(path) for path in paths]
    if kind == "~*":
        # In whatever case it is written there, Jenkins has it in one.
        paths = list(dict.fromkeys(each for path in paths for each in (path, spell(path))))
    if end and tail in (None, "/"):
        wholes = [f"{path}{tail or ''}" or "/" for path in paths]
        return [
            Location("=", whole, scope, directive, pattern=kind, begin=whole) for whole in wholes
        ]
    is_open = tail is None or tail.startswith((".", "/?", "(.*"))
    is_open = is_open or (tail.endswith("?") and not end)
    has_rest = not words and tail == "/(.*)"
    slash = "/" if tail in ("/", "/.*", "/(.*)", "(/.*)") else ""
    return [
        Location("", path or "/", scope, directive, is_open, has_rest, kind, f"{path}{slash}")
        for path in paths
    ]


def _plain(path: str) -> str:
    return path.replace("\\", "")


def proxied_locations(server: Scope, report: Report) -> list[Proxied]:
    """Return the locations with a path that are proxied. What cannot be read is noted."""
    everything = locations_of(server)
    choice = Choice(everything)
    choice.note(report)
    named = {each.path: each for each in everything if each.kind == "@"}
    found: list[Proxied] = []
    whole = Location("", "/", server, None)
    for each in (*(loc for loc in choice.reached if loc.kind in _PREFIX_KINDS), whole):
        if each.scope.own("return"):  # comes first, wherever it stands
            continue
        place, passing = each, _passing(each.scope)
        if passing is None:
            other = _led_to(each.scope, named)
            if other is None:
                continue
            place, passing = other, _passing(other.scope)
        if passing is None:
            continue
        if each.directive is not None and each.scope.own("internal"):
            report.not_needed(each.directive, "nobody but nginx itself could ask for it")
            continue
        text = fill_in(passing.args[0], place.scope.variables())
        target = parse_target(_FIRST_GROUP.sub("/", text) if each.has_rest else text)
        if target is None:
            report.leave_out(
                passing,
                "only http and https addresses that are written out can be taken over: write a"
                " controller and a route for it",
            )
            if each.directive is not None:
                report.take(each.directive)
            continue
        if place is not each and place.directive is not None:
            report.take(place.directive)
        report.take(*(each for each in place.scope.own("if") if passing in (each.block or ())))
        found.append(Proxied(replace(each, scope=place.scope), target, passing, each.scope))
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
