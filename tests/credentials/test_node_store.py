"""Tests of ``gateway.credentials.node_store``: what is saved is found, whole, by everybody."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.nodes import (
    AuditEntry,
    Credential,
    DamagedRecord,
    Nodes,
    StoreUnavailable,
    Unlock,
)
from tests.credentials.node_records import FULL, node, without_ids


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[SqliteNodeStore, SqliteNodeStore]]:
    """Two connections to one store, as two processes have."""
    found = (SqliteNodeStore(tmp_path, now=lambda: 5000.0), SqliteNodeStore(tmp_path))
    yield found
    for store in found:
        store.close()


Stores = tuple[SqliteNodeStore, SqliteNodeStore]


def test_there_and_back(stores: Stores) -> None:
    one, other = stores
    assert other.find("main", "build-1") is None
    with one.change() as changes:
        changes.save(FULL)
        changes.save(node("a", "zoo"))
        changes.save(node("agent ü"))
    assert without_ids(other.find("main", "build-1")) == FULL
    assert [(each.controller, each.name) for each in other.nodes().found] == [
        ("main", "agent ü"),
        ("main", "build-1"),
        ("zoo", "a"),
    ]
    assert other.find("main", "BUILD-1") is None
    assert other.find("zoo", "build-1") is None


def test_saving_replaces_the_credentials(stores: Stores) -> None:
    one, other = stores
    with one.change() as changes:
        changes.save(FULL)
    found = other.find("main", "build-1")
    assert found is not None
    newest, oldest = found.credentials
    assert newest.id is not None
    assert oldest.id is not None
    assert newest.id > oldest.id
    added = Credential(b"c" * 32, "k2", 1700.0)
    with one.change() as changes:
        changes.save(replace(found, credentials=(added, replace(newest, expires_at=1800.0))))
    found = other.find("main", "build-1")
    assert found is not None
    assert [each.id for each in found.credentials] == [newest.id + 1, newest.id]
    assert found.credentials[1].expires_at == 1800.0
    with one.change() as changes:
        changes.save(replace(found, revoked_at=1900.0, credentials=()))
    found = other.find("main", "build-1")
    assert found is not None
    assert found.credentials == ()
    assert found.valid_credentials(0.0) == ()


def test_an_exception_undoes_everything(stores: Stores) -> None:
    one, other = stores

    def fail() -> None:
        with one.change() as changes:
            changes.save(FULL)
            changes.record(AuditEntry(1.0, "issued", "me"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert other.nodes() == Nodes()
    assert other.take_unlogged() == []
    assert other.revision() == 0


def test_the_revision(stores: Stores) -> None:
    one, other = stores
    assert other.revision() == 0
    with one.change() as changes:
        changes.save(FULL)
        changes.save(node())
    assert other.revision() == 1
    found = one.find("main", "build-1")
    assert found is not None
    identity = found.credentials[0].id
    assert identity is not None
    with one.change() as changes:
        assert changes.note_use(identity, 1501.0)
        assert not changes.note_use(identity, 1502.0)
        changes.record(AuditEntry(1.0, "first used", "gateway"), logged=True)
    assert other.revision() == 1, "nobody who is connected needs to know"
    with one.change() as changes:
        changes.add_unlock(None, None, None)
    assert other.revision() == 2
    found = other.find("main", "build-1")
    assert found is not None
    assert found.credentials[0].first_used_at == 1501.0


def test_unlocks(stores: Stores) -> None:
    one, other = stores
    assert other.last_unlock() == 0
    with one.change() as changes:
        changes.add_unlock("main", "a", None)
        changes.add_unlock(None, None, "192.0.2.1")
    assert other.unlocks_after(0) == [
        Unlock(1, "main", "a", None),
        Unlock(2, None, None, "192.0.2.1"),
    ]
    assert other.unlocks_after(2) == []
    assert other.last_unlock() == 2
    with other.change() as changes:  # much later than 5000: the old ones go
        changes.add_unlock(None, None, None)
    assert [each.id for each in one.unlocks_after(0)] == [3]


def test_each_audit_entry_is_taken_once(stores: Stores) -> None:
    one, other = stores
    entry = AuditEntry(1.0, "issued", "bob", "main", "a", {"from": "x"})
    with one.change() as changes:
        changes.record(entry)
        changes.record(AuditEntry(2.0, "first used", "gateway", "main", "a"), logged=True)
        changes.record(AuditEntry(3.0, "exported", "bob"))
    assert other.take_unlogged() == [entry, AuditEntry(3.0, "exported", "bob")]
    assert one.take_unlogged() == []
    assert [each.event for each in one.history("main", "a")] == ["issued", "first used"]


def test_a_disk_that_fails_and_works_again(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("not a folder")
    store = SqliteNodeStore(folder)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"nodes\.sqlite3"):
            store.revision()
    folder.unlink()
    assert store.revision() == 0
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "nodes SET allow_from = '[\"x\"]'",
        "nodes SET allow_from = '[1]'",
        "nodes SET allow_from = '{}'",
        "nodes SET certificate_by = 'x'",
        "nodes SET certificate_by = 'san', certificate_name = ''",
        "nodes SET revoked_at = 'yesterday'",
        "nodes SET valid_until = x'00'",
        "nodes SET upstream = 'text'",
        "credentials SET digest = 'text'",
        "credentials SET key_id = x'ff'",
        "credentials SET expires_at = 'soon'",
    ],
)
def test_a_damaged_record_hides_no_other(tmp_path: Path, damage: str) -> None:
    store = SqliteNodeStore(tmp_path)
    with store.change() as changes:
        changes.save(FULL)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE " + damage)
    with store.change() as changes:
        changes.save(node("other"))
    with pytest.raises(DamagedRecord, match=r"^main/build-1: its record is damaged; `nodes import"):
        store.find("main", "build-1")
    nodes = store.nodes()
    assert ([each.name for each in nodes.found], nodes.damaged) == (["other"], ("main/build-1",))
    with store.change() as changes:
        assert changes.nodes() == nodes
        changes.save(FULL)
    assert without_ids(store.find("main", "build-1")) == FULL
    store.close()


def test_text_that_is_none_costs_its_own_row_at_most(tmp_path: Path) -> None:
    store = SqliteNodeStore(tmp_path)
    with store.change() as changes:
        changes.save(node("other"))
        changes.save(FULL)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE nodes SET name = CAST(x'62ff' AS TEXT) WHERE name = 'build-1'")
    assert [each.name for each in store.nodes().found] == ["b\\xff", "other"]
    assert store.find("main", "build-1") is None
    store.close()


def test_a_newer_program_changes_the_tables_meanwhile(stores: Stores) -> None:
    """As in an upgrade, with the workers from before it still running."""
    one, other = stores
    with one.change() as changes:
        changes.save(FULL)
    assert other.find("main", "build-1") is not None
    for version in (9, 1):
        with closing(sqlite3.connect(one.path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        if version == 9:
            with pytest.raises(StoreUnavailable, match="newer version"):
                other.find("main", "build-1")
            with pytest.raises(StoreUnavailable, match="newer version"), one.change():
                pytest.fail("begun")
    assert other.find("main", "build-1") is not None


def test_a_writer_that_takes_long(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.credentials.node_tables.BUSY", 0.05)
    one, other = stores
    with one.change():
        other.revision()
        expected = pytest.raises(StoreUnavailable, match=r"another process has .* try again")
        with expected, other.change():
            pytest.fail("begun")
        assert other.revision() == 0, "readers are not kept out"
