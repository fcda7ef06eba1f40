"""The one gate that every agent passes, whatever its transport, and the watch over who has passed.

Owns: the order of judging, what counts as a wrong secret, that refusals look and last alike, and
looking again at live sessions: on reload, when the store changes, when something ends, and every
few minutes.

Must not know: HTTP, sessions (a function ends one), how a mode verifies.

Judging. Modes first: a secret that the gateway itself proves is good, whatever others at the same
address do. Only then is the lockout asked, and the memory of secrets that were wrong a moment ago;
both keep guesses away from a controller. Conditions hold for everybody. Nothing is skipped because
something else has failed already, and an answer of the gateway's leaves at a multiple of 25 ms
after the question: what differs by microseconds cannot be measured from outside.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import trio

from gateway.config.models import GatewayConfig
from gateway.credentials.audit import Audit
from gateway.credentials.clock import SteadyClock
from gateway.credentials.conditions import format_time, is_in
from gateway.credentials.lockout import Lockout
from gateway.credentials.modes import Policy
from gateway.credentials.node_store import FILE_NAME, SqliteNodeStore
from gateway.credentials.nodes import Credential, Node, NodeStore, context_of
from gateway.credentials.policy import Granted, Presented, Unrecognised, authorize
from gateway.credentials.store_access import StoreAccess
from gateway.errors import CredentialsUnavailable, LockedOut, NotAuthorized
from gateway.observability.logs import get_logger
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.table import LOCKOUTS, WRONG_SECRETS

_log = get_logger("system")

POLL_EVERY: Final = 2.0  # seconds between two looks at the store's revision
RECHECK_EVERY: Final = 300.0  # seconds between two looks at everything
_RECHECKED_AT_ONCE: Final = 64  # sessions, about a millisecond
REFUSAL_STEP: Final = 0.025  # seconds
# The event loop waits whole milliseconds from the moment at which it begins to, so that its end
# would still tell how long judging took. A thread's sleep ends when it is to.
_LAST_WAIT: Final = 0.003  # seconds
_LAST_WAITS: Final = 8  # threads; more refusals at a time are a little later
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_LOCKED: Final = "locked out after too many wrong secrets"

End = Callable[[NotAuthorized], None]


class Credentials:
    """Who may be which agent, for all sessions of one worker. Lives through reloads."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        now: Callable[[], float] | None = None,
        store: NodeStore | None = None,
        meters: Meters | None = None,
    ) -> None:
        """``now``: seconds since the epoch, by default a clock that cannot be set back."""
        self._now = SteadyClock() if now is None else now
        self._meters = Meters() if meters is None else meters
        self._audit = Audit(trio.current_time)
        self._store_file = config.state_dir / FILE_NAME
        self._access = StoreAccess(
            SqliteNodeStore(config.state_dir, now=self._now) if store is None else store,
            config.store_key_file,
        )
        self._waiting = trio.CapacityLimiter(_LAST_WAITS)
        self._live: set[Admission] = set()
        self._wake = trio.Event()
        self._recheck_due = False
        self._unchecked = False  # against the store, which failed when it was time to
        self.rechecks = 0
        self._revision: int | None = None
        self._file: object = None  # that the revision is of
        self._unlocks: int | None = None
        self._unavailable = ""  # what was reported
        self._lockout = Lockout(config.lockout, is_exempt=_exemption(config))
        self.policy = self._policy(config)

    def _policy(self, config: GatewayConfig, before: Policy | None = None) -> Policy:
        return Policy(config, self._access, now=self._now, audit=self._audit, before=before)

    def follow(self, config: GatewayConfig) -> None:
        """Judge by another configuration from now on, and look at live sessions again.

        ``state_dir`` and ``store`` stay as they were at the start.
        """
        self.policy = self._policy(config, self.policy)
        self.policy.look_again()
        self._lockout.follow(config.lockout, is_exempt=_exemption(config))
        self.recheck()

    def recheck(self) -> None:
        """Have ``run`` look at every live session, at once."""
        self._recheck_due = True
        self._wake.set()

    def admission(self, presented: Presented) -> Admission:
        """Begin to judge one agent."""
        return Admission(self, presented)

    # -- judging -----------------------------------------------------------------------------------

    async def judge(self, presented: Presented) -> Granted:
        """Return how to go on. Raises NotAuthorized, LockedOut, CredentialsUnavailable."""
        began = trio.current_time()
        try:
            return await self._judge(presented)
        except NotAuthorized:
            await self._wait_for_step(began)
            raise

    async def _wait_for_step(self, began: float) -> None:
        steps = math.floor((trio.current_time() - began) / REFUSAL_STEP) + 1
        until = began + steps * REFUSAL_STEP
        await trio.sleep_until(until - _LAST_WAIT)
        left = until - trio.current_time()
        if left > 0:
            await trio.to_thread.run_sync(time.sleep, left, limiter=self._waiting)

    async def _judge(self, presented: Presented) -> Granted:
        controller, node = presented.controller, presented.node
        policy, lockout = self.policy, self._lockout
        failures = policy.rules.failures(presented, self._now())
        fingerprint = lockout.fingerprint(controller, node, presented.secret)
        locked = lockout.is_locked(presented.client_address, controller, node)
        known_wrong = lockout.is_known_wrong(fingerprint)
        try:
            granted = await authorize(policy.verifiers(controller), presented, failures)
        except NotAuthorized as error:
            self._audit.refused(presented, error.detail, by="gateway")
            raise
        if isinstance(granted, Unrecognised):
            self.note_wrong(presented, fingerprint, granted.reason, by="gateway")
            if locked:
                raise LockedOut(detail=f"{_LOCKED}; {granted.reason}")
            raise NotAuthorized(detail=granted.reason)
        ends_at = _first(granted.ends_at, policy.rules.ends_at(node))
        if granted.mode != "nodes" and "nodes" in (policy.modes(controller) or ()):
            stored = await self._access.call(lambda store: store.find(controller, node))
            if stored is not None:  # what operators said of the node holds for its other secrets
                failures += _stored_failures(stored, presented, self._now())
                ends_at = _first(ends_at, stored.conditions.valid_until)
        if not granted.proved and locked:
            raise LockedOut(detail=_LOCKED)
        if not granted.proved and known_wrong:
            raise NotAuthorized(
                detail="the controller judged this secret wrong less than a minute ago"
            )
        if failures:
            reason = "; ".join(failures)
            self._audit.refused(presented, reason, by="gateway")
            raise NotAuthorized(detail=reason)
        return replace(granted, ends_at=ends_at)

    def note_wrong(self, presented: Presented, fingerprint: bytes, reason: str, *, by: str) -> None:
        """Note a secret that was judged wrong; the same one is reported once a minute."""
        lockout = self._lockout
        self._meters.count(WRONG_SECRETS, presented.controller, by)
        repeated = lockout.is_known_wrong(fingerprint)
        locked = lockout.is_locked(presented.client_address, presented.controller, presented.node)
        if not (repeated or locked):
            self._audit.refused(presented, reason, by=by)
        for lock in lockout.fail(
            presented.client_address, presented.controller, presented.node, fingerprint
        ):
            self._audit.locked(presented.controller, lock)
            scope = "address" if lock.node is None else "node"
            self._meters.count(LOCKOUTS, presented.controller, scope)

    def fingerprint(self, presented: Presented) -> bytes:
        """Return the hash by which a secret is known after it was judged."""
        return self._lockout.fingerprint(presented.controller, presented.node, presented.secret)

    # -- the watch ---------------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Return how many sessions are watched over."""
        return len(self._live)

    @contextmanager
    def watching(self, admission: Admission, rechecks: int) -> Iterator[None]:
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
        """Say whether there is a reason to look at everybody again; do what operators said."""
        due, self._recheck_due = self._recheck_due, False
        if not (self.policy.needs_store or self._store_exists()):
            return due
        try:
            revision, file = await self._access.call(lambda store: (store.revision(), store.file()))
            if (revision, file) != (self._revision, self._file):
                if self._file not in (None, file):
                    _log.warning("the node store was replaced by another file")
                    self._revision = self._unlocks = None
                # None: nobody knows what has changed since those that are live were judged.
                due = due or self._revision is not None or bool(self._live)
                await self._hear_operators()
                self._revision, self._file = revision, file
        except CredentialsUnavailable as error:
            self._report(error)
            self._unchecked = self._unchecked or due
            return due  # rules and times hold without the store
        except Exception as error:  # whatever a store holds, it must not end the watch
            self._report(error)
            return True  # what has changed, cannot be told
        due, self._unchecked = due or self._unchecked, False
        if self._unavailable:
            _log.info("the node store can be used again")
            self._unavailable = ""
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
        nodes: Mapping[str, Node] | None = {}
        controllers = {each.presented.controller for each in live}
        if any("nodes" in (self.policy.modes(each) or ()) for each in controllers):
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

    async def _nodes(self) -> Mapping[str, Node] | None:
        try:
            nodes = await self._access.call(lambda store: store.nodes())
        except Exception as error:
            self._report(error)
            self._unchecked = True
            return None
        return {node.context: node for node in nodes}

    async def _why_not(self, admission: Admission, nodes: Mapping[str, Node] | None) -> str | None:
        presented, granted = admission.presented, admission.granted
        modes = self.policy.modes(presented.controller)
        if modes is None:
            return None  # a controller that is not configured any more has no policy
        if granted.mode not in modes:
            return f"the mode {granted.mode} is not used any more"
        now = self._now()
        failures = self.policy.rules.failures(presented, now)
        ends_at = self.policy.rules.ends_at(presented.node)
        if failures:
            return "; ".join(failures)  # whatever else cannot be read
        if granted.mode == "jenkins_secrets":
            secret = await self.policy.jenkins_secret(presented.controller, presented.node)
            if self.fingerprint(replace(presented, secret=secret)) != admission.fingerprint:
                failures.append("the controller's node-secret key has changed")
        if "nodes" in modes:
            if nodes is None:  # nobody can tell; an end that was known stays one
                ends_at = _first(ends_at, granted.ends_at)
                if granted.ends_at is not None and granted.ends_at <= now:
                    failures.append(f"not valid since {format_time(granted.ends_at)}")
            else:
                node = nodes.get(context_of(presented.controller, presented.node))
                if node is not None:
                    failures += _stored_failures(node, presented, now)
                    ends_at = _first(ends_at, node.conditions.valid_until)
                if granted.mode == "nodes":
                    failures = failures or _credential_failures(node, granted, now)
                    known = None if node is None else _credential(node, granted)
                    if known is not None:  # a rotation may have given it an end
                        ends_at = _first(ends_at, known.expires_at)
        admission.granted = replace(granted, ends_at=ends_at)
        return "; ".join(failures) or None


def _reason(error: Exception) -> str:
    return error.detail if isinstance(error, CredentialsUnavailable) else repr(error)


def _first(*times: float | None) -> float | None:
    return min((each for each in times if each is not None), default=None)


def _stored_failures(node: Node, presented: Presented, now: float) -> list[str]:
    if node.revoked_at is not None:
        return [f"revoked at {format_time(node.revoked_at)}"]
    return node.conditions.failures(presented, now)


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


def _exemption(config: GatewayConfig) -> Callable[[str], bool]:
    networks = (*_LOOPBACK, *config.trusted_proxies, *config.lockout.exempt)

    def is_exempt(address: str) -> bool:
        return is_in(networks, address)

    return is_exempt


class Admission:
    """One agent on its way in, and as long as its session lasts.

    The secret is forgotten once it was judged; a keyed hash of it stays.
    """

    __slots__ = ("_credentials", "_end", "_rechecks", "fingerprint", "granted", "presented")

    def __init__(self, credentials: Credentials, presented: Presented) -> None:
        self._credentials = credentials
        self._end: End | None = None
        self._rechecks = 0
        self.presented = presented
        self.fingerprint = credentials.fingerprint(presented)
        self.granted = Granted("", proved=False)

    @property
    def ends_at(self) -> float | None:
        """Return when it ends by itself, seconds since the epoch."""
        return self.granted.ends_at

    async def judge(self) -> Granted:
        """Return how to go on. Raises NotAuthorized, LockedOut, CredentialsUnavailable."""
        self._rechecks = self._credentials.rechecks
        granted = await self._credentials.judge(self.presented)
        self.presented = replace(self.presented, secret="")
        self.granted = replace(granted, upstream_secret="")
        return granted

    def refused(self) -> None:
        """Note that the controller judged the secret wrong."""
        if self.granted.proved:
            _log.error(
                "the controller refuses the secret that it was given for a proved agent",
                controller=self.presented.controller,
                node=self.presented.node,
                mode=self.granted.mode,
            )
            return
        self._credentials.note_wrong(
            self.presented, self.fingerprint, "wrong secret", by="controller"
        )

    @contextmanager
    def live(self, end: End) -> Iterator[None]:
        """Have the session watched over; ``end`` ends it."""
        self._end = end
        try:
            with self._credentials.watching(self, self._rechecks):
                yield
        finally:
            self._end = None

    @property
    def over(self) -> bool:
        """Say whether there is no session, or it has been ended, which takes it a moment."""
        return self._end is None

    def end(self, error: NotAuthorized) -> None:
        """End the session, once."""
        if self._end is not None:
            end, self._end = self._end, None
            end(error)
