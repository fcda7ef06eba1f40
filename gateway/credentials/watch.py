"""The watch over who has passed the gate.

Owns: looking again at live sessions, on reload, when the store changes, when something ends, and
every few minutes; doing what operators said in the store.

Must not know: sessions (what is watched ends itself), how a mode verifies.

What cannot be read ends nobody: not a store that fails, not one damaged record. What is known
without it holds all the same.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import trio

from gateway.credentials.audit import Audit
from gateway.credentials.clock import earliest
from gateway.credentials.conditions import format_time
from gateway.credentials.lockout import Lockout
from gateway.credentials.modes import Policy
from gateway.credentials.nodes import DAMAGED_REMEDY, Credential, Node, context_of
from gateway.credentials.policy import Granted, Presented
from gateway.credentials.store_access import StoreAccess
from gateway.errors import CredentialsUnavailable, NotAuthorized
from gateway.observability.logs import get_logger

_log = get_logger("system")

POLL_EVERY: Final = 2.0  # seconds between two looks at the store's revision
RECHECK_EVERY: Final = 300.0  # seconds between two looks at everything
_RECHECKED_AT_ONCE: Final = 64  # sessions, about a millisecond


class Watched(Protocol):
    """Somebody who has passed the gate and has a session."""

    granted: Granted

    @property
    def presented(self) -> Presented:
        """Return what was presented, without the secret."""

    @property
    def fingerprint(self) -> bytes:
        """Return the keyed hash of the secret."""

    @property
    def ends_at(self) -> float | None:
        """Return when it ends by itself, seconds since the epoch."""

    @property
    def over(self) -> bool:
        """Say whether there is no session, or it has been ended, which takes it a moment."""

    def end(self, error: NotAuthorized) -> None:
        """End the session, once."""


class Watch:
    """Looks at the live sessions of one worker, as long as it runs."""

    def __init__(
        self,
        policy: Policy,
        access: StoreAccess,
        store_file: Path,
        *,
        lockout: Lockout,
        audit: Audit,
        now: Callable[[], float],
    ) -> None:
        """``now``: seconds since the epoch. The store is used once there is ``store_file``."""
        self._policy = policy
        self._access = access
        self._store_file = store_file
        self._lockout = lockout
        self._audit = audit
        self._now = now
        self._live: set[Watched] = set()
        self._wake = trio.Event()
        self._recheck_due = False
        self._unchecked = False  # against the store, which failed when it was time to
        self.rechecks = 0
        self._revision: int | None = None
        self._file: object = None  # that the revision is of
        self._unlocks: int | None = None
        self._readable = False  # when it was looked at last
        self._unheard = False
        self._unavailable = ""  # what was reported
        self._damaged: frozenset[str] = frozenset()  # the same of single nodes

    def follow(self, policy: Policy) -> None:
        """Judge by another policy from now on, and look at everybody, at once."""
        self._policy = policy
        self.recheck()

    def recheck(self) -> None:
        """Have ``run`` look at every live session, at once."""
        self._recheck_due = True
        self._wake.set()

    @property
    def live(self) -> int:
        """Return how many sessions are watched over."""
        return len(self._live)

    @contextmanager
    def over(self, admission: Watched, rechecks: int) -> Iterator[None]:
        """Watch over a session; ``rechecks`` is how many there had been when it was judged."""
        self._live.add(admission)
        if rechecks != self.rechecks:
            self.recheck()  # it was judged by what may have changed since
        try:
            yield
        finally:
            self._live.discard(admission)

    async def run(self) -> None:
        """Watch until cancelled."""
        checked_at = trio.current_time()
        if not self._store_exists():
            self._revision = self._unlocks = 0  # whatever is said from now on is for this worker
        try:
            while True:
                self._audit.write_repeated()
                changed = await self._poll()
                now = trio.current_time()
                if changed or self._has_ended() or now >= checked_at + RECHECK_EVERY:
                    checked_at = now
                    await self._recheck()
                # Last, since it has to wait for whoever else writes to the store.
                await self._hear_operators()
                with trio.move_on_after(POLL_EVERY):
                    await self._wake.wait()
                self._wake = trio.Event()
        finally:
            self._access.close()

    def _has_ended(self) -> bool:
        now = self._now()
        ends = (each.ends_at for each in self._live if not each.over)
        return any(end is not None and end <= now for end in ends)

    async def _poll(self) -> bool:
        """Say whether there is a reason to look at everybody again."""
        due, self._recheck_due = self._recheck_due, False
        self._readable = False
        if not (self._policy.needs_store or self._store_exists()):
            return due
        try:
            revision, file = await self._access.call(lambda store: (store.revision(), store.file()))
            if (revision, file) != (self._revision, self._file):
                if self._file not in (None, file):
                    _log.warning("the node store was replaced by another file")
                    self._revision = self._unlocks = None
                # None: nobody knows what has changed since those that are live were judged.
                due = due or self._revision is not None or bool(self._live)
                self._revision, self._file = revision, file
                self._unheard = True
        except CredentialsUnavailable as error:
            self._report(error)
            self._unchecked = self._unchecked or due
            return due  # rules and times hold without the store
        except Exception as error:  # whatever a store holds, it must not end the watch
            self._report(error)
            return True  # what has changed, cannot be told
        due, self._unchecked = due or self._unchecked, False
        self._readable = True
        return due

    def _store_exists(self) -> bool:
        try:
            self._store_file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            pass  # opening it will say what is wrong
        return True

    def _report(self, error: Exception) -> None:
        """Say that the store fails, once for each reason."""
        reason = _reason(error)
        if reason != self._unavailable:
            _log.error("the node store cannot be used", reason=reason)
        self._unavailable = reason

    async def _hear_operators(self) -> None:
        """Do what operators said, and log what they did, once the store has changed."""
        if not self._readable:
            return
        try:
            if self._unheard:
                await self._hear()
        except Exception as error:  # whatever a store holds, it must not end the watch
            self._report(error)
            return
        self._unheard = False
        if self._unavailable:
            _log.info("the node store can be used again")
            self._unavailable = ""

    async def _hear(self) -> None:
        if self._unlocks is None:  # what was said before this worker began is not for it
            self._unlocks = await self._access.call(lambda store: store.last_unlock())
        last = self._unlocks
        for unlock in await self._access.call(lambda store: store.unlocks_after(last)):
            self._unlocks = unlock.id
            pair = None
            if unlock.controller is not None and unlock.node is not None:
                pair = (unlock.controller, unlock.node)
            self._audit.unlocked(self._lockout.unlock(node=pair, address=unlock.address))
        for entry in await self._access.call(lambda store: store.take_unlogged()):
            try:
                self._audit.done(entry)
            except (ValueError, TypeError, OverflowError, OSError) as error:  # not a time, say
                _log.error("an entry of the audit trail is damaged", reason=repr(error))

    async def _recheck(self) -> None:
        """End every session that would not be let in now. What cannot be read ends none."""
        self.rechecks += 1
        live = tuple(each for each in self._live if not each.over)
        nodes: Mapping[str, Node | None] | None = {}
        controllers = {each.presented.controller for each in live}
        if any("nodes" in (self._policy.modes(each) or ()) for each in controllers):
            nodes = await self._nodes()
        for i, admission in enumerate(live):
            if i % _RECHECKED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()  # thousands of others have work to do as well
            try:
                reason = await self._why_not(admission, nodes)
            except Exception as error:  # one bad record must not keep the others from being judged
                _log.warning(
                    "a session could not be checked again",
                    controller=admission.presented.controller,
                    node=admission.presented.node,
                    reason=_reason(error),
                )
                continue
            if reason is not None and not admission.over:
                self._audit.ended(admission.presented, reason)
                admission.end(NotAuthorized(detail=reason))

    async def _nodes(self) -> Mapping[str, Node | None] | None:
        """Return stored nodes by context, None for a damaged one; None where none can be read."""
        try:
            stored = await self._access.call(lambda store: store.nodes())
        except Exception as error:
            self._report(error)
            self._unchecked = True
            self._readable = False
            return None
        for each in stored.damaged:
            if each not in self._damaged:
                _log.error("the record of a node is damaged", node=each, remedy=DAMAGED_REMEDY)
        self._damaged = frozenset(stored.damaged)
        found: dict[str, Node | None] = dict.fromkeys(stored.damaged)
        found.update((node.context, node) for node in stored.found)
        return found

    async def _why_not(
        self, admission: Watched, nodes: Mapping[str, Node | None] | None
    ) -> str | None:
        presented, granted = admission.presented, admission.granted
        modes = self._policy.modes(presented.controller)
        if modes is None:
            return None  # a controller that is not configured any more has no policy
        if granted.mode not in modes:
            return f"the mode {granted.mode} is not used any more"
        now = self._now()
        failures = self._policy.rules.failures(presented, now)
        ends_at = self._policy.rules.ends_at(presented.node)
        if failures:
            return "; ".join(failures)  # whatever else cannot be read
        if granted.mode == "jenkins_secrets" and await self._has_another_key(admission):
            failures.append("the controller's node-secret key has changed")
        if "nodes" in modes:
            context = context_of(presented.controller, presented.node)
            node = None if nodes is None else nodes.get(context)
            if nodes is None or (node is None and context in nodes):
                # Nobody can tell; an end that was known stays one.
                ends_at = earliest(ends_at, granted.ends_at)
                if granted.ends_at is not None and granted.ends_at <= now:
                    failures.append(f"not valid since {format_time(granted.ends_at)}")
            else:
                if node is not None:
                    failures += node.failures(presented, now)
                    ends_at = earliest(ends_at, node.conditions.valid_until)
                if granted.mode == "nodes":
                    failures = failures or _credential_failures(node, granted, now)
                    known = None if node is None else _credential(node, granted)
                    if known is not None:  # a rotation may have given it an end
                        ends_at = earliest(ends_at, known.expires_at)
        admission.granted = replace(granted, ends_at=ends_at)
        return "; ".join(failures) or None

    async def _has_another_key(self, admission: Watched) -> bool:
        """Say whether the session's secret is Jenkins' no more; no where nobody can tell."""
        presented = admission.presented
        try:
            secret = await self._policy.jenkins_secret(presented.controller, presented.node)
        except CredentialsUnavailable:  # which was logged, once for all sessions
            return False
        right = self._lockout.fingerprint(presented.controller, presented.node, secret)
        return right != admission.fingerprint


def _reason(error: Exception) -> str:
    return error.detail if isinstance(error, CredentialsUnavailable) else repr(error)


def _credential_failures(node: Node | None, granted: Granted, now: float) -> list[str]:
    if node is None:
        return ["the node is not in the store any more"]
    if _credential(node, granted) not in node.valid_credentials(now):
        return ["its secret was replaced by another one"]
    return []


def _credential(node: Node, granted: Granted) -> Credential | None:
    """Return the credential that was used, as it is now.

    Its id alone may be another one's after a backup was restored; its digest is another one after
    the key was rotated and it was used.
    """
    for each in node.credentials:
        if hmac.compare_digest(each.digest, granted.digest):
            return each
        if (each.id, each.issued_at) == (granted.credential, granted.issued_at):
            return each
    return None
