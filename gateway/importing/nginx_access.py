"""``allow`` and ``deny`` as networks.

Owns: what of nginx' first-match lists can be said by a list of allowed networks. What is closed
stays closed. Where a list cannot be said, nothing is carried over, and the report says what is open
then.

Must not know: routes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.importing.nginx_words import parse_network

if TYPE_CHECKING:
    from gateway.importing.nginx_scope import Scope
    from gateway.importing.nginx_source import Directive
    from gateway.importing.report import Report

# A part that nobody may use has to be let in for somebody: this machine, which nobody else is.
NOBODY: Final = ("127.0.0.1/32",)
_UNSAYABLE: Final = (
    "only allowed networks can be named, not refused ones; it is open to everybody in the result:"
    " put the allowed networks into allow_from"
)
_REFUSAL: Final = re.compile(r"4\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rules:
    """Who is let in. ``networks`` is None for everybody."""

    networks: tuple[str, ...] | None = None
    understood: bool = True


def read_rules(said: list[Directive], report: Report) -> Rules:
    """Return whom ``allow`` and ``deny`` let in; without any of them it is everybody."""
    networks: list[str] = []
    for each in said:
        everybody = each.args[0] == "all"
        if each.name == "deny":
            if everybody:
                report.take(*said)
                return Rules(tuple(dict.fromkeys(networks)) or NOBODY)
            for left in said:
                report.leave_out(left, _UNSAYABLE)
            return Rules(understood=False)
        if everybody:
            break
        network = parse_network(each.args[0])
        if network is None:
            report.leave_out(
                each,
                "not a network, so it is not let in by the result: add its networks to allow_from",
            )
        else:
            networks.append(network)
    for each in said:
        report.not_needed(each, "everybody is let in there")
    return Rules()


def own_rules(scope: Scope) -> list[Directive]:
    """Return ``allow`` and ``deny`` of the block itself."""
    return scope.own("allow", "deny")


def closing(scope: Scope) -> list[Directive]:
    """Return what closes a block to everybody; nothing where it is not closed."""
    own = own_rules(scope)
    if own and all(each.name == "deny" for each in own) and own[-1].args == ("all",):
        return own
    return [each for each in scope.own("return") if _REFUSAL.fullmatch(each.args[0])]
