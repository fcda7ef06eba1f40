"""A worker's access to the node store: in a thread, one call at a time.

Owns: threads, keys that are read again when their file changes, and that every failure of the store
is CredentialsUnavailable; the keys for who has no use for the store.

Must not know: what is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from gateway.credentials.node_store import FILE_NAME, SqliteNodeStore
from gateway.credentials.nodes import Nodes, NodeStore, StoreUnavailable, open_keys
from gateway.credentials.store_keys import StoreKeyError, StoreKeys
from gateway.errors import CredentialsUnavailable

T = TypeVar("T")


class StoreAccess:
    """One store and its keys, for the tasks of one worker."""

    def __init__(self, store: NodeStore, key_file: Path) -> None:
        self._store = store
        self._key_file = key_file
        self._keys: StoreKeys | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._limiter = trio.CapacityLimiter(1)  # one connection, one call at a time

    async def call(self, function: Callable[[NodeStore], T]) -> T:
        """Return what ``function`` does. Raises CredentialsUnavailable, and what it raises."""
        return await self._in_thread(lambda: function(self._store))

    async def call_with_keys(self, function: Callable[[NodeStore, StoreKeys], T]) -> T:
        """Return what ``function`` does with store and keys. Raises as ``call``."""
        return await self._in_thread(lambda: function(self._store, self._fresh_keys()))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(function, limiter=self._limiter)
        except (StoreUnavailable, StoreKeyError, OSError) as error:
            raise CredentialsUnavailable(detail=str(error)) from None

    def _fresh_keys(self) -> StoreKeys:
        try:
            found = os.stat(self._key_file)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamp = None
        if self._keys is None or stamp is None or stamp != self._stamp:
            self._keys = open_keys(self._key_file, self._store.nodes)
            self._stamp = stamp
        return self._keys

    def close(self) -> None:
        """Close the store. Nobody may be calling."""
        self._store.close()


def keys_beside(state_dir: Path, key_file: Path) -> StoreKeys:
    """Open the key file where there need not be a store; none is made.

    Raises StoreKeyError and StoreUnavailable: also where a store needs the file, and it is missing.
    """

    def nodes() -> Nodes:
        if not os.path.lexists(state_dir / FILE_NAME):
            return Nodes()
        store = SqliteNodeStore(state_dir)
        try:
            return store.nodes()
        finally:
            store.close()

    return open_keys(key_file, nodes)
