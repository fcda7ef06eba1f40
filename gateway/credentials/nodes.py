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

from gateway.credentials.conditions import Conditions
from gateway.credentials.store_keys import Sealed, StoreKeyError, StoreKeys

# Secrets of a node that may be valid at a time: the one in use, and during a rotation the one
# before it.
MOST_VALID: Final = 2


class StoreUnavailable(Exception):
    """The store cannot be read or written now; the text says why, and what to do."""


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
        ends.append(self.conditions.valid_until)
        return min((each for each in ends if each is not None), default=None)


def open_keys(path: Path, nodes: Callable[[], Sequence[Node]]) -> StoreKeys:
    """Open the key file; it is made only for a store in which nothing needs another one.

    Raises StoreKeyError, and what ``nodes`` does.
    """
    try:
        missing = not path.exists()
    except OSError as error:  # a folder that may not be searched: nothing is known then
        reason = (error.strerror or type(error).__name__).lower()
        raise StoreKeyError(f"{path} cannot be read: {reason}") from None
    if missing and any(node.credentials or node.upstream for node in nodes()):
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
        """Return a node as it is now."""

    def nodes(self) -> list[Node]:
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
        """Return a node."""

    def nodes(self) -> list[Node]:
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
