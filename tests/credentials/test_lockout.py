"""Tests of ``gateway.credentials.lockout``: who is locked out, for how long, and who never is."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gateway.config.credentials import LockoutConfig
from gateway.credentials.lockout import Lock, Lockout

# What agent.jar waits before each try: 0, 1, 3, 7, 10, 10 ... (PROTOCOLS A.5).
AGENT_DELAYS = [0.0, 1.0, 3.0, 7.0] + [10.0] * 400


def make(most: int = 10_000, exempt: str = "never", **config: Any) -> Lockout:
    return Lockout(
        LockoutConfig.model_validate(config), is_exempt=lambda each: each == exempt, most=most
    )


def fail(lockout: Lockout, secret: str, node: str = "a", address: str = "192.0.2.1") -> list[Lock]:
    fingerprint = lockout.fingerprint("main", node, secret)
    return lockout.fail(address, "main", node, fingerprint)


def locked(lockout: Lockout, node: str = "a", address: str = "192.0.2.1") -> bool:
    return lockout.is_locked(address, "main", node)


async def test_five_different_secrets_for_a_node(mock_clock: MockClock) -> None:
    lockout = make()
    for i in range(4):
        assert fail(lockout, f"guess {i}") == []
        assert not locked(lockout)
    assert fail(lockout, "guess 4") == [Lock("192.0.2.1", "a", 60.0)]
    assert locked(lockout)
    assert not locked(lockout, node="b")
    assert not locked(lockout, address="192.0.2.2")
    assert not lockout.is_locked("192.0.2.1", "other", "a")
    mock_clock.jump(59.9)
    assert locked(lockout)
    mock_clock.jump(0.2)
    assert not locked(lockout)


async def test_failures_that_are_old_do_not_count(mock_clock: MockClock) -> None:
    lockout = make()
    for i in range(40):
        assert fail(lockout, f"guess {i}") == []
        mock_clock.jump(15.1)


async def test_fifty_guesses_from_an_address(mock_clock: MockClock) -> None:
    """A guess is a secret that is not the first wrong one of its node."""
    lockout = make()
    for i in range(12):
        assert fail(lockout, "first", node=f"node {i}") == []
        assert [fail(lockout, f"guess {j}", node=f"node {i}") for j in range(3)] == [[]] * 3
        assert fail(lockout, "guess 3", node=f"node {i}") == [Lock("192.0.2.1", f"node {i}", 60.0)]
    assert fail(lockout, "first", node="another") == []  # the 48 so far are not 49 by that
    assert fail(lockout, "guess", node="another") == []
    assert not locked(lockout, node="never seen")
    assert fail(lockout, "guess 2", node="another") == [Lock("192.0.2.1", None, 60.0)]
    assert locked(lockout, node="never seen")
    assert not locked(lockout, address="192.0.2.2")


async def test_a_site_whose_secrets_are_all_wrong(mock_clock: MockClock) -> None:
    """400 agents behind one address, each with a wrong secret of its own, for hours."""
    lockout = make()
    for _ in range(240):
        for i in range(400):
            assert fail(lockout, f"wrong {i}", node=f"node {i}") == []
        assert not locked(lockout, node="neighbour")
        mock_clock.jump(61.0)
    # Half of them are given another one, wrong as well: by people, 10 a minute.
    for i in range(200):
        assert fail(lockout, f"other {i}", node=f"node {i}") == []
        mock_clock.jump(6.0)


async def test_a_very_large_site_is_locked_a_few_times_only(mock_clock: MockClock) -> None:
    lockout = make()
    waited = []
    for _ in range(60):
        for i in range(2000):
            for lock in fail(lockout, f"wrong {i}", node=f"node {i}"):
                waited.append(lock.duration)
                mock_clock.jump(lock.duration)
        mock_clock.jump(60.0)
    assert waited == [60.0, 120.0, 240.0, 480.0], "each was counted once"


@pytest.mark.parametrize(("pace", "most"), [(0.0, 500), (0.05, 1700), (0.1, 2000)])
async def test_one_guess_for_each_of_ten_thousand_names(
    mock_clock: MockClock, pace: float, most: int
) -> None:
    lockout = make()
    judged = 0
    for i in range(10_000):
        if not locked(lockout, node=f"node {i}"):
            fail(lockout, "guess", node=f"node {i}")
            judged += 1
        mock_clock.jump(pace)
    assert judged <= most, "of those, the others came while the address was locked"


async def test_another_round_over_the_same_names_is_guessing(mock_clock: MockClock) -> None:
    lockout = make()
    for i in range(400):
        assert fail(lockout, "guess 1", node=f"node {i}") == []
    mock_clock.jump(300.0)
    locks = [fail(lockout, "guess 2", node=f"node {i}") for i in range(50)]
    assert locks == [[]] * 49 + [[Lock("192.0.2.1", None, 60.0)]]


async def test_the_total_may_be_set_to_the_limit_of_guesses(mock_clock: MockClock) -> None:
    lockout = make(per_address_total=50)
    locks = [fail(lockout, "guess", node=f"node {i}") for i in range(50)]
    assert locks == [[]] * 49 + [[Lock("192.0.2.1", None, 60.0)]]


async def test_doubling_up_to_a_quarter_of_an_hour(mock_clock: MockClock) -> None:
    lockout = make()
    durations = []
    for round_ in range(7):
        for i in range(5):
            for lock in fail(lockout, f"guess {round_} {i}"):
                durations.append(lock.duration)
                mock_clock.jump(lock.duration)
    assert durations == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    mock_clock.jump(900.0)  # quiet for as long as the longest one
    assert [lock.duration for i in range(5) for lock in fail(lockout, f"new {i}")] == [60.0]


async def test_attempts_while_locked_do_not_count(mock_clock: MockClock) -> None:
    lockout = make()
    for i in range(5):
        fail(lockout, f"guess {i}")
    for i in range(100):
        assert fail(lockout, f"more {i}") == []
    mock_clock.jump(60.1)
    assert not locked(lockout)
    assert fail(lockout, "again") == []
    assert not locked(lockout)


async def test_the_same_wrong_secret_counts_once_and_is_remembered_for_a_minute(
    mock_clock: MockClock,
) -> None:
    lockout = make()
    fingerprint = lockout.fingerprint("main", "a", "wrong")
    assert not lockout.is_known_wrong(fingerprint)
    assert fail(lockout, "wrong") == []
    assert lockout.is_known_wrong(fingerprint)
    assert not lockout.is_known_wrong(lockout.fingerprint("main", "b", "wrong"))
    mock_clock.jump(59.9)
    assert lockout.is_known_wrong(fingerprint)
    mock_clock.jump(0.2)
    assert not lockout.is_known_wrong(fingerprint)  # it is judged anew
    for _ in range(1000):
        assert fail(lockout, "wrong") == []
        mock_clock.jump(30.0)
    assert not locked(lockout)


@pytest.mark.parametrize("window", ["60s", "10m"])
async def test_an_agent_that_retries_locks_nobody(mock_clock: MockClock, window: str) -> None:
    """An hour of agent.jar with a wrong secret; its neighbours come from the same address."""
    lockout = make(window=window)
    fingerprint = lockout.fingerprint("main", "a", "wrong")
    asked = 0
    for delay in AGENT_DELAYS:
        mock_clock.jump(delay)
        if not lockout.is_known_wrong(fingerprint):
            asked += 1
            assert fail(lockout, "wrong") == []
        assert not locked(lockout)
        assert not locked(lockout, node="neighbour")
    assert asked <= 1 + sum(AGENT_DELAYS) / 60


async def test_who_is_exempt(mock_clock: MockClock) -> None:
    lockout = make(exempt="192.0.2.9")
    for i in range(200):
        assert fail(lockout, f"guess {i}", address="192.0.2.9") == []
        assert fail(lockout, f"guess {i}", address="unix") == []
    assert not locked(lockout, address="192.0.2.9")


async def test_switched_off(mock_clock: MockClock) -> None:
    lockout = make(enabled=False)
    assert [fail(lockout, f"guess {i}") for i in range(100)] == [[]] * 100
    assert lockout.is_known_wrong(lockout.fingerprint("main", "a", "guess 99"))


async def test_a_whole_ipv6_site_is_one_address(mock_clock: MockClock) -> None:
    lockout = make()
    for i in range(5):
        fail(lockout, f"guess {i}", address=f"2001:db8:0:1::{i:x}")
    assert locked(lockout, address="2001:db8:0:1:ffff::")
    assert not locked(lockout, address="2001:db8:0:2::1")


async def test_unlock(mock_clock: MockClock) -> None:
    lockout = make(per_address=4)
    for i in range(5):
        fail(lockout, f"guess {i}")
        fail(lockout, f"other {i}", address="192.0.2.2")
    assert lockout.unlock(node=("main", "b")) == 0
    assert lockout.unlock(node=("main", "a"), address="192.0.2.1") == 1
    assert locked(lockout)  # the whole address still is
    assert lockout.unlock(address="192.0.2.1") == 1
    assert not locked(lockout)
    assert locked(lockout, address="192.0.2.2")
    assert lockout.unlock() == 2
    assert not locked(lockout, address="192.0.2.2")
    assert not lockout.is_known_wrong(lockout.fingerprint("main", "a", "guess 1"))


async def test_new_rules_begin_anew(mock_clock: MockClock) -> None:
    lockout = make()
    for i in range(5):
        fail(lockout, f"guess {i}")
    lockout.follow(LockoutConfig(), is_exempt=lambda _: False)
    assert locked(lockout)
    lockout.follow(LockoutConfig(per_node=2), is_exempt=lambda _: False)
    assert not locked(lockout)
    fail(lockout, "x")
    assert fail(lockout, "y") == [Lock("192.0.2.1", "a", 60.0)]


async def test_the_tables_are_bounded_and_keep_the_locked(mock_clock: MockClock) -> None:
    lockout = make(most=20)
    for i in range(5):
        fail(lockout, f"guess {i}", address="198.51.100.1")
    for i in range(500):
        fail(lockout, f"guess {i}", node=f"n{i}", address=f"203.0.113.{i % 250}")
        assert len(lockout) <= 60
    assert locked(lockout, address="198.51.100.1")
    for i in range(1000):  # unless all are
        for j in range(5):
            fail(lockout, f"g{i} {j}", address=f"10.0.{i >> 8}.{i & 255}")
    assert len(lockout) <= 60
    assert not locked(lockout, address="198.51.100.1")


async def test_ten_thousand_addresses(mock_clock: MockClock) -> None:
    """Each fails with names and secrets of its own, of the longest kind; memory stays bounded."""
    lockout = make()
    for i in range(20_000):
        address = f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"
        lockout.fail(address, "main", f"{i}" * 200, lockout.fingerprint("main", str(i), "x"))
    assert len(lockout) == 30_000
    assert sum(sys.getsizeof(record) for record in _everything(lockout)) < 24 * 1024 * 1024


def _everything(root: object) -> list[object]:
    """Return all objects that ``root`` holds, itself included; classes and modules left out."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type) or callable(each):
            continue
        seen[id(each)] = each
        if isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple):
            waiting += each
        else:
            names = getattr(type(each), "__slots__", ())
            waiting += [getattr(each, name) for name in names if hasattr(each, name)]
            waiting += getattr(each, "__dict__", {}).values()
    return list(seen.values())


async def test_no_secret_is_kept(mock_clock: MockClock) -> None:
    lockout = make()
    fail(lockout, "hunter2")
    assert "hunter2" not in repr(_everything(lockout))
    assert lockout.fingerprint("m", "ab", "c") != lockout.fingerprint("m", "a", "bc")
    assert lockout.fingerprint("m", "a", "b") != make().fingerprint("m", "a", "b")
    await trio.lowlevel.checkpoint()
