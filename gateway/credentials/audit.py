"""The audit log: what happened to credentials, who did it, from where. Channel ``audit``.

Owns: the lines. What operators do is in the store's trail, too (``issuing``); refusals, which
strangers can cause, are only here.

Must not know: why something happened; secrets.
"""

from __future__ import annotations

from gateway.credentials.conditions import format_time
from gateway.credentials.lockout import Lock
from gateway.credentials.nodes import AuditEntry
from gateway.credentials.policy import Presented
from gateway.observability.logs import get_logger

_log = get_logger("audit")
_MAX_NODE = 256  # characters of a refused agent's name


class Audit:
    """Writes the lines of one worker."""

    def first_used(self, presented: Presented) -> None:
        """An issued secret was presented for the first time."""
        _log.info("credential first used", **_who(presented))

    def refused(self, presented: Presented, reason: str, *, by: str) -> None:
        """An agent was not let in; ``by`` is ``gateway`` or ``controller``."""
        _log.warning("agent refused", **_who(presented), by=by, reason=reason)

    def locked(self, controller: str, lock: Lock) -> None:
        """An address is locked out, for a node or altogether."""
        _log.warning(
            "locked out",
            address=lock.address,
            controller=controller,
            node="all" if lock.node is None else lock.node[:_MAX_NODE],
            seconds=lock.duration,
        )

    def ended(self, presented: Presented, reason: str) -> None:
        """A live session is ended, since it would not be let in any more."""
        _log.warning("session no longer allowed", **_who(presented), reason=reason)

    def done(self, entry: AuditEntry) -> None:
        """An operator did something with a command."""
        known = {"controller": entry.controller, "node": entry.node}
        _log.info(
            f"credential {entry.event}" if entry.node is not None else entry.event,
            at=format_time(entry.at),
            operator=entry.operator,
            **{name: value for name, value in known.items() if value is not None},
            **entry.details,
        )

    def unlocked(self, records: int) -> None:
        """Failures were forgotten, as an operator said."""
        _log.info("worker has unlocked", records=records)


def _who(presented: Presented) -> dict[str, str]:
    return {
        "controller": presented.controller,
        "node": presented.node[:_MAX_NODE],
        "client": presented.client_address,
    }
