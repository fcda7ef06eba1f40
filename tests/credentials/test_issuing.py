"""Tests of ``gateway.credentials.issuing``: what operators do, and that it is written down."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.config.credentials import ClientCertificateCondition
from gateway.credentials.conditions import Conditions
from gateway.credentials.issuing import Issued, Issuing, NodeError, make_node
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.nodes import DamagedRecord, Node
from gateway.credentials.store_keys import StoreKeyError, StoreKeys
from tests.credentials.node_records import node

HOUR = 3600.0


@dataclass
class Desk:
    """An operator's desk, with a clock."""

    store: SqliteNodeStore
    key_file: Path
    time: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.issuing = Issuing(self.store, self.key_file, operator="bob", now=lambda: self.time)

    def node(self, name: str = "a") -> Node:
        found = self.store.find("main", name)
        assert found is not None
        return found

    def takes(self, issued: Issued, name: str = "a") -> bool:
        """Say whether the secret is one of the node's at this time."""
        keys = StoreKeys.open(self.key_file)
        found = self.node(name)
        return any(
            keys.digest(found.context, issued.secret, each.key_id) == each.digest
            for each in found.valid_credentials(self.time)
        )

    def events(self, name: str = "a") -> list[str]:
        return [each.event for each in self.store.history("main", name)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    store = SqliteNodeStore(tmp_path)
    yield Desk(store, tmp_path / "key")
    store.close()


def test_issue(desk: Desk) -> None:
    issued = desk.issuing.issue("main", "a", upstream="the real one", note="Bob's")
    assert desk.takes(issued)
    assert issued.secret not in repr(issued)
    found = desk.node()
    assert found.upstream is not None
    keys = StoreKeys.open(desk.key_file)
    assert keys.open_sealed("upstream-secret", "main/a", found.upstream) == "the real one"
    (entry,) = desk.store.take_unlogged()
    assert (entry.event, entry.operator, entry.node) == ("issued", "bob", "a")
    with pytest.raises(NodeError, match="has a secret already"):
        desk.issuing.issue("main", "a")
    assert desk.takes(issued)
    for path in desk.store.path.parent.iterdir():
        assert issued.secret.encode() not in path.read_bytes()
        assert b"the real one" not in path.read_bytes()


def test_rotate_with_overlap(desk: Desk) -> None:
    first = desk.issuing.issue("main", "a")
    second = desk.issuing.rotate("main", "a", overlap=HOUR)
    assert desk.takes(first)
    assert desk.takes(second)
    desk.time += HOUR - 0.001
    assert desk.takes(first)
    desk.time += 0.001
    assert not desk.takes(first)
    assert desk.takes(second)


def test_rotating_again_within_the_overlap(desk: Desk) -> None:
    first = desk.issuing.issue("main", "a")
    second = desk.issuing.rotate("main", "a", overlap=HOUR)
    third = desk.issuing.rotate("main", "a", overlap=2 * HOUR)
    assert [desk.takes(each) for each in (first, second, third)] == [False, True, True]
    assert len(desk.node().credentials) == 2
    fourth = desk.issuing.rotate("main", "a", overlap=0.0)
    assert [desk.takes(each) for each in (second, third, fourth)] == [False, False, True]
    assert desk.events() == ["issued", "rotated", "rotated", "rotated"]


def test_a_rotation_does_not_prolong_an_earlier_one(desk: Desk) -> None:
    """An overlap that was given an end keeps it."""
    desk.issuing.issue("main", "a")
    second = desk.issuing.rotate("main", "a", overlap=HOUR)
    desk.issuing.rotate("main", "a", overlap=60.0)
    desk.time += 61
    assert not desk.takes(second)


def test_the_clock_set_back(desk: Desk) -> None:
    """What was revoked or replaced stays so: that is a state, not a time."""
    first = desk.issuing.issue("main", "a")
    desk.issuing.rotate("main", "a", overlap=0.0)
    desk.time -= 10 * 365 * 24 * HOUR
    assert not desk.takes(first)
    second = desk.issuing.rotate("main", "a", overlap=0.0)
    assert desk.takes(second)
    desk.issuing.revoke("main", "a")
    desk.time -= HOUR
    assert not desk.takes(second)


def test_revoke_and_issue_again(desk: Desk) -> None:
    first = desk.issuing.issue("main", "a", upstream="the real one")
    desk.issuing.revoke("main", "a")
    assert not desk.takes(first)
    with pytest.raises(NodeError, match="is revoked"):
        desk.issuing.rotate("main", "a", overlap=HOUR)
    again = desk.issuing.issue("main", "a")
    assert desk.takes(again)
    assert not desk.takes(first)
    assert desk.node().upstream is not None, "the secret in Jenkins is what it was"
    assert desk.events() == ["issued", "revoked", "issued"]


KNOWN = Conditions(
    (ip_network("10.0.0.0/8"),), ClientCertificateCondition(by="san"), 999_000.0, 2_000_000.0
)


def test_a_revocation_drops_no_condition(desk: Desk) -> None:
    desk.issuing.issue("main", "a", conditions=KNOWN, note="ask Bob")
    desk.issuing.revoke("main", "a")
    desk.issuing.issue("main", "a")
    assert (desk.node().conditions, desk.node().note) == (KNOWN, "ask Bob")
    assert desk.node().revoked_at is None
    desk.issuing.revoke("main", "a")
    other = Conditions((ip_network("192.0.2.0/24"),), valid_until=3_000_000.0)
    desk.issuing.issue("main", "a", conditions=other, note="")
    assert desk.node().conditions == replace(
        KNOWN, allow_from=other.allow_from, valid_until=3_000_000.0
    )
    assert desk.node().note == ""
    desk.issuing.revoke("main", "a")
    with pytest.raises(NodeError, match="an end after the beginning"):
        desk.issuing.issue("main", "a", conditions=Conditions(valid_until=998_000.0))


def test_change(desk: Desk) -> None:
    issued = desk.issuing.issue("main", "a", conditions=KNOWN, upstream="the real one", note="Bob")
    before = desk.node()
    desk.issuing.change("main", "a", conditions=Conditions(valid_until=3_000_000.0))
    assert desk.node() == replace(before, conditions=replace(KNOWN, valid_until=3_000_000.0))
    assert desk.takes(issued)
    desk.issuing.change(
        "main",
        "a",
        conditions=Conditions(),
        dropped=frozenset({"allow_from", "certificate", "valid_from", "valid_until"}),
        upstream="another one",
        note="Eve",
    )
    found = desk.node()
    assert (found.conditions, found.note) == (Conditions(), "Eve")
    assert found.upstream is not None
    keys = StoreKeys.open(desk.key_file)
    assert keys.open_sealed("upstream-secret", "main/a", found.upstream) == "another one"
    assert desk.takes(issued)
    last = desk.store.history("main", "a")[-1]
    assert (last.event, last.details) == (
        "changed",
        {"conditions": "none", "upstream_secret": "replaced"},
    )
    with pytest.raises(NodeError, match="an end after the beginning"):
        desk.issuing.change("main", "a", conditions=Conditions(valid_from=9.0, valid_until=8.0))


def test_change_of_a_revoked_node_lets_nobody_in(desk: Desk) -> None:
    issued = desk.issuing.issue("main", "a", conditions=KNOWN)
    desk.issuing.revoke("main", "a")
    desk.issuing.change("main", "a", conditions=Conditions(), dropped=frozenset({"allow_from"}))
    assert desk.node().revoked_at is not None
    assert not desk.takes(issued)
    desk.issuing.issue("main", "a")
    assert desk.node().conditions == replace(KNOWN, allow_from=())


def test_expire(desk: Desk) -> None:
    issued = desk.issuing.issue("main", "a", conditions=Conditions(valid_from=desk.time))
    desk.issuing.expire("main", "a", at=desk.time + 60)
    assert desk.node().conditions.valid_until == desk.time + 60
    with pytest.raises(NodeError, match="allowed: an end after the beginning"):
        desk.issuing.expire("main", "a", at=desk.time)
    desk.issuing.expire("main", "a", at=None)
    assert desk.node().conditions.valid_until is None
    assert desk.takes(issued)


def test_an_end_before_the_beginning(desk: Desk) -> None:
    with pytest.raises(NodeError, match="allowed: an end after the beginning"):
        desk.issuing.issue("main", "a", conditions=Conditions(valid_from=60.0, valid_until=60.0))
    assert not desk.key_file.exists()


@pytest.mark.parametrize("what", ["rotate", "change", "revoke", "expire"])
def test_nodes_that_do_not_exist(desk: Desk, what: str) -> None:
    actions: dict[str, Callable[[], object]] = {
        "rotate": lambda: desk.issuing.rotate("main", "a", overlap=0.0),
        "change": lambda: desk.issuing.change("main", "a", conditions=Conditions()),
        "revoke": lambda: desk.issuing.revoke("main", "a"),
        "expire": lambda: desk.issuing.expire("main", "a", at=None),
    }
    with pytest.raises(NodeError, match="main/a: no secret was ever issued"):
        actions[what]()
    assert desk.store.take_unlogged() == []


def test_rekey(desk: Desk) -> None:
    used = desk.issuing.issue("main", "a", upstream="the real one")
    old = StoreKeys.open(desk.key_file).ids
    assert desk.issuing.rekey() == old, "the secret of a is known by its digest only"
    assert desk.takes(used)
    sealed = desk.node().upstream
    assert sealed is not None
    assert sealed.key_id == StoreKeys.open(desk.key_file).ids[0]
    desk.issuing.rotate("main", "a", overlap=0.0)
    assert desk.issuing.rekey() == StoreKeys.open(desk.key_file).ids[1:]
    assert old[0] not in StoreKeys.open(desk.key_file).ids


def test_a_lost_key_file_is_not_replaced(desk: Desk) -> None:
    desk.issuing.issue("main", "a")
    desk.key_file.unlink()
    for action in (
        lambda: desk.issuing.issue("main", "b"),
        lambda: desk.issuing.rotate("main", "a", overlap=0.0),
        desk.issuing.rekey,
    ):
        with pytest.raises(StoreKeyError, match="Restore it from a backup"):
            action()
    assert not desk.key_file.exists()
    desk.issuing.revoke("main", "a")
    desk.issuing.issue("main", "a")  # nothing needs the lost one any more


def test_import_is_all_or_nothing(desk: Desk) -> None:
    def two(keys: StoreKeys, now: float) -> list[Node]:
        return [
            make_node(keys, now, node(name), secret=f"{name}" * 40, upstream=None)
            for name in ("b", "a")
        ]

    desk.issuing.issue("main", "a")
    with pytest.raises(NodeError, match="main/a exists already; nothing was imported"):
        desk.issuing.import_(two, force=False)
    assert desk.store.find("main", "b") is None
    assert desk.issuing.import_(two, force=True) == 2
    assert desk.takes(Issued("b" * 40, desk.node("b")), "b")
    assert desk.events("b") == ["imported"]
    assert len(desk.issuing.export().found) == 2


def test_a_damaged_record(desk: Desk) -> None:
    """The others go on; it can be ended or replaced, and no key is dropped that it may need."""
    for name in ("damaged", "good"):
        desk.issuing.issue("main", name, upstream="real")
    with closing(sqlite3.connect(desk.store.path)) as connection, connection:
        connection.execute("UPDATE nodes SET allow_from = '[1]' WHERE name = 'damaged'")
    exported = desk.issuing.export()
    assert ([each.name for each in exported.found], exported.damaged) == (
        ["good"],
        ("main/damaged",),
    )
    assert desk.store.history("main", "good")
    before = desk.key_file.read_bytes()
    for act in (
        desk.issuing.rekey,
        lambda: desk.issuing.rotate("main", "damaged", overlap=0.0),
        lambda: desk.issuing.expire("main", "damaged", at=None),
        lambda: desk.issuing.issue("main", "damaged", upstream="real"),
    ):
        with pytest.raises(DamagedRecord, match=r"main/damaged: .*`nodes revoke` ends it"):
            act()
    assert desk.key_file.read_bytes() == before

    def replacement(keys: StoreKeys, now: float) -> list[Node]:
        return [make_node(keys, now, Node("main", "damaged", now), secret="s" * 64, upstream="x")]

    with pytest.raises(NodeError, match="exists already"):
        desk.issuing.import_(replacement, force=False)
    desk.issuing.revoke("main", "damaged")
    assert desk.node("damaged").revoked_at is not None
    assert desk.node("damaged").credentials == ()
    assert desk.issuing.rekey() != ()
    assert desk.issuing.import_(replacement, force=True) == 1


def test_unlock_is_written_down(desk: Desk) -> None:
    desk.issuing.unlock(node=("main", "a"), address=None)
    desk.issuing.unlock(node=None, address="192.0.2.1")
    assert [(each.node, each.address) for each in desk.store.unlocks_after(0)] == [
        ("a", None),
        (None, "192.0.2.1"),
    ]
    assert [each.event for each in desk.store.take_unlogged()] == ["unlocked", "unlocked"]
