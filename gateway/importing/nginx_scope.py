"""Blocks with what they inherit, as nginx does it.

Owns: which directive is in force in a block, and the value it has there. Must not know:
gateway.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.importing.nginx_source import Directive
from gateway.importing.nginx_words import fill_in


@dataclass(frozen=True, slots=True)
class Scope:
    """A block within its outer blocks."""

    directives: tuple[Directive, ...]
    outer: Scope | None = None

    def inner(self, directive: Directive) -> Scope:
        """Return the scope of a block in this one."""
        return Scope(directive.block or (), self)

    def own(self, *names: str) -> list[Directive]:
        """Return the directives of these names in the block itself."""
        return [each for each in self.directives if each.name in names]

    def nearest(self, *names: str) -> list[Directive]:
        """Return them from the innermost block that has any: inner ones replace outer ones."""
        found = self.own(*names)
        if found or self.outer is None:
            return found
        return self.outer.nearest(*names)

    def last(self, name: str) -> Directive | None:
        """Return the one that is in force; None where there is none."""
        found = self.nearest(name)
        return found[-1] if found else None

    def is_on(self, name: str) -> bool:
        """Say whether a switch is on."""
        found = self.last(name)
        return found is not None and found.args == ("on",)

    def variables(self) -> dict[str, str]:
        """Return what ``set`` gives constant values to, and the first name of the server."""
        known = {} if self.outer is None else self.outer.variables()
        for name in (arg for each in self.own("server_name") for arg in each.args[:1]):
            if re.fullmatch(r"[\w.-]+", name, re.ASCII):
                known.setdefault("server_name", name)
        for each in self.own("set"):
            value = fill_in(each.args[1], known)
            if "$" not in value:
                known[each.args[0].lstrip("$")] = value
        return known


def walk(directives: tuple[Directive, ...]) -> Iterator[Directive]:
    """Yield all directives, outer ones first."""
    for each in directives:
        yield each
        if each.block is not None:
            yield from walk(each.block)
