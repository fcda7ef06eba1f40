"""What operators do to nodes: issue, rotate, change, revoke, expire, unlock, import, export, rekey.

Owns: what each of these means, and its entry in the audit trail, which is part of the same
transaction: nothing happens without it.

Must not know: command lines, how workers find out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.credentials.conditions import Conditions, format_time
from gateway.credentials.nodes import (
    MOST_VALID,
    AuditEntry,
    Changes,
    Credential,
    DamagedRecord,
    Node,
    Nodes,
    NodeStore,
    context_of,
    open_keys,
)
from gateway.credentials.store_keys import StoreKeys, new_secret


class NodeError(Exception):
    """Something that cannot be done to a node; the text says why, and what can."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new secret, to be shown once, and the node it is for."""

    secret: str = field(repr=False)
    node: Node


class Issuing:
    """Changes nodes in the name of ``operator``."""

    def __init__(
        self,
        store: NodeStore,
        key_file: Path,
        *,
        operator: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._key_file = key_file
        self._operator = operator
        self._now = now

    def issue(
        self,
        controller: str,
        name: str,
        *,
        conditions: Conditions | None = None,
        upstream: str | None = None,
        note: str | None = None,
        secret: str | None = None,
    ) -> Issued:
        """Issue the first secret of a node, or one to a node that was revoked.

        That one keeps its conditions, its note and its secret at the controller, but for what is
        given: who was kept out by a condition is not let in by a revocation. ``upstream`` is the
        node's secret at the controller, stored encrypted; ``secret`` one to be taken instead of a
        new one. Raises NodeError, StoreUnavailable, StoreKeyError.
        """
        with self._store.change() as changes:
            found = changes.find(controller, name)
            node = _changed(
                found or Node(controller, name, 0.0), conditions or Conditions(), note=note
            )
            keys, now = self._keys(changes), self._now()
            if found is not None and found.valid_credentials(now):
                raise NodeError(
                    f"{controller}/{name} has a secret already; `nodes rotate` gives it another one"
                )
            text = new_secret() if secret is None else secret
            node = replace(
                _with_upstream(keys, node, upstream),
                created_at=now,
                revoked_at=None,
                credentials=(_credential(keys, node, text, now),),
            )
            self._save(changes, node, "issued", describe(node.conditions))
        return Issued(text, node)

    def rotate(
        self, controller: str, name: str, *, overlap: float, secret: str | None = None
    ) -> Issued:
        """Issue another secret; the one before it is good for ``overlap`` more seconds.

        Older ones end at once: at most two are valid at a time. Raises as ``issue``.
        """
        with self._store.change() as changes:
            keys, now = self._keys(changes), self._now()
            node = _existing(changes, controller, name)
            if node.revoked_at is not None:
                raise NodeError(f"{controller}/{name} is revoked; `nodes issue` gives it a secret")
            text = new_secret() if secret is None else secret
            until = now + overlap
            kept = [
                replace(each, expires_at=min(until, each.expires_at or until))
                for each in node.valid_credentials(now)[: MOST_VALID - 1]
                if overlap > 0
            ]
            node = replace(node, credentials=(_credential(keys, node, text, now), *kept))
            ends = {"previous_ends": format_time(until)} if kept else {"previous_ends": "now"}
            self._save(changes, node, "rotated", ends)
        return Issued(text, node)

    def change(
        self,
        controller: str,
        name: str,
        *,
        conditions: Conditions,
        dropped: frozenset[str] = frozenset(),
        upstream: str | None = None,
        note: str | None = None,
    ) -> Node:
        """Ask for other ``conditions``, and no more for those ``dropped``; the secret stays.

        What is not given stays as it is; ``dropped`` has names of Conditions' fields. A live
        session that does not meet them ends. Raises as ``issue``.
        """
        with self._store.change() as changes:
            node = _existing(changes, controller, name)
            former = replace(node, conditions=_without(node.conditions, dropped))
            node = _changed(former, conditions, note=note)
            if upstream is not None:
                node = _with_upstream(self._keys(changes), node, upstream)
            details = describe(node.conditions) or {"conditions": "none"}
            if upstream is not None:
                details["upstream_secret"] = "replaced"
            self._save(changes, node, "changed", details)
        return node

    def revoke(self, controller: str, name: str) -> Node:
        """Let nobody in as this node any more, and end its session. Raises as ``issue``.

        Of a damaged record nothing is left but that.
        """
        with self._store.change() as changes:
            try:
                node = _existing(changes, controller, name)
            except DamagedRecord:
                node = Node(controller, name, self._now())
            node = replace(node, revoked_at=self._now(), credentials=())
            self._save(changes, node, "revoked")
        return node

    def expire(self, controller: str, name: str, *, at: float | None) -> Node:
        """Have the node's access end at a time, or with None never. Raises as ``issue``."""
        with self._store.change() as changes:
            node = _existing(changes, controller, name)
            node = replace(node, conditions=replace(node.conditions, valid_until=at))
            check_times(node.conditions)
            self._save(
                changes, node, "expiry set", {"ends": "never" if at is None else format_time(at)}
            )
        return node

    def unlock(self, *, node: tuple[str, str] | None, address: str | None) -> None:
        """Have every worker forget the failures of a node, of an address, of both, or all."""
        controller, name = node or (None, None)
        with self._store.change() as changes:
            changes.add_unlock(controller, name, address)
            details = {"address": address or "all"}
            self._record(changes, "unlocked", controller, name, details)

    # -- keys --------------------------------------------------------------------------------------

    def rekey(self) -> tuple[str, ...]:
        """Put a new key in use; return the ids of old ones that are still needed.

        Stored secrets are encrypted anew. Digests cannot be made anew without the secret: each
        worker does so when an agent presents it, and an old key goes when nothing needs it.
        """
        with self._store.change() as changes:  # keeps other commands away from the key file
            old = frozenset(_needed(changes))
            keys = self._keys(changes).rotate(keep=old)
            self._record(changes, "key rotated", details={"key": keys.ids[0]})
        # Not in the same transaction: were it undone, what it sealed before must still open.
        with self._store.change() as changes:
            for node in changes.nodes().found:
                if node.upstream is not None and node.upstream.key_id != keys.ids[0]:
                    text = keys.open_sealed("upstream-secret", node.context, node.upstream)
                    sealed = keys.seal("upstream-secret", node.context, text)
                    changes.save(replace(node, upstream=sealed))
        with self._store.change() as changes:
            keys = self._keys(changes).prune(keep=frozenset(_needed(changes)))
        return keys.ids[1:]

    # -- moving ------------------------------------------------------------------------------------

    def export(self) -> Nodes:
        """Return all nodes; digests and sealed secrets are worth nothing without the key file."""
        with self._store.change() as changes:
            nodes = changes.nodes()
            details = {"nodes": str(len(nodes.found))}
            if nodes.damaged:
                details["damaged"] = ", ".join(nodes.damaged)
            self._record(changes, "exported", details=details)
        return nodes

    def import_(self, make: Callable[[StoreKeys, float], list[Node]], *, force: bool) -> int:
        """Save the nodes that ``make`` returns, given keys and time; all of them, or none.

        Raises NodeError where one exists, unless ``force``: then it is replaced.
        """
        with self._store.change() as changes:
            nodes = make(self._keys(changes), self._now())
            for node in nodes:
                if not force and _exists(changes, node):
                    raise NodeError(
                        f"{node.context} exists already; nothing was imported. --replace puts"
                        " imported nodes in the place of existing ones"
                    )
                self._save(changes, node, "imported")
        return len(nodes)

    def _keys(self, changes: Changes) -> StoreKeys:
        # Anew in each transaction: another command may have rotated them.
        return open_keys(self._key_file, changes.nodes)

    def _save(
        self, changes: Changes, node: Node, event: str, details: dict[str, str] | None = None
    ) -> None:
        changes.save(node)
        self._record(changes, event, node.controller, node.name, details)

    def _record(
        self,
        changes: Changes,
        event: str,
        controller: str | None = None,
        node: str | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        changes.record(
            AuditEntry(self._now(), event, self._operator, controller, node, details or {})
        )


def make_node(
    keys: StoreKeys, now: float, node: Node, *, secret: str, upstream: str | None
) -> Node:
    """Return ``node`` with a secret that somebody else has issued, for ``import_``."""
    node = _with_upstream(keys, node, upstream)
    return replace(node, created_at=now, credentials=(_credential(keys, node, secret, now),))


def check_times(conditions: Conditions) -> None:
    """Raise NodeError unless there is a time at which the conditions can hold."""
    begin, end = conditions.valid_from, conditions.valid_until
    if begin is not None and end is not None and end <= begin:
        raise NodeError(
            f"it ends at {format_time(end)}, and is not valid before {format_time(begin)}; allowed:"
            " an end after the beginning"
        )


def _changed(node: Node, conditions: Conditions, *, note: str | None) -> Node:
    conditions = conditions.completed_by(node.conditions)
    check_times(conditions)
    return replace(node, conditions=conditions, note=node.note if note is None else note)


def _without(conditions: Conditions, dropped: frozenset[str]) -> Conditions:
    return Conditions(
        () if "allow_from" in dropped else conditions.allow_from,
        None if "certificate" in dropped else conditions.certificate,
        None if "valid_from" in dropped else conditions.valid_from,
        None if "valid_until" in dropped else conditions.valid_until,
    )


def _with_upstream(keys: StoreKeys, node: Node, upstream: str | None) -> Node:
    if upstream is None:
        return node
    return replace(node, upstream=keys.seal("upstream-secret", node.context, upstream))


def _existing(changes: Changes, controller: str, name: str) -> Node:
    node = changes.find(controller, name)
    if node is None:
        raise NodeError(f"{context_of(controller, name)}: no secret was ever issued for it")
    return node


def _exists(changes: Changes, node: Node) -> bool:
    try:
        return changes.find(node.controller, node.name) is not None
    except DamagedRecord:
        return True


def _credential(keys: StoreKeys, node: Node, secret: str, now: float) -> Credential:
    return Credential(keys.digest(node.context, secret), keys.ids[0], now)


def _needed(changes: Changes) -> set[str]:
    nodes = changes.nodes()
    for each in nodes.damaged:  # who knows which keys it needs
        raise DamagedRecord(each)
    needed: set[str] = set()
    for node in nodes.found:
        needed.update(each.key_id for each in node.credentials)
        if node.upstream is not None:
            needed.add(node.upstream.key_id)
    return needed


def describe(conditions: Conditions) -> dict[str, str]:
    """Return the conditions that are asked for, as words."""
    found = {}
    if conditions.allow_from:
        found["allow_from"] = ", ".join(map(str, conditions.allow_from))
    if conditions.certificate is not None:
        found["certificate"] = f"{conditions.certificate.by} {conditions.certificate.name}"
    if conditions.valid_from is not None:
        found["valid_from"] = format_time(conditions.valid_from)
    if conditions.valid_until is not None:
        found["valid_until"] = format_time(conditions.valid_until)
    return found
