"""What the gateway knows of nodes that it issues secrets for, and the interface to where that is.

Owns: the records and the interface. A record is changed as a whole, within a transaction that keeps
other writers out: what a reader sees is one state or the next.

Must not know: SQL, what is done with keys. (A store in PostgreSQL has the same interface.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from gateway.credentials.clock import earliest
from gateway.credentials.conditions import Conditions, format_time
from gateway.credentials.policy import Presented
from gateway.credentials.store_keys import Sealed, StoreKeyError, StoreKeys

# Secrets of a node that may be valid at a time: the one in use, and during a rotation the one
# before it.
MOST_VALID: Final = 2


DAMAGED_REMEDY: Final = (
    "`nodes import --replace` puts a backup of it in its place, `nodes revoke` ends it"
)


class StoreUnavailable(Exception):
    """The store cannot be read or written now; the text says why, and what to do."""


class DamagedRecord(StoreUnavailable):
    """The record of one node cannot be read; the others can."""

    def __init__(self, context: str) -> None:
        super().__init__(f"{context}: its record is damaged; {DAMAGED_REMEDY}")


@dataclass(frozen=True, slots=True)
class Credential:
    """One issued secret, by its digest. Times are seconds since the epoch. ``id`` None: not yet in
    the store.
    """

    digest: bytes = field(repr=False)
    key_id: str
    issued_at: float
    expires_at: float | None = None  # the end of the overlap, once another one was issued
    first_used_at: float | None = None
    id: int | None = None

    def is_valid(self, now: float) -> bool:
        """Say whether it may be used at ``now``."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a controller. ``upstream`` is its secret there, where it is not computed."""

    controller: str
    name: str
    created_at: float
    conditions: Conditions = field(default_factory=Conditions)
    revoked_at: float | None = None
    note: str = ""
    upstream: Sealed | None = field(default=None, repr=False)
    credentials: tuple[Credential, ...] = ()  # the newest first

    @property
    def context(self) -> str:
        """Return what digests and sealed secrets of this node are bound to."""
        return context_of(self.controller, self.name)

    def valid_credentials(self, now: float) -> tuple[Credential, ...]:
        """Return the secrets that may be used at ``now``, at most MOST_VALID."""
        if self.revoked_at is not None:
            return ()
        return tuple(each for each in self.credentials if each.is_valid(now))[:MOST_VALID]

    def ends_at(self, credential: int | None) -> float | None:
        """Return when a secret of this node ends by itself, or None."""
        ends = [each.expires_at for each in self.credentials if each.id == credential]
        return earliest(*ends, self.conditions.valid_until)

    def failures(self, presented: Presented, now: float) -> list[str]:
        """Return why nobody gets in as this node now, whatever the secret; one sentence each."""
        if self.revoked_at is not None:
            return [f"revoked at {format_time(self.revoked_at)}"]
        return self.conditions.failures(presented, now)


@dataclass(frozen=True, slots=True)
class Nodes:
    """All nodes by controller and name: those that can be read, and the contexts of the others."""

    found: tuple[Node, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def need_keys(self) -> bool:
        """Say whether anything was made with a key, as far as can be told."""
        return bool(self.damaged) or any(each.credentials or each.upstream for each in self.found)


def open_keys(path: Path, nodes: Callable[[], Nodes]) -> StoreKeys:
    """Open the key file; it is made only for a store in which nothing needs another one.

    Raises StoreKeyError, and what ``nodes`` does.
    """
    try:
        missing = not path.exists()
    except OSError as error:  # a folder that may not be searched: nothing is known then
        reason = (error.strerror or type(error).__name__).lower()
        raise StoreKeyError(f"{path} cannot be read: {reason}") from None
    if missing and nodes().need_keys:
        raise StoreKeyError(
            f"{path} is missing, and without it no issued secret can be checked. Restore it from a"
            " backup; if there is none, move nodes.sqlite3 away and issue every secret anew"
        )
    return StoreKeys.open(path)


def context_of(controller: str, node: str) -> str:
    """Return a text that no other pair has: controllers' names have no slash."""
    return f"{controller}/{node}"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that happened to a node, and who did it. ``details`` hold no secret."""

    at: float
    event: str
    operator: str
    controller: str | None = None
    node: str | None = None
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unlock:
    """An operator's word that failures are to be forgotten."""

    id: int
    controller: str | None
    node: str | None
    address: str | None


class Changes(Protocol):
    """One transaction. Nobody else writes meanwhile; all of it happens, or nothing."""

    def find(self, controller: str, node: str) -> Node | None:
        """Return a node as it is now. Raises DamagedRecord."""

    def nodes(self) -> Nodes:
        """Return all nodes as they are now."""

    def save(self, node: Node) -> None:
        """Put the node, and exactly its credentials, in the place of what was there."""

    def note_use(self, credential: int, at: float) -> bool:
        """Note that a credential was used; return whether that was the first time."""

    def add_unlock(self, controller: str | None, node: str | None, address: str | None) -> None:
        """Have every worker forget failures."""

    def record(self, entry: AuditEntry, *, logged: bool = False) -> None:
        """Add to the audit trail; ``logged``: the caller writes the line itself."""


class NodeStore(Protocol):
    """The nodes. Methods block, shortly, and raise StoreUnavailable."""

    def revision(self) -> int:
        """Return a number that changes with every change that matters to those connected."""

    def find(self, controller: str, node: str) -> Node | None:
        """Return a node. Raises DamagedRecord."""

    def nodes(self) -> Nodes:
        """Return all nodes, by controller and name."""

    def change(self) -> AbstractContextManager[Changes]:
        """Begin a transaction; leaving the block commits it, an exception undoes it."""

    def unlocks_after(self, last: int) -> Sequence[Unlock]:
        """Return the unlocks with a higher id than ``last``."""

    def last_unlock(self) -> int:
        """Return the highest id of an unlock so far."""

    def take_unlogged(self) -> Sequence[AuditEntry]:
        """Return audit entries that nobody has logged yet; nobody else gets them."""

    def history(self, controller: str, node: str) -> Sequence[AuditEntry]:
        """Return a node's audit trail, oldest first."""

    def file(self) -> object:
        """Return what differs once another store was put in the place of this one, as a backup."""

    def close(self) -> None:
        """Let go of everything; the store may be used again."""
