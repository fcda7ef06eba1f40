"""Tests of ``gateway.credentials.watch``: who of those that got in may stay."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.config.extracted import Extracted
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.nodes import StoreUnavailable
from gateway.credentials.policy import Presented
from gateway.credentials.watch import RECHECK_EVERY
from gateway.errors import CredentialsUnavailable
from tests.credentials.gates import (
    ADDRESS,
    RIGHT,
    Gate,
    make_config,
    refused_by_controller,
    watched,
)


async def test_a_revocation_ends_the_session_on_two_workers(
    tmp_path: Path, clock: MockClock, log: LogCapture
) -> None:
    config = make_config(tmp_path, "nodes")
    first, second = Gate(config), Gate(config)
    issued = first.issuing.issue("main", "my-agent").secret
    kept = first.issuing.issue("main", "kept").secret
    async with watched(first, second):
        async with (
            first.session(issued) as one,
            second.session(issued) as two,
            second.session(kept, "kept") as three,
        ):
            await trio.sleep(60)
            assert (one.reason, two.reason) == (None, None)
            first.issuing.revoke("main", "my-agent")
            with trio.fail_after(5):
                await one.event.wait()
                await two.event.wait()
            assert one.reason == two.reason == "revoked at 2026-06-01T12:00:00Z"
            await trio.sleep(10)
            assert three.reason is None
        assert first.credentials.watch.live == 0
    audited = [entry["event"] for entry in log.entries if entry["channel"] == "audit"]
    assert audited.count("credential revoked") == 1, "by one of the workers"
    assert audited.count("credential first used") == 2
    assert audited.count("session no longer allowed") == 2


async def test_rotation_ends_the_old_secrets_session_with_its_overlap(
    tmp_path: Path, clock: MockClock
) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    old = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(old) as session:
        new = gate.issuing.rotate("main", "my-agent", overlap=60).secret
        await trio.sleep(5)
        async with gate.session(new) as other:
            assert session.reason is None
            assert await gate.why_not(old) is None
            gate.clock.time += 59.9
            await trio.sleep(2.1)
            assert session.reason is None
            gate.clock.time += 0.1
            assert await gate.why_not(old) is not None
            await trio.sleep(2.1)
            assert session.reason == "its secret was replaced by another one"
            assert other.reason is None


async def test_expiry_at_the_minute(tmp_path: Path, clock: MockClock) -> None:
    rules = [{"match": "*", "valid_until": "2026-06-01T12:05:00Z"}]
    gate = Gate(make_config(tmp_path, "jenkins_secrets", rules=rules))
    async with watched(gate), gate.session(RIGHT) as session:
        gate.clock.time += 299.9
        await trio.sleep(2.1)
        assert session.reason is None
        gate.clock.time += 0.1
        await trio.sleep(2.1)
        assert session.reason == 'rule "*": not valid since 2026-06-01T12:05:00Z'
        assert await gate.why_not(RIGHT) is not None


async def test_a_reload_is_applied_to_live_sessions(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "controller"))
    async with watched(gate), gate.session(RIGHT) as session, gate.session("x", "b") as other:
        gate.credentials.follow(make_config(tmp_path, "controller"))
        await trio.sleep(0.1)
        assert session.reason is None
        rules = [{"match": "my-*", "allow_from": ["10.0.0.0/8"]}]
        gate.credentials.follow(make_config(tmp_path, "controller", rules=rules))
        await trio.sleep(0.1)
        assert session.reason == f'rule "my-*": {ADDRESS} is in none of its networks'
        assert other.reason is None
        gate.credentials.follow(make_config(tmp_path, "jenkins_secrets"))
        await trio.sleep(0.1)
        assert other.reason == "the mode controller is not used any more"


async def test_a_reload_asks_nobody_to_come_again(tmp_path: Path, clock: MockClock) -> None:
    config = make_config(tmp_path, "jenkins_secrets")
    gate = Gate(config)
    await gate.judge(RIGHT)
    (tmp_path / "main.secrets").unlink()
    gate.credentials.follow(config)
    await gate.judge(RIGHT)


async def test_a_reload_reads_a_key_that_has_just_changed(tmp_path: Path, clock: MockClock) -> None:
    config = make_config(tmp_path, "jenkins_secrets")
    gate = Gate(config)
    async with watched(gate), gate.session(RIGHT) as session:
        (tmp_path / "main.secrets").write_bytes(Extracted(b"another key", None).to_bytes())
        gate.credentials.follow(config)
        with trio.fail_after(1):
            await session.event.wait()


async def test_a_rule_ends_sessions_whose_key_cannot_be_read(
    tmp_path: Path, clock: MockClock
) -> None:
    gate = Gate(make_config(tmp_path, "jenkins_secrets"))
    async with watched(gate), gate.session(RIGHT) as session:
        rules = [{"match": "*", "deny": True}]
        changed = make_config(tmp_path, "jenkins_secrets", rules=rules)
        path = tmp_path / "main.secrets"
        path.rename(tmp_path / "unread")
        changed.controllers["main"].credentials.__dict__["jenkins_secrets"] = tmp_path / "gone"
        gate.credentials.follow(changed)
        await trio.sleep(1)
        assert session.reason == 'rule "*": denied'


async def test_a_revocation_ends_sessions_whose_key_cannot_be_read(
    tmp_path: Path, clock: MockClock
) -> None:
    modes = ("nodes", "jenkins_secrets")
    gate = Gate(make_config(tmp_path, *modes))
    async with watched(gate), gate.session(RIGHT) as session:
        changed = make_config(tmp_path, *modes)
        changed.controllers["main"].credentials.__dict__["jenkins_secrets"] = tmp_path / "gone"
        gate.credentials.follow(changed)
        await trio.sleep(1)
        assert session.reason is None
        gate.issuing.issue("main", "my-agent")
        gate.issuing.revoke("main", "my-agent")
        await trio.sleep(5)
        assert session.reason == "revoked at 2026-06-01T12:00:00Z"


async def test_a_new_node_secret_key_ends_sessions(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "jenkins_secrets"))
    path = tmp_path / "main.secrets"
    async with watched(gate), gate.session(RIGHT) as session:
        path.unlink()
        gate.credentials.watch.recheck()
        await trio.sleep(10)
        assert session.reason is None, "what cannot be read ends nobody"
        path.write_bytes(Extracted(b"another key", None).to_bytes())
        await trio.sleep(RECHECK_EVERY)  # by itself
        assert session.reason == "the controller's node-secret key has changed"


async def test_a_store_that_fails_ends_nobody(
    tmp_path: Path, clock: MockClock, log: LogCapture
) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(issued) as session:
        gate.credentials._access.close()
        _move(tmp_path, "nodes", "moved")
        (tmp_path / "nodes.sqlite3").mkdir()
        for _ in range(3):
            gate.credentials.watch.recheck()
            await trio.sleep(5)
        assert session.reason is None
        with pytest.raises(CredentialsUnavailable):
            await gate.judge(issued)
        (tmp_path / "nodes.sqlite3").rmdir()
        _move(tmp_path, "moved", "nodes")
        await trio.sleep(5)
        await gate.judge(issued)
    events = [entry["event"] for entry in log.entries if entry["channel"] == "system"]
    assert events.count("the node store can be used again") == 1
    assert events.count("the node store cannot be used") == 1


async def test_rules_and_ends_hold_without_the_store(tmp_path: Path, clock: MockClock) -> None:
    config = make_config(tmp_path, "nodes")
    gate = Gate(config)
    issued = gate.issuing.issue("main", "my-agent").secret
    ending = gate.issuing.issue("main", "ending").secret
    gate.issuing.expire("main", "ending", at=gate.clock.time + 60)
    async with (
        watched(gate),
        gate.session(issued) as session,
        gate.session(ending, "ending") as other,
    ):
        _break_store(gate)
        await trio.sleep(5)
        gate.clock.time += 60
        await trio.sleep(5)
        assert other.reason == "not valid since 2026-06-01T12:01:00Z"
        assert session.reason is None
        rules = [{"match": "my-*", "deny": True}]
        gate.credentials.follow(make_config(tmp_path, "nodes", rules=rules))
        await trio.sleep(1)
        assert session.reason == 'rule "my-*": denied'


async def test_a_revocation_before_the_first_look_that_succeeds(
    tmp_path: Path, clock: MockClock
) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with gate.session(issued) as session:
        _break_store(gate)
        async with watched(gate):
            await trio.sleep(5)
            _mend_store(gate)
            gate.issuing.revoke("main", "my-agent")
            await trio.sleep(5)
            assert session.reason is not None


async def test_a_damaged_audit_entry_does_not_hide_a_revocation(
    tmp_path: Path, clock: MockClock, log: LogCapture
) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(issued) as session:
        with sqlite3.connect(tmp_path / "nodes.sqlite3") as connection:
            for at, details in ((1.0, "{"), (1e300, "{}"), ("?", "{}"), (3.0, "[]")):
                connection.execute(
                    "INSERT INTO audit (at, event, operator, controller, node, details, logged)"
                    " VALUES (?, 'changed', 'eve', 'main', 'x', ?, 0)",
                    (at, details),
                )
        connection.close()
        gate.issuing.revoke("main", "my-agent")
        await trio.sleep(5)
        assert str(session.reason).startswith("revoked")
    events = [entry["event"] for entry in log.entries]
    assert events.count("credential changed") == 3
    assert events.count("an entry of the audit trail is damaged") == 1
    assert "credential revoked" in events


@pytest.mark.parametrize("damage", ["revoked_at = 1e300", "allow_from = '?'"])
async def test_a_damaged_record_keeps_no_other_in(
    tmp_path: Path, clock: MockClock, log: LogCapture, damage: str
) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    odd = gate.issuing.issue("main", "odd").secret
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(odd, "odd") as other, gate.session(issued) as session:
        with closing(sqlite3.connect(tmp_path / "nodes.sqlite3")) as connection, connection:
            connection.execute(f"UPDATE nodes SET {damage} WHERE name = 'odd'")
        gate.issuing.revoke("main", "my-agent")
        await trio.sleep(5)
        assert str(session.reason).startswith("revoked")
        gate.credentials.watch.recheck()
        await trio.sleep(5)
        assert gate.credentials.watch.rechecks >= 2, "the watch goes on"
        if damage.startswith("revoked_at"):
            assert other.reason == "revoked at 1e+300 s after 1970"
            return
        assert other.reason is None, "what cannot be read ends nobody"
        told = [entry["node"] for entry in log.entries if "damaged" in entry["event"]]
        assert told == ["main/odd"], "once"
        with pytest.raises(CredentialsUnavailable, match="main/odd: its record is damaged"):
            await gate.judge(odd, "odd")
        gate.issuing.revoke("main", "odd")
        await trio.sleep(5)
        assert str(other.reason).startswith("revoked")


async def test_a_damaged_store_does_not_end_the_watch(
    tmp_path: Path, clock: MockClock, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OverflowError("too large")

    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(issued) as session:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteNodeStore, "revision", fail)
            patch.setattr(SqliteNodeStore, "nodes", fail)
            await trio.sleep(10)
        gate.issuing.revoke("main", "my-agent")
        await trio.sleep(5)
        assert session.reason is not None
    events = [entry["event"] for entry in log.entries]
    assert events.count("the node store cannot be used") == 1


async def test_nodes_that_cannot_be_read_are_reported_once(
    tmp_path: Path, clock: MockClock, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(issued) as session:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteNodeStore, "nodes", fail)
            gate.issuing.revoke("main", "my-agent")
            await trio.sleep(20)
        assert session.reason is None, "what cannot be read ends nobody"
        await trio.sleep(5)
        assert str(session.reason).startswith("revoked")
    events = [entry["event"] for entry in log.entries if entry["channel"] == "system"]
    assert events == ["the node store cannot be used", "the node store can be used again"]


async def test_a_folder_that_may_not_be_looked_into(
    tmp_path: Path, clock: MockClock, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    gate = Gate(make_config(tmp_path, "controller", jenkins=False))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        patch.setattr(SqliteNodeStore, "revision", refuse)
        async with watched(gate):
            await trio.sleep(5)
    assert [entry["event"] for entry in log.entries] == ["the node store cannot be used"]
    assert "Permission denied" in log.entries[0]["reason"]


async def test_a_store_that_was_replaced_by_a_backup(
    tmp_path: Path, clock: MockClock, log: LogCapture
) -> None:
    """Numbers are equal in both: revision, the node's id, the credential's id."""
    (tmp_path / "backup").mkdir()
    restored = Gate(make_config(tmp_path / "backup", "nodes"))
    restored.clock.time -= 5
    restored.issuing.issue("main", "my-agent")
    restored.issuing.issue("main", "other")
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    other = gate.issuing.issue("main", "other").secret
    now = gate.store.find("main", "other")
    assert now is not None
    with restored.store.change() as changes:  # this one is the same in both
        changes.save(replace(now, credentials=(replace(now.credentials[0], id=None),)))
    async with watched(gate), gate.session(issued) as session, gate.session(other, "other") as kept:
        restored.close()
        gate.close()
        for ending in ("-wal", "-shm"):  # SQLite would take them for the restored file's
            (tmp_path / f"nodes.sqlite3{ending}").unlink()
        os.replace(tmp_path / "backup" / "nodes.sqlite3", tmp_path / "nodes.sqlite3")
        await trio.sleep(5)
        assert session.reason == "its secret was replaced by another one"
        assert kept.reason is None
        gate.issuing.revoke("main", "other")
        await trio.sleep(5)
        assert str(kept.reason).startswith("revoked")
    assert "the node store was replaced by another file" in [each["event"] for each in log.entries]


async def test_a_session_outlives_a_new_key(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(issued) as session:
        gate.issuing.rekey()
        await gate.judge(issued)  # has its digest made anew
        gate.credentials.watch.recheck()
        await trio.sleep(5)
        assert session.reason is None


async def test_a_store_that_is_gone_is_not_made_anew(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(issued) as session:
        gate.close()
        _move(tmp_path, "nodes", "moved")
        await trio.sleep(10)
        assert session.reason is None
        with pytest.raises(CredentialsUnavailable, match="No such file"):
            await gate.judge(issued)
        _move(tmp_path, "moved", "nodes")
        await gate.judge(issued)


def _break_store(gate: Gate) -> None:
    gate.credentials._access.close()
    gate.store.close()
    _move(gate.config.state_dir, "nodes", "moved")
    (gate.config.state_dir / "nodes.sqlite3").mkdir()


def _mend_store(gate: Gate) -> None:
    (gate.config.state_dir / "nodes.sqlite3").rmdir()
    _move(gate.config.state_dir, "moved", "nodes")


def _move(folder: Path, old: str, new: str) -> None:
    for name in os.listdir(folder):
        if name.startswith(f"{old}.sqlite3"):
            (folder / name).rename(folder / name.replace(old, new))


async def test_what_changes_between_verdict_and_session(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate):
        admission = gate.credentials.admission(Presented("main", "my-agent", issued, ADDRESS))
        await admission.judge()
        gate.issuing.revoke("main", "my-agent")
        await trio.sleep(10)  # the handshake with the controller
        ended = trio.Event()
        with admission.live(lambda _: ended.set()), trio.fail_after(1):
            await ended.wait()


async def test_unlock_reaches_every_worker(tmp_path: Path, clock: MockClock) -> None:
    config = make_config(tmp_path, "controller", lockout={"first": "10m", "longest": "10m"})
    first, second = Gate(config), Gate(config)
    for gate in (first, second):
        for i in range(5):
            await refused_by_controller(gate, f"guess {i}")
    async with watched(first, second):
        assert "LockedOut" in str(await second.why_not("x"))
        first.issuing.unlock(node=("main", "my-agent"), address=None)
        await trio.sleep(5)
        assert await first.why_not("x") is None
        assert await second.why_not("x") is None


async def test_who_writes_for_long_does_not_hold_up_a_revocation(
    tmp_path: Path, clock: MockClock, log: LogCapture
) -> None:
    """The trail of what operators did cannot be taken meanwhile; it is logged afterwards."""
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(issued) as session:
        gate.issuing.revoke("main", "my-agent")
        with closing(sqlite3.connect(tmp_path / "nodes.sqlite3")) as other:
            other.execute("BEGIN IMMEDIATE")
            gate.credentials._access._store = SqliteNodeStore(tmp_path, now=gate.clock)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("gateway.credentials.node_tables.BUSY", 0.05)
                with trio.fail_after(5):
                    await session.event.wait()
                await trio.sleep(10)
            other.execute("ROLLBACK")
        events = [entry["event"] for entry in log.entries]
        assert "credential revoked" not in events
        assert events.count("the node store cannot be used") == 1
        await trio.sleep(5)
    gate.credentials._access._store.close()
    events = [entry["event"] for entry in log.entries]
    assert events.count("credential revoked") == 1
    assert events.index("session no longer allowed") < events.index("credential revoked")
    assert events[-1] == "the node store can be used again"
