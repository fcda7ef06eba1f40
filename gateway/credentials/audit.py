"""The audit log: what happened to credentials, who did it, from where. Channel ``audit``.

Owns: the lines. What operators do is in the store's trail, too (``issuing``); refusals, which
strangers can cause, are only here, and bounded: one line a minute for what is the same but for the
secret and the host within an IPv6 /64, then how often it was repeated.

Must not know: why something happened; secrets.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.config.networks import site_of
from gateway.credentials.conditions import format_time
from gateway.credentials.lockout import Lock
from gateway.credentials.nodes import AuditEntry
from gateway.credentials.policy import Presented
from gateway.observability.logs import get_logger

_log = get_logger("audit")
_MAX_NODE = 256  # characters of a refused agent's name
_SAME_EVERY: Final = 60.0  # seconds
_MOST_REFUSED: Final = 1000  # different refusals in that time; of more there is only the number


@dataclass(slots=True)
class _Refusal:
    """A refusal that was written, and how often it has been repeated since."""

    at: float
    fields: dict[str, str]
    repeated: int = 0


class Audit:
    """Writes the lines of one worker."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """``now``: seconds, that do not go back."""
        self._now = now
        self._refused: OrderedDict[tuple[str, ...], _Refusal] = OrderedDict()  # by ``at``
        self._more = 0
        self._more_at = float("-inf")

    def first_used(self, presented: Presented) -> None:
        """An issued secret was presented for the first time."""
        _log.info("credential first used", **_who(presented))

    def refused(self, presented: Presented, reason: str, *, by: str) -> None:
        """An agent was not let in; ``by`` is ``gateway`` or ``controller``."""
        self.write_repeated()
        address = presented.client_address
        fields = {**_who(presented), "by": by, "reason": reason}
        key = (
            presented.controller,
            fields["node"],
            site_of(address) or "",
            by,
            reason.replace(address, ""),
        )
        known = self._refused.get(key)
        if known is not None:
            known.repeated += 1
        elif len(self._refused) >= _MOST_REFUSED:
            self._more += 1
        else:
            self._refused[key] = _Refusal(self._now(), fields)
            _log.warning("agent refused", **fields)

    def write_repeated(self) -> None:
        """Write how often refusals of a minute ago were repeated; to be called now and then."""
        now = self._now()
        while self._refused:
            key, oldest = next(iter(self._refused.items()))
            if now < oldest.at + _SAME_EVERY:
                break
            del self._refused[key]
            if oldest.repeated:
                _log.warning("agent refused", **oldest.fields, repeated=oldest.repeated)
                self._refused[key] = _Refusal(now, oldest.fields)
        if self._more and now >= self._more_at + _SAME_EVERY:
            _log.warning("more agents refused", count=self._more)
            self._more, self._more_at = 0, now

    def locked(self, controller: str, lock: Lock) -> None:
        """An address is locked out, for a node or altogether."""
        _log.warning(
            "locked out",
            client=lock.address,
            controller=controller,
            node="all" if lock.node is None else lock.node[:_MAX_NODE],
            lock_s=lock.duration,
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
            **({"details": dict(entry.details)} if entry.details else {}),
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
