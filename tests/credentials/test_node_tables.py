"""Tests of ``gateway.credentials.node_tables``: the file, its mode, its version."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest
import trio

from gateway.credentials.node_tables import connect
from gateway.credentials.nodes import StoreUnavailable


def test_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s"
    connection = connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    connection.execute("INSERT INTO unlocks (at) VALUES (1)")
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {
        "s": 0o600,
        "s-wal": 0o600,
        "s-shm": 0o600,
    }
    connection.close()
    again = connect(path)
    assert again.execute("SELECT count(*) FROM unlocks").fetchone() == (1,)
    again.close()


def test_a_store_of_a_newer_program(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "s")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StoreUnavailable, match=r"newer version .*tables 9, known here 1"):
        connect(tmp_path / "s")


async def test_others_that_are_busy_are_waited_for(tmp_path: Path) -> None:
    """Two processes that make the store at the same time."""
    path = tmp_path / "s"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    other.execute("CREATE TABLE x (y)")
    made: list[int] = []

    def make() -> None:
        connection = connect(path)
        made.append(connection.execute("PRAGMA user_version").fetchone()[0])
        connection.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, make)
        await trio.sleep(0.1)
        assert made == []
        other.execute("COMMIT")
        other.close()
    assert made == [1]


def test_something_else(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        connect(tmp_path / "s")


def _refuses(path: Path, text: str) -> None:
    with pytest.raises(StoreUnavailable, match=text):
        connect(path)


def test_nothing_is_given_away_but_what_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root runs commands in a folder into which the gateway's user may write."""
    given: list[int] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda descriptor, *owner: given.append(descriptor))
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    victim.chmod(0o644)
    (tmp_path / "link").symlink_to(victim)
    _refuses(tmp_path / "link", "is a symbolic link")
    (tmp_path / "dangling").symlink_to(tmp_path / "not-there")
    _refuses(tmp_path / "dangling", "is a symbolic link")
    (tmp_path / "hard").hardlink_to(victim)
    _refuses(tmp_path / "hard", "not a file of its own")
    os.mkfifo(tmp_path / "pipe")
    _refuses(tmp_path / "pipe", "not a file of its own")
    assert given == []
    assert victim.read_bytes() == b""
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644
    assert not (tmp_path / "not-there").exists()
    connect(tmp_path / "s").close()
    assert len(given) == 1
    connect(tmp_path / "s").close()
    assert len(given) == 1


def test_other_users_are_kept_out_of_what_was_restored(tmp_path: Path) -> None:
    path = tmp_path / "s"
    connect(path).close()
    path.chmod(0o644)
    connection = connect(path)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    connection.close()
    assert modes == {0o600}
