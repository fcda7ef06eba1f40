"""The cookies of sessions in a file, so that they outlive the process that had the sessions.

Owns: the database ``state_dir/cookies.db`` (one row a node, the latest session's), and what counts
as ended: the owner said so, or the owner, a process, is not there any more. ``kill -9`` thus loses
nothing, and a living session's cookie is never given out. Every call may wait for a disk: it
belongs into a thread.

Must not know: who needs a cookie and when, how a key is kept (``credentials.store_keys``), trio.

A process is told from a later one with its number by when it started, and on which boot.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.credentials.nodes import StoreUnavailable
from gateway.credentials.store_access import keys_beside
from gateway.credentials.store_keys import Sealed, StoreKeyError, StoreKeys

DATABASE: Final = "cookies.db"
KEY: Final = "store.key"  # where the configuration names no other
_SPACE: Final = b" "  # between a key's id, which has none, and what it sealed
# Jenkins itself gives a lost agent up after nine minutes at most.
MAX_AGE: Final = 3600.0
MAX_COOKIES: Final = 20_000
# How long another worker may hold the database.
_BUSY: Final = 2.0
_VERSION: Final = 1
_PID: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_DELETE: Final = "DELETE FROM cookies WHERE controller = ? AND node = ?"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cookies (
    controller TEXT NOT NULL, node TEXT NOT NULL, session TEXT NOT NULL, owner TEXT NOT NULL,
    sealed BLOB NOT NULL, ended_at REAL, PRIMARY KEY (controller, node)
) WITHOUT ROWID
"""


class CookieFileError(Exception):
    """The file or its key cannot be used; the text names it, and never shows what is in it."""


@dataclass(frozen=True, slots=True)
class Started:
    """A session has begun. The cookie is not part of the repr."""

    controller: str
    node: str
    session: str
    cookie: str = field(repr=False)
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A session has ended."""

    controller: str
    node: str
    session: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The node's last cookie may live on: it has another kind of session now."""

    controller: str
    node: str


Change = Started | Ended | Forgotten


class CookieFile:
    """The file, as one process uses it."""

    def __init__(
        self,
        state_dir: Path,
        *,
        key_file: Path | None = None,
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
        is_alive: Callable[[str], bool] | None = None,
        max_cookies: int = MAX_COOKIES,
    ) -> None:
        """``key_file`` is the node store's; ``owner`` names this process, ``is_alive`` judges
        any.
        """
        self._folder = state_dir
        self._key_file = state_dir / KEY if key_file is None else key_file
        self._owner = this_process() if owner is None else owner
        self._clock = clock
        self._is_alive = process_lives if is_alive is None else is_alive
        self._max = max_cookies

    def write(self, changes: Iterable[Change]) -> None:
        """Write all ``changes`` or none. Raises CookieFileError."""
        changes = list(changes)
        if all(isinstance(each, Forgotten) for each in changes):
            with suppress(OSError):
                if not (self._folder / DATABASE).exists():
                    return  # where all sessions are by WebSocket there is nothing to forget
        now = self._clock()
        with self._opened() as (database, keys), database:
            for change in changes:
                if isinstance(change, Started):
                    self._write_started(database, keys, change, now)
                elif isinstance(change, Forgotten):
                    database.execute(_DELETE, (change.controller, change.node))
                else:
                    # Not where the node has had another session since.
                    database.execute(
                        "UPDATE cookies SET ended_at = ?"
                        " WHERE controller = ? AND node = ? AND session = ?",
                        (now, change.controller, change.node, change.session),
                    )

    def _write_started(
        self, database: sqlite3.Connection, keys: StoreKeys, change: Started, now: float
    ) -> None:
        context = _context(change.controller, change.node, change.session)
        sealed = keys.seal("cookie", context, change.cookie)
        database.execute(
            "INSERT OR REPLACE INTO cookies VALUES (?, ?, ?, ?, ?, ?)",
            (
                change.controller,
                change.node,
                change.session,
                self._owner,
                sealed.key_id.encode() + _SPACE + sealed.data,
                now if change.has_ended else None,
            ),
        )

    def ended_cookie(self, controller: str, node: str) -> str | None:
        """Return the cookie of a node's last session if that has ended, and lately.

        None for a living one, and for what cannot be decrypted or is damaged; ``tidy`` deletes
        that. Raises CookieFileError.
        """
        with self._opened() as (database, keys):
            row = database.execute(
                "SELECT session, owner, sealed, ended_at FROM cookies"
                " WHERE controller = ? AND node = ?",
                (controller, node),
            ).fetchone()
        if row is None:
            return None
        session, owner, sealed, ended_at = row
        if _is_damaged(row, self._clock()):
            return None
        if ended_at is None:
            if self._is_alive(owner):
                return None
        elif ended_at < self._clock() - MAX_AGE:
            return None
        key_id, _, data = sealed.partition(_SPACE)
        try:
            context = _context(controller, node, session)
            return keys.open_sealed("cookie", context, Sealed(key_id.decode("latin-1"), data))
        except StoreKeyError:  # the key was replaced, or somebody moved rows around
            return None

    def tidy(self) -> int:
        """Note whose owners are gone; drop what is old, too many or damaged.

        Returns how many rows were damaged. Raises CookieFileError.
        """
        now = self._clock()
        with self._opened() as (database, _), database:
            damaged = [
                (controller, node)
                for controller, node, *row in database.execute(
                    "SELECT controller, node, session, owner, sealed, ended_at FROM cookies"
                )
                if _is_damaged(row, now)
            ]
            database.executemany(_DELETE, damaged)
            owners = database.execute(
                "SELECT DISTINCT owner FROM cookies WHERE ended_at IS NULL"
            ).fetchall()
            for (owner,) in owners:
                if not self._is_alive(owner):
                    database.execute(
                        "UPDATE cookies SET ended_at = ? WHERE owner = ? AND ended_at IS NULL",
                        (now, owner),
                    )
            database.execute("DELETE FROM cookies WHERE ended_at < ?", (now - MAX_AGE,))
            database.execute(
                "DELETE FROM cookies WHERE (controller, node) IN (SELECT controller, node"
                " FROM cookies ORDER BY ended_at IS NULL DESC, ended_at DESC"
                " LIMIT -1 OFFSET ?)",
                (self._max,),
            )
        return len(damaged)

    @contextmanager
    def _opened(self) -> Iterator[tuple[sqlite3.Connection, StoreKeys]]:
        """Open the file for one use: it is used seldom, and may be removed at any time."""
        path = self._folder / DATABASE
        try:
            # sqlite3 itself would make it readable for others.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            keys = keys_beside(self._folder, self._key_file)
            with closing(sqlite3.connect(path, timeout=_BUSY)) as database:
                database.text_factory = _readable
                _prepare(database, path)
                yield database, keys
        except (StoreKeyError, StoreUnavailable) as error:
            raise CookieFileError(str(error)) from None
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise CookieFileError(f"{error.filename or path}: {reason}") from None
        except sqlite3.Error as error:
            raise CookieFileError(f"{path}: {error}; if it is damaged, remove it") from None


def _readable(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    # What a killed process had committed is kept; only a power cut may lose the last moments, and
    # that ends the controller's connections, too.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found == _VERSION:
        return
    if found != 0:
        raise CookieFileError(f"{path}: was made by another version (form {found}); remove it")
    with database:
        database.execute(_SCHEMA)
        database.execute(f"PRAGMA user_version = {_VERSION}")


def _is_damaged(row: Sequence[object], now: float) -> bool:
    """Say whether a row (session, owner, sealed, ended_at) is none that this program has written:
    SQLite takes any type in any column.
    """
    session, owner, sealed, ended_at = row
    if not (isinstance(session, str) and isinstance(owner, str) and isinstance(sealed, bytes)):
        return True
    if ended_at is None:
        return False
    # Of a time to come it would be for ever.
    return not isinstance(ended_at, int | float) or not -math.inf < ended_at <= now + MAX_AGE


def _context(controller: str, node: str, session: str) -> str:
    """Return what a cookie is bound to: no name holds a control character."""
    return "\0".join((controller, node, session))


# -- processes -------------------------------------------------------------------------------------


def this_process() -> str:
    """Return what names this process, and none that may get its number later."""
    return _name_of(os.getpid()) or f"{_boot()}:{os.getpid()}:?"


def process_lives(name: str) -> bool:
    """Say whether the process of that name is there; also where that cannot be found out."""
    boot, _, rest = name.partition(":")
    pid = rest.partition(":")[0]
    if boot != _boot():
        return False
    if not os.path.isdir("/proc/self") or not _PID.fullmatch(pid) or rest.endswith(":?"):
        return True
    return _name_of(int(pid)) == name


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


def _name_of(pid: int) -> str | None:
    """Return the name of a process that runs; None for one that is dead, reaped or not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # proc(5): the command's name, in parentheses, may hold anything; behind it the state is the
    # first field, the time of its start the twentieth.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{_boot()}:{pid}:{fields[19]}"
