"""Tests of ``gateway.credentials.store_access``: threads, keys that change, failures."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from gateway.credentials.node_store import FILE_NAME, SqliteNodeStore
from gateway.credentials.nodes import NodeStore, StoreUnavailable
from gateway.credentials.store_access import StoreAccess, keys_beside
from gateway.credentials.store_keys import StoreKeys
from gateway.errors import CredentialsUnavailable


async def test_keys_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    access = StoreAccess(SqliteNodeStore(tmp_path), tmp_path / "key")

    def ids(store: NodeStore, keys: StoreKeys) -> tuple[str, ...]:
        return keys.ids

    first = await access.call_with_keys(ids)
    StoreKeys.open(tmp_path / "key").rotate(keep=frozenset(first))
    second = await access.call_with_keys(ids)
    assert second[1:] == first
    access.close()


async def test_one_call_at_a_time(tmp_path: Path) -> None:
    access = StoreAccess(SqliteNodeStore(tmp_path), tmp_path / "key")
    inside = 0
    most = 0

    def call(store: NodeStore) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        store.revision()
        inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(access.call, call)
    assert most == 1
    access.close()


async def test_what_the_system_refuses_is_a_failure_of_the_store(tmp_path: Path) -> None:
    access = StoreAccess(SqliteNodeStore(tmp_path), tmp_path / "key")

    def refused(store: NodeStore) -> None:
        raise PermissionError(13, "Permission denied", "key")

    with pytest.raises(CredentialsUnavailable, match="Permission denied"):
        await access.call(refused)


async def test_failures(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    access = StoreAccess(SqliteNodeStore(tmp_path / "file"), tmp_path / "file" / "key")
    with pytest.raises(CredentialsUnavailable, match=r"nodes\.sqlite3"):
        await access.call(lambda store: store.revision())
    with pytest.raises(CredentialsUnavailable, match="File exists"):
        await access.call_with_keys(lambda store, keys: None)


async def test_a_key_file_that_may_not_be_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exists(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    access = StoreAccess(SqliteNodeStore(tmp_path), tmp_path / "key")
    monkeypatch.setattr(Path, "exists", exists)
    with pytest.raises(CredentialsUnavailable, match="permission denied"):
        await access.call_with_keys(lambda store, keys: None)
    access.close()


def test_keys_without_a_store(tmp_path: Path) -> None:
    keys = keys_beside(tmp_path, tmp_path / "key")
    assert keys_beside(tmp_path, tmp_path / "key").ids == keys.ids
    assert [each.name for each in tmp_path.iterdir()] == ["key"], "no store is made"
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "nowhere")
    (tmp_path / "key").unlink()
    with pytest.raises(StoreUnavailable, match="symbolic link"):
        keys_beside(tmp_path, tmp_path / "key")
    assert not (tmp_path / "key").exists(), "nobody knows whether it needs another one"
