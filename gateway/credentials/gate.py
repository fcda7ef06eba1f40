"""The one gate that every agent passes, whatever its transport.

Owns: the order of judging, what counts as a wrong secret, that refusals look and last alike.

Must not know: HTTP, sessions (a function ends one), how a mode verifies, when live sessions are
looked at again (``watch``).

Judging. Modes first: a secret that the gateway itself proves is good, whatever others at the same
address do. Only then is the lockout asked, and the memory of secrets that were wrong a moment ago;
both keep guesses away from a controller. Conditions hold for everybody. Nothing is skipped because
something else has failed already, and an answer of the gateway's leaves at a multiple of 25 ms
after the question: what differs by microseconds cannot be measured from outside.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import trio

from gateway.config.models import GatewayConfig
from gateway.config.networks import LOOPBACK, is_in
from gateway.credentials.audit import Audit
from gateway.credentials.clock import SteadyClock, earliest
from gateway.credentials.lockout import Lockout
from gateway.credentials.modes import Policy
from gateway.credentials.node_store import FILE_NAME, SqliteNodeStore
from gateway.credentials.nodes import NodeStore
from gateway.credentials.policy import Granted, Presented, Unrecognised, authorize
from gateway.credentials.store_access import StoreAccess
from gateway.credentials.watch import Watch
from gateway.errors import LockedOut, NotAuthorized
from gateway.observability.logs import get_logger
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.table import LOCKOUTS, WRONG_SECRETS

_log = get_logger("system")

REFUSAL_STEP: Final = 0.025  # seconds
# The event loop waits whole milliseconds from the moment at which it begins to, so that its end
# would still tell how long judging took. A thread's sleep ends when it is to.
_LAST_WAIT: Final = 0.003  # seconds
_LAST_WAITS: Final = 8  # threads; more refusals at a time are a little later
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
        self._access = StoreAccess(
            SqliteNodeStore(config.state_dir, now=self._now) if store is None else store,
            config.store_key_file,
        )
        self._waiting = trio.CapacityLimiter(_LAST_WAITS)
        self._lockout = Lockout(config.lockout, is_exempt=_exemption(config))
        self.policy = self._policy(config)
        self.watch = Watch(
            self.policy,
            self._access,
            config.state_dir / FILE_NAME,
            lockout=self._lockout,
            audit=self._audit,
            now=self._now,
        )

    def _policy(self, config: GatewayConfig, before: Policy | None = None) -> Policy:
        return Policy(config, self._access, now=self._now, audit=self._audit, before=before)

    def follow(self, config: GatewayConfig) -> None:
        """Judge by another configuration from now on, and look at live sessions again.

        ``state_dir`` and ``store`` stay as they were at the start.
        """
        self.policy = self._policy(config, self.policy)
        self.policy.look_again()
        self._lockout.follow(config.lockout, is_exempt=_exemption(config))
        self.watch.follow(self.policy)

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
        ends_at = earliest(granted.ends_at, policy.rules.ends_at(node))
        if granted.mode != "nodes" and "nodes" in (policy.modes(controller) or ()):
            stored = await self._access.call(lambda store: store.find(controller, node))
            if stored is not None:  # what operators said of the node holds for its other secrets
                failures += stored.failures(presented, self._now())
                ends_at = earliest(ends_at, stored.conditions.valid_until)
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


def _exemption(config: GatewayConfig) -> Callable[[str], bool]:
    networks = (*LOOPBACK, *config.trusted_proxies, *config.lockout.exempt)

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
        self._rechecks = self._credentials.watch.rechecks
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
            with self._credentials.watch.over(self, self._rechecks):
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
