"""The node store in SQLite: ``nodes.sqlite3`` in ``state_dir``.

Owns: statements and transactions. Killing a writer at any point leaves the state before or after.

Must not know: keys, what records mean, how the file is opened (``node_tables``).

One connection, used from one thread at a time (the caller's matter). A file system that cannot
lock, as some network file systems, is no place for it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from gateway.credentials.node_rows import read_audit_entry, read_node
from gateway.credentials.node_tables import BUSY, connect, is_current
from gateway.credentials.nodes import (
    AuditEntry,
    Credential,
    DamagedRecord,
    Node,
    Nodes,
    StoreUnavailable,
    Unlock,
    context_of,
)

FILE_NAME: Final = "nodes.sqlite3"
_MOST_AUDITED: Final = 100_000  # entries; the log has the rest
_UNLOCKS_KEPT: Final = 3600.0  # seconds: workers look every two

_NODE: Final = (
    "id, controller, name, created_at, revoked_at, note, allow_from, certificate_by,"
    " certificate_name, valid_from, valid_until, upstream_key_id, upstream"
)
_CREDENTIAL: Final = "id, digest, key_id, issued_at, expires_at, first_used_at"
_AUDIT: Final = "at, event, operator, controller, node, details"


class SqliteNodeStore:
    """The store of one ``state_dir``; opened, and made, when it is first used."""

    def __init__(self, state_dir: Path, *, now: Callable[[], float] = time.time) -> None:
        self.path = state_dir / FILE_NAME
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the file: device and inode

    # -- reading -----------------------------------------------------------------------------------

    def revision(self) -> int:
        """Return a number that changes with every change that matters to those connected."""
        with self._reading() as connection:
            return int(connection.execute("SELECT revision FROM meta").fetchone()[0])

    def find(self, controller: str, node: str) -> Node | None:
        """Return a node. Raises DamagedRecord."""
        with self._reading() as connection:
            return _find(connection, controller, node)

    def nodes(self) -> Nodes:
        """Return all nodes, by controller and name."""
        with self._reading() as connection:
            return _all(connection)

    def unlocks_after(self, last: int) -> Sequence[Unlock]:
        """Return the unlocks with a higher id than ``last``."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id, controller, node, address FROM unlocks WHERE id > ? ORDER BY id",
                (last,),
            ).fetchall()
        return [Unlock(*row) for row in rows]

    def last_unlock(self) -> int:
        """Return the highest id of an unlock so far."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'unlocks'"
            ).fetchone()
        return 0 if row is None else int(row[0])

    def history(self, controller: str, node: str) -> Sequence[AuditEntry]:
        """Return a node's audit trail, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT {_AUDIT} FROM audit WHERE controller = ? AND node = ? ORDER BY id",
                (controller, node),
            ).fetchall()
        return list(map(read_audit_entry, rows))

    # -- writing -----------------------------------------------------------------------------------

    def change(self) -> AbstractContextManager[_Transaction]:
        """Begin a transaction; leaving the block commits it, an exception undoes it."""
        return self._changing()

    @contextmanager
    def _changing(self) -> Iterator[_Transaction]:
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                transaction = _Transaction(connection, self._now())
                yield transaction
                transaction.finish()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def take_unlogged(self) -> Sequence[AuditEntry]:
        """Return audit entries that nobody has logged yet; nobody else gets them."""
        with self._reading() as connection:
            if connection.execute("SELECT 1 FROM audit WHERE logged = 0").fetchone() is None:
                return []
        with self._changing() as transaction:
            return transaction.take_unlogged()

    # -- the connection ----------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connected()
        except (sqlite3.Error, OSError) as error:
            self.close()  # the next one begins anew: the disk may have room again
            raise StoreUnavailable(f"{self.path}: {_reason(error)}") from None

    def _connected(self) -> sqlite3.Connection:
        """Return a connection to the file that has the path now; a backup may have been put there.

        A file that was there and is gone is not made anew: the next moment brings the restored one,
        and meanwhile an empty store would say that nothing was ever issued.
        """
        if self._identity is not None and self._identity_now() != self._identity:
            self.close()
        if self._connection is not None and not is_current(self._connection):
            self.close()  # a newer program may mean more by a row than this one would see
        if self._connection is None:
            self._connection = connect(self.path)
            self._identity = self._identity_now()
        return self._connection

    def _identity_now(self) -> tuple[int, int]:
        found = os.stat(self.path)
        return found.st_dev, found.st_ino

    def file(self) -> tuple[int, int] | None:
        """Return what tells the file from others, as of the last call; None before the first."""
        return self._identity

    def close(self) -> None:
        """Close the file; the store may be used again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Transaction:
    """What can be done within one transaction."""

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._changed = False

    def find(self, controller: str, node: str) -> Node | None:
        """Return a node as it is now. Raises DamagedRecord."""
        return _find(self._connection, controller, node)

    def nodes(self) -> Nodes:
        """Return all nodes as they are now."""
        return _all(self._connection)

    def save(self, node: Node) -> None:
        """Put the node, and exactly its credentials, in the place of what was there."""
        self._changed = True
        execute = self._connection.execute
        upstream = node.upstream
        certificate = node.conditions.certificate
        values = (
            node.created_at,
            node.revoked_at,
            node.note,
            json.dumps([str(network) for network in node.conditions.allow_from]),
            None if certificate is None else certificate.by,
            None if certificate is None else certificate.name,
            node.conditions.valid_from,
            node.conditions.valid_until,
            None if upstream is None else upstream.key_id,
            None if upstream is None else upstream.data,
            node.controller,
            node.name,
        )
        found = execute(
            "UPDATE nodes SET created_at = ?, revoked_at = ?, note = ?, allow_from = ?,"
            " certificate_by = ?, certificate_name = ?, valid_from = ?, valid_until = ?,"
            " upstream_key_id = ?, upstream = ? WHERE controller = ? AND name = ?",
            values,
        ).rowcount
        if not found:
            execute(
                "INSERT INTO nodes (created_at, revoked_at, note, allow_from, certificate_by,"
                " certificate_name, valid_from, valid_until, upstream_key_id, upstream,"
                " controller, name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        (node_id,) = execute(
            "SELECT id FROM nodes WHERE controller = ? AND name = ?", (node.controller, node.name)
        ).fetchone()
        self._save_credentials(node_id, node.credentials)

    def _save_credentials(self, node_id: int, credentials: Sequence[Credential]) -> None:
        execute = self._connection.execute
        kept = [each.id for each in credentials if each.id is not None]
        marks = ", ".join("?" * len(kept))
        execute(
            f"DELETE FROM credentials WHERE node_id = ? AND id NOT IN ({marks})", (node_id, *kept)
        )
        for each in reversed(credentials):  # the newest gets the highest id
            values = (
                each.digest,
                each.key_id,
                each.issued_at,
                each.expires_at,
                each.first_used_at,
            )
            if each.id is None:
                execute(
                    "INSERT INTO credentials (digest, key_id, issued_at, expires_at, first_used_at,"
                    " node_id) VALUES (?, ?, ?, ?, ?, ?)",
                    (*values, node_id),
                )
            else:
                execute(
                    "UPDATE credentials SET digest = ?, key_id = ?, issued_at = ?, expires_at = ?,"
                    " first_used_at = ? WHERE id = ? AND node_id = ?",
                    (*values, each.id, node_id),
                )

    def note_use(self, credential: int, at: float) -> bool:
        """Note that a credential was used; return whether that was the first time."""
        changed = self._connection.execute(
            "UPDATE credentials SET first_used_at = ? WHERE id = ? AND first_used_at IS NULL",
            (at, credential),
        )
        return changed.rowcount == 1

    def add_unlock(self, controller: str | None, node: str | None, address: str | None) -> None:
        """Have every worker forget failures."""
        self._changed = True
        self._connection.execute("DELETE FROM unlocks WHERE at < ?", (self._now - _UNLOCKS_KEPT,))
        self._connection.execute(
            "INSERT INTO unlocks (at, controller, node, address) VALUES (?, ?, ?, ?)",
            (self._now, controller, node, address),
        )

    def record(self, entry: AuditEntry, *, logged: bool = False) -> None:
        """Add to the audit trail; ``logged``: the caller writes the line itself."""
        self._changed = self._changed or not logged  # so that a worker comes to write it
        cursor = self._connection.execute(
            f"INSERT INTO audit ({_AUDIT}, logged) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                entry.at,
                entry.event,
                entry.operator,
                entry.controller,
                entry.node,
                json.dumps(entry.details),
                int(logged),
            ),
        )
        oldest = (cursor.lastrowid or 0) - _MOST_AUDITED
        self._connection.execute("DELETE FROM audit WHERE id <= ?", (oldest,))

    def take_unlogged(self) -> list[AuditEntry]:
        """Return audit entries that nobody has logged yet, and note that it is done."""
        rows = self._connection.execute(
            f"SELECT {_AUDIT} FROM audit WHERE logged = 0 ORDER BY id"
        ).fetchall()
        self._connection.execute("UPDATE audit SET logged = 1 WHERE logged = 0")
        return list(map(read_audit_entry, rows))

    def finish(self) -> None:
        """Count the revision up, if anything changed that matters to who is connected."""
        if self._changed:
            self._connection.execute("UPDATE meta SET revision = revision + 1")


def _reason(error: sqlite3.Error | OSError) -> str:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return f"another process has been writing to it for {BUSY:g} s; try again"
    return str(error)


def _find(connection: sqlite3.Connection, controller: str, node: str) -> Node | None:
    # One statement, so that node and credentials are of one moment; outside of a transaction two
    # would not be.
    rows = connection.execute(
        f"SELECT {_columns('nodes', _NODE)}, {_columns('credentials', _CREDENTIAL)} FROM nodes"
        " LEFT JOIN credentials ON credentials.node_id = nodes.id"
        " WHERE nodes.controller = ? AND nodes.name = ? ORDER BY credentials.id DESC",
        (controller, node),
    ).fetchall()
    for found in _nodes(rows):
        if isinstance(found, str):
            raise DamagedRecord(found)
        return found
    return None


def _all(connection: sqlite3.Connection) -> Nodes:
    rows = connection.execute(
        f"SELECT {_columns('nodes', _NODE)}, {_columns('credentials', _CREDENTIAL)} FROM nodes"
        " LEFT JOIN credentials ON credentials.node_id = nodes.id"
        " ORDER BY nodes.controller, nodes.name, credentials.id DESC"
    ).fetchall()
    found, damaged = [], []
    for each in _nodes(rows):
        if isinstance(each, str):
            damaged.append(each)
        else:
            found.append(each)
    return Nodes(tuple(found), tuple(damaged))


def _columns(table: str, names: str) -> str:
    return ", ".join(f"{table}.{name}" for name in names.split(", "))


def _nodes(rows: Sequence[tuple[Any, ...]]) -> Iterator[Node | str]:
    """Return nodes, and the contexts of those that are damaged."""
    width = len(_NODE.split(", "))
    by_id: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        by_id.setdefault(row[0], []).append(row)
    for group in by_id.values():
        credentials = (row[width:] for row in group if row[width] is not None)
        try:
            yield read_node(group[0][:width], tuple(credentials))
        except (ValueError, TypeError, RecursionError):
            yield context_of(*map(str, group[0][1:3]))
