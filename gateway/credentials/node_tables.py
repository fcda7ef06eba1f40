"""The tables of the node store, and opening the file that they are in.

Owns: the tables' versions, and what SQLite is told: WAL mode, so that workers read while an
operator's command writes (writers wait for each other); every commit is synced, so that an issued
secret survives a power failure; mode 0600.

Must not know: what is read and written.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from gateway.credentials.nodes import StoreUnavailable
from gateway.credentials.store_keys import hand_to_owner_of

BUSY: Final = 5.0  # seconds to wait for another writer

# One script for each version of the tables; a script that was released is never changed.
_MIGRATIONS: Final = (
    """
    CREATE TABLE meta (revision INTEGER NOT NULL);
    INSERT INTO meta VALUES (0);
    CREATE TABLE nodes (
        id INTEGER PRIMARY KEY,
        controller TEXT NOT NULL,
        name TEXT NOT NULL,
        created_at REAL NOT NULL,
        revoked_at REAL,
        note TEXT NOT NULL,
        allow_from TEXT NOT NULL,
        certificate_by TEXT,
        certificate_name TEXT,
        valid_from REAL,
        valid_until REAL,
        upstream_key_id TEXT,
        upstream BLOB,
        UNIQUE (controller, name)
    );
    CREATE TABLE credentials (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        node_id INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
        digest BLOB NOT NULL,
        key_id TEXT NOT NULL,
        issued_at REAL NOT NULL,
        expires_at REAL,
        first_used_at REAL
    );
    CREATE INDEX credentials_of_node ON credentials (node_id);
    CREATE TABLE unlocks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        controller TEXT,
        node TEXT,
        address TEXT
    );
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        event TEXT NOT NULL,
        operator TEXT NOT NULL,
        controller TEXT,
        node TEXT,
        details TEXT NOT NULL,
        logged INTEGER NOT NULL
    );
    CREATE INDEX audit_of_node ON audit (controller, node);
    CREATE INDEX audit_unlogged ON audit (id) WHERE logged = 0;
    """,
)


def connect(path: Path) -> sqlite3.Connection:
    """Open the store, and make it where there is none. Raises sqlite3.Error, OSError,
    StoreUnavailable.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _make(path)
    except FileExistsError:
        _check(path)
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    # Text that is not UTF-8 would fail the whole statement; it is to cost its own row at most.
    connection.text_factory = lambda data: data.decode(errors="backslashreplace")
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def is_current(connection: sqlite3.Connection) -> bool:
    """Say whether the tables are still those that this program knows. Raises sqlite3.Error."""
    return _version(connection) == len(_MIGRATIONS)


def _make(path: Path) -> None:
    # Nothing is given away but what was made here: the gateway's user may write into the folder,
    # and root runs commands in it.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        hand_to_owner_of(path.parent, descriptor)
    finally:
        os.close(descriptor)


def _check(path: Path) -> None:
    """Refuse what is no file of its own, and keep other users out of what is."""
    # O_PATH, since closing any other descriptor would end the locks that a connection of this
    # process has on the file (fcntl(2), "Record locks").
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISLNK(found.st_mode):
            raise StoreUnavailable(
                f"{path} is a symbolic link; allowed: a file. Set state_dir to where it is"
            )
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise StoreUnavailable(f"{path} is not a file of its own; move it away")
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            # Copied or restored with the mode that files have by default. SQLite gives the files
            # beside it the same mode.
            os.chmod(f"/proc/self/fd/{descriptor}", 0o600)
    finally:
        os.close(descriptor)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if is_current(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # another process may have been faster
        if version > len(_MIGRATIONS):
            raise StoreUnavailable(
                f"{path} was written by a newer version of this program (tables {version}, known"
                f" here {len(_MIGRATIONS)}); use that one, or restore a backup"
            )
        for script in _MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
