"""Mode ``nodes``: secrets that the gateway itself has issued.

Owns: the comparison, the secret to present upstream instead, noting the first use, and making a
digest anew when the store's key was rotated.

Must not know: SQL, lockout, the configuration's rules.

The same work is done for every name: as many digests as a node may have valid secrets.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.credentials.audit import Audit
from gateway.credentials.jenkins_secrets import SecretSource
from gateway.credentials.nodes import (
    MOST_VALID,
    AuditEntry,
    Credential,
    Node,
    NodeStore,
    StoreUnavailable,
    context_of,
)
from gateway.credentials.policy import Granted, Presented, Unrecognised
from gateway.credentials.store_access import StoreAccess
from gateway.credentials.store_keys import StoreKeyError, StoreKeys
from gateway.errors import CredentialsUnavailable, NotAuthorized
from gateway.observability.logs import get_logger

_log = get_logger("system")
_NOTHING = os.urandom(32)  # a digest that no secret has


@dataclass(frozen=True, slots=True)
class _Found:
    """A node whose valid secret was presented, and the keys as they were then."""

    node: Node
    credential: Credential
    keys: StoreKeys

    @property
    def is_noted(self) -> bool:
        """Whether its use is known, and its digest made with the key in use."""
        credential = self.credential
        return credential.first_used_at is not None and credential.key_id == self.keys.ids[0]


class NodesCheck:
    """Recognise issued secrets of one controller's nodes."""

    def __init__(
        self,
        access: StoreAccess,
        source: SecretSource | None,
        *,
        now: Callable[[], float],
        audit: Audit,
    ) -> None:
        """``source`` computes the secret for the controller where none is stored."""
        self._access = access
        self._source = source
        self._now = now
        self._audit = audit

    async def verify(
        self, presented: Presented, failures: Sequence[str] = ()
    ) -> Granted | Unrecognised:
        """Return the grant, or why not.

        Raises NotAuthorized where the secret is right and a condition does not hold,
        CredentialsUnavailable where the store fails or there is no secret for the controller.
        """
        now = self._now()
        found = await self._access.call_with_keys(
            lambda store, keys: _find(store, keys, presented, now)
        )
        if isinstance(found, Unrecognised):
            return found
        failures = (*failures, *found.node.conditions.failures(presented, now))
        if failures:
            raise NotAuthorized(detail="; ".join(failures))
        upstream = await self._upstream(found)
        await self._note_use(found, presented, now)
        return Granted(
            upstream,
            proved=True,
            mode="nodes",
            credential=found.credential.id,
            digest=found.credential.digest,
            issued_at=found.credential.issued_at,
            ends_at=found.node.ends_at(found.credential.id),
        )

    async def _upstream(self, found: _Found) -> str:
        node, sealed = found.node, found.node.upstream
        if sealed is not None:
            try:
                return found.keys.open_sealed("upstream-secret", node.context, sealed)
            except StoreKeyError as error:
                raise CredentialsUnavailable(detail=str(error)) from None
        if self._source is None:
            raise CredentialsUnavailable(
                detail=f"no secret of {node.context} for the controller: give one to `nodes"
                " issue --upstream-secret-file`, or configure jenkins_secrets"
            )
        return await self._source.secret(node.name)

    async def _note_use(self, found: _Found, presented: Presented, now: float) -> None:
        """Note a first use, and use of an old key; that it cannot be noted keeps nobody out."""
        if found.is_noted:
            return
        secret, address = presented.secret, presented.client_address
        try:
            first = await self._access.call_with_keys(
                lambda store, keys: _note(store, keys, found, secret, now, address)
            )
        except CredentialsUnavailable as error:
            _log.warning("the use of a secret could not be noted", reason=error.detail)
            return
        if first:
            self._audit.first_used(presented)


def _find(
    store: NodeStore, keys: StoreKeys, presented: Presented, now: float
) -> _Found | Unrecognised:
    node = store.find(presented.controller, presented.node)
    valid = () if node is None else node.valid_credentials(now)
    context = context_of(presented.controller, presented.node)
    match: Credential | None = None
    for i in range(MOST_VALID):
        known = valid[i] if i < len(valid) else None
        key_id = None if known is None else known.key_id
        digest = keys.digest(context, presented.secret, key_id)
        if hmac.compare_digest(digest, _NOTHING if known is None else known.digest):
            match = known
    if node is None:
        return Unrecognised("unknown node: nothing was issued for it")
    if match is None:
        if node.revoked_at is not None:
            return Unrecognised("the node is revoked")
        if any(each.key_id not in keys.ids for each in valid):
            return Unrecognised("what was issued needs a key that is not in the key file")
        return Unrecognised("wrong secret, or one that has ended")
    return _Found(node, match, keys)


def _note(
    store: NodeStore, keys: StoreKeys, found: _Found, secret: str, now: float, address: str
) -> bool:
    credential = found.credential
    assert credential.id is not None
    with store.change() as changes:
        keys = keys.reopened()
        first = changes.note_use(credential.id, now)
        node = changes.find(found.node.controller, found.node.name)
        if node is None:
            raise StoreUnavailable(f"{found.node.context} is gone")
        if credential.key_id != keys.ids[0]:
            digest = keys.digest(node.context, secret)
            changes.save(
                replace(
                    node,
                    credentials=tuple(
                        replace(each, digest=digest, key_id=keys.ids[0])
                        if each.id == credential.id
                        else each
                        for each in node.credentials
                    ),
                )
            )
        if first:
            entry = AuditEntry(
                now,
                "first used",
                "gateway",
                node.controller,
                node.name,
                {"client": address},
            )
            changes.record(entry, logged=True)
    return first
