"""``allow`` and ``deny`` as networks.

Owns: nginx' first-match lists as lists of allowed networks. What is closed stays closed, and so is
what cannot be said; the report has it then.

Must not know: routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TYPE_CHECKING, Final

from gateway.importing.nginx_words import parse_network

if TYPE_CHECKING:
    from gateway.importing.nginx_scope import Scope
    from gateway.importing.nginx_source import Directive
    from gateway.importing.report import Report

# A part that nobody may use has to be let in for somebody: this machine, which nobody else is.
NOBODY: Final = ("127.0.0.1/32",)
# This machine, for what was served on its own addresses alone.
LOCAL: Final = (*NOBODY, "::1/128")
_EVERYBODY: Final = ("0.0.0.0/0", "::/0")
_MAX_NETWORKS: Final = 256  # of one list
_Network = IPv4Network | IPv6Network
_REFUSAL: Final = re.compile(r"[45]\d\d", re.ASCII)


Allowed = tuple[str, ...] | None
"""Who is let in; None is everybody."""


def read_rules(said: list[Directive], report: Report) -> Allowed:
    """Return whom ``allow`` and ``deny`` let in; without any of them it is everybody."""
    allowed: list[str] = []
    denied: list[str] = []
    is_closed = False
    for each in said:
        if each.args[0] == "all":
            is_closed = each.name == "deny"
            break
        network = parse_network(each.args[0])
        if network is not None:
            # The first that fits counts: what was refused before is not let in by this one.
            if each.name == "deny":
                denied.append(network)
            else:
                allowed += without((network,), denied)
        elif each.name == "deny":
            report.leave_out(each, "not a network, so it is not refused by the result")
        else:
            report.leave_out(
                each,
                "not a network, so it is not let in by the result: add its networks to allow_from",
            )
    if not is_closed and not denied:
        return _everybody(said, report)
    if not is_closed:
        # Whom nothing fits is let in, and so is who was let in before a wider network was refused.
        allowed += without(_EVERYBODY, denied)
    # Counted before any are put together: of more, some may not be less what is refused yet.
    if len(allowed) > _MAX_NETWORKS:
        for each in said:
            report.leave_out(
                each,
                f"that is more than {_MAX_NETWORKS} networks to let in, so nobody is: put those"
                " that are meant into allow_from",
            )
        return NOBODY
    if not is_closed:
        allowed = _put_together(allowed)
        if allowed == list(_EVERYBODY):
            return _everybody(said, report)
    report.take(*said)
    return tuple(dict.fromkeys(allowed)) or NOBODY


def _everybody(said: list[Directive], report: Report) -> Allowed:
    for each in said:
        report.not_needed(each, "everybody is let in there")
    return None


def without(networks: Iterable[str], refused: list[str]) -> list[str]:
    """Return networks less those that are refused; about as many as are wanted, not all."""
    rest = [ip_network(each) for each in networks]
    for each in map(ip_network, refused):
        if len(rest) > _MAX_NETWORKS:
            break
        rest = [piece for whole in rest for piece in _less(whole, each)]
    return [str(each) for each in rest]


def _less(whole: _Network, refused: _Network) -> list[_Network]:
    if not is_within(whole, refused) and not is_within(refused, whole):
        return [whole]
    if is_within(whole, refused):
        return []
    return sorted(whole.address_exclude(refused))  # type: ignore[arg-type]


def _put_together(networks: list[str]) -> list[str]:
    """Return as few networks as have the same addresses, IPv4 first."""
    found = [ip_network(each) for each in networks]
    fours = collapse_addresses(each for each in found if isinstance(each, IPv4Network))
    sixes = collapse_addresses(each for each in found if isinstance(each, IPv6Network))
    return [str(each) for each in (*fours, *sixes)]


def is_within(inner: _Network, outer: _Network) -> bool:
    """Say whether a network lies in another; of two families, none does."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def of_both(first: Allowed, second: Allowed) -> Allowed:
    """Return whom both lists let in. None is everybody."""
    if first is None or second is None:
        return first or second
    found = [
        str(one if is_within(one, other) else other)
        for one in map(ip_network, first)
        for other in map(ip_network, second)
        if is_within(one, other) or is_within(other, one)
    ]
    return tuple(dict.fromkeys(found)) or NOBODY


def own_rules(scope: Scope) -> list[Directive]:
    """Return ``allow`` and ``deny`` of the block itself."""
    return scope.own("allow", "deny")


def closing(scope: Scope) -> list[Directive]:
    """Return what closes a block to everybody; nothing where it is not closed."""
    own = own_rules(scope)
    if own and all(each.name == "deny" for each in own) and own[-1].args == ("all",):
        return own
    return [each for each in scope.own("return") if _REFUSAL.fullmatch(each.args[0])]
