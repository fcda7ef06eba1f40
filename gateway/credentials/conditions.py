"""Conditions besides the secret: from where, with which certificate, when, to which controller.

Owns: whether they hold, and the sentence that says which does not (for logs, never for callers).

Must not know: secrets, where conditions are written (configuration or store).

Everything is looked at even when the first thing fails: a refusal takes as long whatever its
reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.config.credentials import ClientCertificateCondition, NodeRule, NodesConfig
from gateway.config.networks import Network, is_in
from gateway.credentials.policy import CertificateNames, Presented


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold for a node. Times are seconds since the epoch; None and () ask for nothing."""

    allow_from: tuple[Network, ...] = ()
    certificate: ClientCertificateCondition | None = None
    valid_from: float | None = None
    valid_until: float | None = None

    def completed_by(self, former: Conditions) -> Conditions:
        """Return these, and of ``former`` what these do not ask for."""
        return Conditions(
            self.allow_from or former.allow_from,
            self.certificate or former.certificate,
            former.valid_from if self.valid_from is None else self.valid_from,
            former.valid_until if self.valid_until is None else self.valid_until,
        )

    def failures(self, presented: Presented, now: float) -> list[str]:
        """Return what does not hold, one sentence each."""
        found = []
        if self.allow_from and not is_in(self.allow_from, presented.client_address):
            found.append(f"{presented.client_address} is in none of its networks")
        if self.certificate is not None:
            found += _certificate_failures(self.certificate, presented)
        if self.valid_from is not None and now < self.valid_from:
            found.append(f"not valid before {format_time(self.valid_from)}")
        if self.valid_until is not None and now >= self.valid_until:
            found.append(f"not valid since {format_time(self.valid_until)}")
        return found


def _certificate_failures(condition: ClientCertificateCondition, presented: Presented) -> list[str]:
    if presented.certificate is None:
        return ["no client certificate was shown"]
    expected = condition.expected(presented.node)
    names = _names(presented.certificate, condition)
    if expected in names:
        return []
    shown = ", ".join(f'"{name}"' for name in names[:5]) or "nothing"
    return [f'the client certificate\'s {condition.by} is {shown}, not "{expected}"']


def _names(certificate: CertificateNames, condition: ClientCertificateCondition) -> tuple[str, ...]:
    return certificate.common if condition.by == "subject" else certificate.alternative


class NodeRules:
    """The configuration's rules. All that fit a node's name must hold."""

    def __init__(self, config: NodesConfig) -> None:
        self._rules = [(rule, Pattern(rule.match), _conditions(rule)) for rule in config.rules]
        self._unlisted_allowed = config.unlisted == "allow"

    def failures(self, presented: Presented, now: float) -> list[str]:
        """Return what does not hold, one sentence each, with the rule's pattern."""
        found = []
        listed = False
        for rule, pattern, conditions in self._rules:
            if not pattern.fits(presented.node):
                continue
            listed = True
            failures = conditions.failures(presented, now)
            if rule.deny:
                failures.append("denied")
            if rule.controllers is not None and presented.controller not in rule.controllers:
                failures.append(f"not allowed on {presented.controller}")
            found += [f'rule "{rule.match}": {failure}' for failure in failures]
        if not listed and not self._unlisted_allowed:
            found.append("no rule lists the node")
        return found

    def ends_at(self, node: str) -> float | None:
        """Return when the first of the node's rules ends, or None."""
        ends = [
            conditions.valid_until
            for _, pattern, conditions in self._rules
            if conditions.valid_until is not None and pattern.fits(node)
        ]
        return min(ends, default=None)


def _conditions(rule: NodeRule) -> Conditions:
    return Conditions(
        rule.allow_from or (),
        rule.client_certificate,
        None if rule.valid_from is None else rule.valid_from.timestamp(),
        None if rule.valid_until is None else rule.valid_until.timestamp(),
    )


class Pattern:
    """A name in which each ``*`` stands for any characters; matching takes linear time."""

    __slots__ = ("_first", "_last", "_middle", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._first, *rest = text.split("*")
        self._last = rest.pop() if rest else None
        self._middle = rest

    def fits(self, name: str) -> bool:
        """Say whether ``name`` fits."""
        if self._last is None:
            return name == self._text
        at, end = len(self._first), len(name) - len(self._last)
        if at > end or not (name.startswith(self._first) and name.endswith(self._last)):
            return False
        for part in self._middle:
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


def format_time(time: float) -> str:
    """Return a time as RFC 3339 has it, in UTC, to the second.

    For what no calendar has, the number: what is shown may come from a damaged or older store, and
    a time that looks odd must not cost more than that.
    """
    try:
        found = datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time:g} s after 1970"
    return found.isoformat(timespec="seconds").replace("+00:00", "Z")
