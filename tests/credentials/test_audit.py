"""Tests of ``gateway.credentials.audit``: one line each, with who, from where and why."""

from __future__ import annotations

from structlog.testing import LogCapture

from gateway.credentials.audit import Audit
from gateway.credentials.lockout import Lock
from gateway.credentials.nodes import AuditEntry
from gateway.credentials.policy import Presented

WHO = {"controller": "main", "node": "a", "client": "192.0.2.1"}


def test_the_lines(log: LogCapture) -> None:
    audit = Audit()
    presented = Presented("main", "a", "hunter2", "192.0.2.1")
    audit.first_used(presented)
    audit.refused(presented, "why", by="controller")
    audit.locked("main", Lock("192.0.2.1", None, 60.0))
    audit.ended(presented, "revoked")
    audit.done(AuditEntry(0.0, "rotated", "bob", "main", "a", {"previous_ends": "now"}))
    audit.done(AuditEntry(0.0, "exported", "bob"))
    audit.unlocked(3)
    assert [entry.pop("channel") for entry in log.entries] == ["audit"] * 7
    warnings = [entry.pop("log_level") for entry in log.entries]
    assert warnings == ["info", "warning", "warning", "warning", "info", "info", "info"]
    at = {"at": "1970-01-01T00:00:00Z", "operator": "bob"}
    assert log.entries == [
        {"event": "credential first used", **WHO},
        {"event": "agent refused", **WHO, "by": "controller", "reason": "why"},
        {
            "event": "locked out",
            "client": "192.0.2.1",
            "controller": "main",
            "node": "all",
            "lock_s": 60.0,
        },
        {"event": "session no longer allowed", **WHO, "reason": "revoked"},
        {
            "event": "credential rotated",
            **at,
            "controller": "main",
            "node": "a",
            "details": {"previous_ends": "now"},
        },
        {"event": "exported", **at},
        {"event": "worker has unlocked", "records": 3},
    ]


def test_strangers_cause_one_line_a_minute(log: LogCapture) -> None:
    now = 0.0
    audit = Audit(lambda: now)
    for host in range(50):
        presented = Presented("main", "a", str(host), f"2001:db8::{host:x}")
        audit.refused(presented, f"{presented.client_address} is in none", by="gateway")
    assert len(log.entries) == 1
    audit.refused(Presented("main", "a", "s", "2001:db8:0:1::1"), "why", by="gateway")
    audit.refused(Presented("main", "b", "s", "2001:db8::1"), "why", by="gateway")
    assert len(log.entries) == 3, "another site, another node"
    now = 59.9
    audit.write_repeated()
    assert len(log.entries) == 3
    now = 60.0
    audit.write_repeated()
    audit.refused(
        Presented("main", "a", "s", "2001:db8::0"), "2001:db8::0 is in none", by="gateway"
    )
    assert [entry.get("repeated") for entry in log.entries] == [None, None, None, 49]
    now = 120.0
    audit.write_repeated()
    assert log.entries[4]["repeated"] == 1
    now = 180.0
    audit.write_repeated()
    assert len(log.entries) == 5, "nothing was repeated"
    assert not audit._refused


def test_strangers_with_many_names_are_counted(log: LogCapture) -> None:
    now = 0.0
    audit = Audit(lambda: now)
    for i in range(5000):
        audit.refused(Presented("main", f"a{i}", "s", "192.0.2.1"), "why", by="gateway")
    assert len(log.entries) <= 1002
    now = 60.0
    audit.write_repeated()
    counts = [entry["count"] for entry in log.entries if entry["event"] == "more agents refused"]
    assert sum(counts) == 4000


def test_a_long_name_is_cut(log: LogCapture) -> None:
    Audit().refused(Presented("main", "a" * 1024, "s", "192.0.2.1"), "why", by="gateway")
    assert log.entries[0]["node"] == "a" * 256
