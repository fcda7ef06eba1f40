"""Which redirect to https a server block makes of everything that is asked of it.

Owns: ``return``, ``rewrite`` and the conditions around them. Must not know: listeners.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.importing.nginx_words import Redirect, parse_redirect

if TYPE_CHECKING:
    from gateway.importing.nginx_scope import Scope
    from gateway.importing.nginx_source import Directive

_EVERYTHING: Final = re.compile(r"(?!\^/\$)\^?/?(\(/?\.\*\)|\.\*)?\$?")
# What is true of all requests that come without TLS, or of all for the block's own host.
_WITHOUT_TLS: Final = re.compile(
    r"\$(scheme|https|server_port|ssl_protocol)\s|\$(http_)?host\s+=\s", re.ASCII
)
_BY_FIELD: Final = re.compile(r"\$http_(x_forwarded_proto|x_scheme|cloudfront_forwarded_proto)\s")


@dataclass(frozen=True, slots=True)
class Redirecting:
    """A redirect and where it stands; ``by_field``: only of what a proxy in front calls http."""

    redirect: Redirect
    said_by: Directive
    around: Directive | None
    """The condition or location that it stands in."""
    by_field: bool = False


def answers_itself(server: Scope) -> bool:
    """Say whether the block answers everything by itself, before any of its locations."""
    return bool(server.own("return")) or any(
        _EVERYTHING.fullmatch(each.args[0])
        and (each.args[-1] in ("redirect", "permanent") or "://" in each.args[1])
        for each in server.own("rewrite")
    )


def find_redirect(server: Scope) -> Redirecting | None:
    """Return the redirect to https by which a server block answers everything, if there is one."""
    found = _find(server.directives, None)
    for each in server.own("if", "location"):
        if found is not None:
            break
        if each.name == "location":
            if each.args in (("/",), ("^~", "/")):
                found = _find(each.block or (), each)
            continue
        condition = " ".join(each.args).strip("( )") + " "
        if _WITHOUT_TLS.match(condition):
            found = _find(each.block or (), each)
        elif _BY_FIELD.match(condition):
            found = _find(each.block or (), each, by_field=True)
    return found


def _find(
    block: tuple[Directive, ...], around: Directive | None, *, by_field: bool = False
) -> Redirecting | None:
    for each in block:
        url = None
        if each.name == "return":
            url = each.args[-1]
        elif each.name == "rewrite" and _EVERYTHING.fullmatch(each.args[0]):
            url = each.args[1]
        found = None if url is None else parse_redirect(url)
        if found is not None:
            return Redirecting(found, each, around, by_field)
    return None
