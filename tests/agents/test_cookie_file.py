"""Tests of ``gateway.agents.cookie_file``: what is kept, what is given out, and to whom."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gateway.agents.cookie_file import (
    DATABASE,
    KEY,
    MAX_AGE,
    CookieFile,
    CookieFileError,
    Ended,
    Forgotten,
    Started,
    process_lives,
    this_process,
)
from gateway.credentials.issuing import Issuing
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.store_keys import StoreKeys

COOKIE: Final = "c0" * 32
OTHER: Final = "0c" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def started(node: str = "a", session: str = "s1", cookie: str = COOKIE) -> Started:
    return Started("main", node, session, cookie)


def test_a_living_sessions_cookie_is_nobodys(tmp_path: Path) -> None:
    file = CookieFile(tmp_path)
    assert file.ended_cookie("main", "a") is None
    file.write([started()])
    assert file.ended_cookie("main", "a") is None
    assert CookieFile(tmp_path).ended_cookie("main", "a") is None, "nor another worker's"
    file.write([Ended("main", "a", "s1")])
    assert file.ended_cookie("main", "a") == COOKIE
    assert file.ended_cookie("other", "a") is None
    assert file.ended_cookie("main", "b") is None


def test_a_late_end_is_not_the_next_sessions(tmp_path: Path) -> None:
    one, two = CookieFile(tmp_path, owner="one"), CookieFile(tmp_path, owner="two")
    alive = CookieFile(tmp_path, is_alive=lambda owner: True)
    one.write([started()])
    two.write([started(session="s2", cookie=OTHER)])
    one.write([Ended("main", "a", "s1")])
    assert alive.ended_cookie("main", "a") is None
    two.write([Ended("main", "a", "s2")])
    assert alive.ended_cookie("main", "a") == OTHER


def test_the_owners_death_is_an_end(tmp_path: Path) -> None:
    alive = {"one"}
    file = CookieFile(tmp_path, owner="one", is_alive=alive.__contains__)
    file.write([started()])
    assert file.ended_cookie("main", "a") is None
    alive.clear()
    assert file.ended_cookie("main", "a") == COOKIE


def test_a_killed_process_is_dead(tmp_path: Path) -> None:
    """For real: its cookie is there although it could not say anything any more."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from gateway.agents.cookie_file import *\n"
        f"CookieFile(Path({str(tmp_path)!r})).write([Started('main', 'a', 's1', {COOKIE!r})])\n"
        "print(this_process(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        name = process.stdout.readline().decode().strip()
        file = CookieFile(tmp_path)
        assert process_lives(name)
        assert file.ended_cookie("main", "a") is None
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not process_lives(name), "before it is reaped, too"
        assert file.ended_cookie("main", "a") == COOKIE
    assert file.ended_cookie("main", "a") == COOKIE


def test_processes() -> None:
    own = this_process()
    assert process_lives(own)
    boot, pid, began = own.split(":")
    assert not process_lives(f"{boot}:{pid}:{int(began) + 1}"), "the number was given away again"
    assert not process_lives(f"another-boot:{pid}:{began}")
    assert process_lives(f"{boot}:{pid}:?"), "when in doubt it lives"


def test_age(tmp_path: Path) -> None:
    clock = Clock()
    file = CookieFile(tmp_path, owner="one", clock=clock, is_alive=lambda owner: owner == "one")
    file.write([started(), Ended("main", "a", "s1"), started("b")])
    clock.now += MAX_AGE
    assert file.ended_cookie("main", "a") == COOKIE
    clock.now += 1
    assert file.ended_cookie("main", "a") is None
    file.tidy()
    assert rows(tmp_path) == [("b", None)]
    clock.now += 1e6
    CookieFile(tmp_path, owner="two", clock=clock, is_alive=lambda owner: owner == "two").tidy()
    assert rows(tmp_path) == [("b", clock.now)], "an hour from when its owner is missed"


def test_number(tmp_path: Path) -> None:
    """The living ones stay; of the others those that ended first go."""
    clock = Clock()
    file = CookieFile(tmp_path, clock=clock, max_cookies=3)
    for node in "abcd":
        clock.now += 1
        file.write([started(node), Ended("main", node, "s1")])
    file.write([started("e")])
    file.tidy()
    assert [node for node, _ in rows(tmp_path)] == ["c", "d", "e"]


def rows(folder: Path) -> list[tuple[str, float | None]]:
    database = sqlite3.connect(folder / DATABASE)
    try:
        return database.execute("SELECT node, ended_at FROM cookies ORDER BY node").fetchall()
    finally:
        database.close()


# -- secrecy ---------------------------------------------------------------------------------------


def test_nothing_is_readable(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        CookieFile(tmp_path).write([started(), Ended("main", "a", "s1")])
    finally:
        os.umask(mask)
    for name in (KEY, DATABASE):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    content = (tmp_path / DATABASE).read_bytes()
    assert COOKIE.encode() not in content
    assert bytes.fromhex(COOKIE) not in content
    assert COOKIE not in repr(started())
    assert {each.name for each in tmp_path.iterdir()} == {KEY, DATABASE}


def test_the_same_cookie_never_looks_the_same(tmp_path: Path) -> None:
    file = CookieFile(tmp_path)
    file.write([started("a"), started("b")])
    database = sqlite3.connect(tmp_path / DATABASE)
    sealed = [row[0] for row in database.execute("SELECT sealed FROM cookies")]
    database.close()
    one, two = (each.partition(b" ")[2] for each in sealed)
    assert one[12:] != two[12:], "behind the nonces"


def test_a_row_is_worth_nothing_elsewhere(tmp_path: Path) -> None:
    """Whoever may write the database cannot give one node's cookie to another."""
    file = CookieFile(tmp_path)
    file.write([started("a"), Ended("main", "a", "s1")])
    database = sqlite3.connect(tmp_path / DATABASE)
    with database:
        database.execute("UPDATE cookies SET node = 'b'")
    database.close()
    assert file.ended_cookie("main", "b") is None


def test_another_key(tmp_path: Path) -> None:
    file = CookieFile(tmp_path)
    file.write([started(), Ended("main", "a", "s1")])
    (tmp_path / KEY).unlink()
    assert file.ended_cookie("main", "a") is None
    file.write([started(session="s2"), Ended("main", "a", "s2")])
    assert file.ended_cookie("main", "a") == COOKIE


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_kept", [True, False])
def test_another_key_in_use(*, is_kept: bool, tmp_path: Path) -> None:
    """After ``nodes rekey``: what an old key has sealed opens as long as that one is there."""
    file = CookieFile(tmp_path, key_file=tmp_path / "elsewhere.key")
    file.write([started(), Ended("main", "a", "s1")])
    keys = StoreKeys.open(tmp_path / "elsewhere.key")
    keys.rotate(keep=frozenset(keys.ids if is_kept else ()))
    assert file.ended_cookie("main", "a") == (COOKIE if is_kept else None)
    file.write([started(session="s2", cookie=OTHER), Ended("main", "a", "s2")])
    assert file.ended_cookie("main", "a") == OTHER
    assert not (tmp_path / KEY).exists()


def test_no_key_is_made_for_a_store_whose_key_is_missing(tmp_path: Path) -> None:
    store = SqliteNodeStore(tmp_path)
    Issuing(store, tmp_path / KEY, operator="bob").issue("main", "a")
    store.close()
    CookieFile(tmp_path).write([started()])
    (tmp_path / KEY).unlink()
    with pytest.raises(CookieFileError, match=r"store\.key is missing"):
        CookieFile(tmp_path).write([started()])
    assert not (tmp_path / KEY).exists()


@pytest.mark.parametrize("sealed", [b"", b" ", b"\xff \xff", b"x" * 93])
def test_what_was_not_sealed_by_this_key_file(sealed: bytes, tmp_path: Path) -> None:
    """As by the key of an earlier version, which had one for cookies alone."""
    (tmp_path / "cookies.key").write_bytes(b"k" * 32)
    file = CookieFile(tmp_path)
    file.write([started(), Ended("main", "a", "s1")])
    database = sqlite3.connect(tmp_path / DATABASE)
    with database:
        database.execute("UPDATE cookies SET sealed = ?", (sealed,))
    database.close()
    assert file.ended_cookie("main", "a") is None


@pytest.mark.parametrize("key", [b"", b"x" * 32])
def test_a_damaged_key(key: bytes, tmp_path: Path) -> None:
    (tmp_path / KEY).write_bytes(key)
    with pytest.raises(CookieFileError, match=r"store\.key (is not a key file|holds no key)"):
        CookieFile(tmp_path).write([started()])


def test_a_damaged_database(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database" * 100)
    with pytest.raises(CookieFileError, match=r"cookies\.db: .* remove it"):
        CookieFile(tmp_path).write([started()])


def test_a_later_form(tmp_path: Path) -> None:
    CookieFile(tmp_path).write([started()])
    database = sqlite3.connect(tmp_path / DATABASE)
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(CookieFileError, match="another version"):
        CookieFile(tmp_path).ended_cookie("main", "a")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CookieFileError, match="no such file"):
        CookieFile(tmp_path / "missing").write([started()])


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"k" * 32)
    (tmp_path / DATABASE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CookieFileError, match=DATABASE):
        CookieFile(tmp_path).write([started()])


def spoil(folder: Path, column: str, value: object, node: str = "a") -> None:
    database = sqlite3.connect(folder / DATABASE)
    with database:
        database.execute(f"UPDATE cookies SET {column} = ? WHERE node = ?", (value, node))
    database.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("owner", b"\xff"),
        ("session", b"s1"),
        ("sealed", 7),
        ("sealed", "text"),
        ("ended_at", "yesterday"),
        ("ended_at", b"\x00"),
        ("ended_at", 1e300),
        ("ended_at", -math.inf),
    ],
)
def test_a_damaged_row_is_skipped_and_deleted(column: str, value: object, tmp_path: Path) -> None:
    file = CookieFile(tmp_path)
    for node in "ab":
        file.write([started(node), Ended("main", node, "s1")])
    spoil(tmp_path, column, value)
    assert file.ended_cookie("main", "a") is None
    assert file.ended_cookie("main", "b") == COOKIE
    assert file.tidy() == 1
    assert [node for node, _ in rows(tmp_path)] == ["b"]
    assert file.tidy() == 0


@pytest.mark.parametrize("sealed", [b"", b"x", b"x" * 12, b"x" * 100])
def test_what_cannot_be_decrypted(sealed: bytes, tmp_path: Path) -> None:
    file = CookieFile(tmp_path)
    file.write([started(), Ended("main", "a", "s1")])
    spoil(tmp_path, "sealed", sealed)
    assert file.ended_cookie("main", "a") is None
    file.tidy()


@pytest.mark.parametrize("pid", ["\u00b2", "9" * 5000, "x", ""])
def test_an_owner_of_whom_nothing_can_be_said_lives(pid: str, tmp_path: Path) -> None:
    file = CookieFile(tmp_path)
    file.write([started()])
    spoil(tmp_path, "owner", f"{this_process().partition(':')[0]}:{pid}:1")
    file.tidy()
    assert file.ended_cookie("main", "a") is None


def test_forgetting(tmp_path: Path) -> None:
    file = CookieFile(tmp_path)
    file.write([Forgotten("main", "a")])
    assert list(tmp_path.iterdir()) == [], "nothing is made where there is nothing to forget"
    file.write([started(), Ended("main", "a", "s1"), started("b"), Forgotten("main", "a")])
    assert file.ended_cookie("main", "a") is None
    assert [node for node, _ in rows(tmp_path)] == ["b"]
