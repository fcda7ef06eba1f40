"""Tests of ``gateway.credentials.gate``: who gets in, what refusals have in common, who stays."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.config.extracted import Extracted
from gateway.credentials import gate as gate_module
from gateway.credentials.gate import RECHECK_EVERY, REFUSAL_STEP, Admission
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.policy import CertificateNames, Granted, Presented
from gateway.credentials.store_keys import StoreKeys
from gateway.errors import CredentialsUnavailable, LockedOut, NotAuthorized
from gateway.observability.metrics.samples import Samples
from gateway.observability.metrics.table import LOCKOUTS, WRONG_SECRETS
from tests.credentials.gates import ADDRESS, RIGHT, Gate, make_config, watched

WRONG = "0" * 64


@pytest.fixture
def clock() -> MockClock:
    """Jump when nothing has happened for a moment: threads need some."""
    return MockClock(autojump_threshold=0.01)


# -- modes -----------------------------------------------------------------------------------------


async def test_the_controller_judges_by_default(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "controller", jenkins=False))
    assert await gate.judge(WRONG) == Granted(WRONG, proved=False)
    assert os.listdir(tmp_path) == [], "nothing is made that nobody needs"


async def test_jenkins_secrets(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "jenkins_secrets"))
    assert await gate.judge(RIGHT) == Granted(RIGHT, proved=True, mode="jenkins_secrets")
    reason = "NotAuthorized: not the secret that Jenkins has for this name"
    assert await gate.why_not(WRONG) == reason
    assert await gate.why_not(RIGHT, "other") == reason


async def test_issued_secrets_stand_for_the_real_ones(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    computed = gate.issuing.issue("main", "my-agent").secret
    stored = gate.issuing.issue("main", "other", upstream="the real one").secret
    granted = await gate.judge(computed)
    assert granted.upstream_secret == RIGHT
    assert granted.proved
    assert (await gate.judge(stored, "other")).upstream_secret == "the real one"
    wrong = "NotAuthorized: wrong secret, or one that has ended"
    assert await gate.why_not(stored) == wrong
    assert await gate.why_not(RIGHT) == wrong, "Jenkins' own is not one of them"
    unknown = "NotAuthorized: unknown node: nothing was issued for it"
    assert await gate.why_not(stored, "none") == unknown
    gate.issuing.revoke("main", "other")
    assert await gate.why_not(stored, "other") == "NotAuthorized: the node is revoked"
    gate.credentials._access.close()
    gate.close()


async def test_the_first_mode_that_recognises_decides(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "nodes", "jenkins_secrets", "controller"))
    issued = gate.issuing.issue("main", "my-agent").secret
    assert [(await gate.judge(each)).mode for each in (issued, RIGHT, WRONG)] == [
        "nodes",
        "jenkins_secrets",
        "controller",
    ]
    gate.credentials._access.close()
    gate.close()


async def test_no_secret_for_the_controller(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "nodes", jenkins=False))
    issued = gate.issuing.issue("main", "my-agent").secret
    with pytest.raises(CredentialsUnavailable, match="--upstream-secret-file"):
        await gate.judge(issued)
    gate.credentials._access.close()
    gate.close()


async def test_a_lost_key_file(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    issued = gate.issuing.issue("main", "my-agent").secret
    gate.config.store_key_file.write_text("damaged")
    with pytest.raises(CredentialsUnavailable, match="is not a key file"):
        await gate.judge(issued)
    gate.config.store_key_file.unlink()
    with pytest.raises(CredentialsUnavailable, match="Restore it from a backup"):
        await gate.judge(issued)
    assert not await trio.Path(gate.config.store_key_file).exists(), "no other one is made"
    StoreKeys.open(gate.config.store_key_file)  # of another store
    assert "not in the key file" in str(await gate.why_not(issued))
    gate.credentials._access.close()
    gate.close()


# -- conditions ------------------------------------------------------------------------------------


async def test_conditions_hold_in_every_mode(tmp_path: Path, clock: MockClock) -> None:
    for mode in ("controller", "jenkins_secrets"):
        gate = Gate(make_config(tmp_path, mode, rules=[{"match": "my-*", "deny": True}]))
        assert await gate.why_not(RIGHT) == 'NotAuthorized: rule "my-*": denied'


async def test_stored_conditions(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "nodes", "controller"))
    issued = gate.issuing.issue("main", "my-agent").secret
    gate.issuing.expire("main", "my-agent", at=gate.clock.time + 60)
    granted = await gate.judge(issued)
    assert granted.ends_at == gate.clock.time + 60
    gate.clock.time += 60
    # Not overruled by the controller: the mode nodes knows the secret.
    assert await gate.why_not(issued) == "NotAuthorized: not valid since 2026-06-01T12:01:00Z"
    gate.credentials._access.close()
    gate.close()


@pytest.mark.parametrize("modes", [("nodes", "controller"), ("jenkins_secrets", "nodes")])
async def test_what_is_stored_holds_whatever_mode_recognises(
    tmp_path: Path, clock: MockClock, modes: tuple[str, ...]
) -> None:
    gate = Gate(make_config(tmp_path, *modes))
    assert await gate.why_not(RIGHT) is None, "nothing is stored"
    gate.issuing.issue("main", "my-agent")
    gate.issuing.expire("main", "my-agent", at=gate.clock.time + 60)
    assert (await gate.judge(RIGHT)).ends_at == gate.clock.time + 60
    async with watched(gate), gate.session(RIGHT) as session:
        gate.clock.time += 60
        await trio.sleep(5)
        ended = "not valid since 2026-06-01T12:01:00Z"
        assert session.reason == ended
        assert await gate.why_not(RIGHT) == f"NotAuthorized: {ended}"
        gate.issuing.expire("main", "my-agent", at=None)
        async with gate.session(RIGHT) as other:
            gate.issuing.revoke("main", "my-agent")
            await trio.sleep(5)
            assert other.reason == "revoked at 2026-06-01T12:01:00Z"
            assert await gate.why_not(RIGHT) == f"NotAuthorized: {other.reason}"


async def test_a_certificate_for_the_node(tmp_path: Path, clock: MockClock) -> None:
    rules = [{"match": "*", "client_certificate": {"by": "subject"}}]
    gate = Gate(make_config(tmp_path, "jenkins_secrets", rules=rules))
    shown = CertificateNames(("my-agent",))
    assert await gate.why_not(RIGHT, certificate=shown) is None
    assert "no client certificate" in str(await gate.why_not(RIGHT))


# -- wrong secrets ---------------------------------------------------------------------------------


async def refused_by_controller(gate: Gate, secret: str, node: str = "my-agent") -> None:
    admission = gate.credentials.admission(Presented("main", node, secret, ADDRESS))
    await admission.judge()
    admission.refused()


async def test_the_controllers_verdict_is_remembered(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "controller"))
    await refused_by_controller(gate, WRONG)
    assert "less than a minute ago" in str(await gate.why_not(WRONG))
    assert await gate.why_not(WRONG, "other") is None
    await trio.sleep(60)
    assert await gate.why_not(WRONG) is None, "it is asked again"


async def test_lockout_by_the_controllers_word(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "controller"))
    for i in range(5):
        await refused_by_controller(gate, f"guess {i}")
    assert "LockedOut" in str(await gate.why_not("another guess"))
    samples = Samples()
    gate.credentials._meters.add_to(samples)
    assert samples.of(LOCKOUTS) == {("main", "node"): 1}
    assert samples.of(WRONG_SECRETS) == {("main", "controller"): 5}
    assert await gate.why_not("a neighbour's", "neighbour") is None
    assert await gate.why_not("another guess", address="192.0.2.2") is None
    await trio.sleep(60)
    assert await gate.why_not("another guess") is None


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "198.51.100.7"]
)
async def test_who_is_never_locked_out(tmp_path: Path, clock: MockClock, address: str) -> None:
    config = make_config(
        tmp_path,
        "controller",
        trusted_proxies=["10.0.0.0/8"],
        lockout={"exempt": ["198.51.100.0/24"]},
    )
    gate = Gate(config)
    for i in range(60):
        admission = gate.credentials.admission(Presented("main", "a", f"guess {i}", address))
        await admission.judge()
        admission.refused()


async def test_a_proved_secret_is_never_locked_out(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "jenkins_secrets"))
    reasons = [await gate.why_not(f"guess {i}") for i in range(60)]
    assert "LockedOut" in str(reasons[-1])
    assert await gate.why_not(RIGHT) is None


async def test_the_controller_refuses_what_was_proved(
    tmp_path: Path, clock: MockClock, log: LogCapture
) -> None:
    gate = Gate(make_config(tmp_path, "jenkins_secrets"))
    for _ in range(10):
        await refused_by_controller(gate, RIGHT)
    assert await gate.why_not(RIGHT) is None
    assert log.entries[0]["log_level"] == "error"


@pytest.mark.parametrize("modes", [["jenkins_secrets"], ["nodes"], ["nodes", "jenkins_secrets"]])
async def test_refusals_look_and_last_alike(
    tmp_path: Path, clock: MockClock, modes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []  # by a thread, at the end
    monkeypatch.setattr(gate_module, "time", SimpleNamespace(sleep=slept.append))
    gate = Gate(make_config(tmp_path, *modes))
    if "nodes" in modes:
        gate.issuing.issue("main", "my-agent")
        gate.issuing.issue("main", "revoked")
        gate.issuing.revoke("main", "revoked")

    async def refusal(node: str, secret: str) -> tuple[str, float]:
        began = trio.current_time()
        with pytest.raises(NotAuthorized) as caught:
            await gate.judge(secret, node)
        took = trio.current_time() - began + slept.pop()
        return caught.value.public, round(took / REFUSAL_STEP, 6)

    found = {await refusal("my-agent", WRONG), await refusal("unknown", WRONG)}
    found |= {await refusal("revoked", WRONG), await refusal("my-agent", WRONG)}
    for i in range(5):
        found.add(await refusal("my-agent", f"guess {i}"))
    with pytest.raises(LockedOut):
        await gate.judge("one more")
    slept.clear()
    found.add(await refusal("my-agent", "and more"))
    assert found == {("not authorized", 1.0)}
    gate.credentials._access.close()
    gate.close()


async def test_an_agent_with_a_wrong_secret_and_its_neighbours(
    tmp_path: Path, clock: MockClock
) -> None:
    """As agent.jar retries; a hundred neighbours at its address; it is put right at the end."""
    gate = Gate(make_config(tmp_path, "controller"))
    asked = 0
    for i, delay in enumerate([0.0, 1.0, 3.0, 7.0] + [10.0] * 60):
        await trio.sleep(delay)
        if await gate.why_not(WRONG) is None:
            asked += 1
            await refused_by_controller(gate, WRONG)
        assert await gate.why_not(f"right {i}", f"neighbour {i % 100}") is None
    assert 10 <= asked <= 12, "once a minute"
    assert await gate.why_not("the right one") is None


# -- live sessions ---------------------------------------------------------------------------------


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
        assert first.credentials.live == 0
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


async def test_a_new_node_secret_key_ends_sessions(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "jenkins_secrets"))
    path = tmp_path / "main.secrets"
    async with watched(gate), gate.session(RIGHT) as session:
        path.unlink()
        gate.credentials.recheck()
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
            gate.credentials.recheck()
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
            for at, details in ((1.0, "{"), (1e300, "{}"), (2.0, '{"at": 1}'), (3.0, "[]")):
                connection.execute(
                    "INSERT INTO audit (at, event, operator, controller, node, details, logged)"
                    " VALUES (?, 'odd', 'eve', 'main', 'x', ?, 0)",
                    (at, details),
                )
        connection.close()
        gate.issuing.revoke("main", "my-agent")
        await trio.sleep(5)
        assert str(session.reason).startswith("revoked")
    events = [entry["event"] for entry in log.entries]
    assert events.count("credential odd") == 2
    assert events.count("an entry of the audit trail is damaged") == 2
    assert "credential revoked" in events


async def test_a_record_that_cannot_be_judged_keeps_no_other_in(
    tmp_path: Path, clock: MockClock, log: LogCapture
) -> None:
    gate = Gate(make_config(tmp_path, "nodes"))
    odd = gate.issuing.issue("main", "odd").secret
    issued = gate.issuing.issue("main", "my-agent").secret
    async with watched(gate), gate.session(odd, "odd") as other, gate.session(issued) as session:
        with sqlite3.connect(tmp_path / "nodes.sqlite3") as connection:
            connection.execute("UPDATE nodes SET revoked_at = 1e300 WHERE name = 'odd'")
        connection.close()
        gate.issuing.revoke("main", "my-agent")
        await trio.sleep(5)
        assert str(session.reason).startswith("revoked")
        assert other.reason is None or "revoked" in other.reason
        gate.credentials.recheck()
        await trio.sleep(5)
        assert gate.credentials.rechecks >= 2, "the watch goes on"


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
        gate.credentials.recheck()
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


async def test_the_secret_is_forgotten_once_it_was_judged(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "jenkins_secrets"))
    admission = gate.credentials.admission(Presented("main", "my-agent", RIGHT, ADDRESS))
    assert await admission.judge() == replace(admission.granted, upstream_secret=RIGHT)
    kept = [getattr(admission, name) for name in Admission.__slots__]
    assert RIGHT not in repr([kept, admission.presented.secret, admission.granted.upstream_secret])
