"""Tests of ``gateway.credentials.nodes_check``: first use, keys that were rotated, equal work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import LogCapture

from gateway.credentials import nodes_check
from gateway.credentials.nodes import MOST_VALID, StoreUnavailable
from gateway.credentials.store_keys import Sealed, StoreKeys
from tests.credentials.gates import Gate, make_config


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    made = Gate(make_config(tmp_path, "nodes"))
    yield made
    made.credentials._access.close()
    made.close()


async def test_the_first_use_is_noted_once(gate: Gate, log: LogCapture) -> None:
    secret = gate.issuing.issue("main", "a").secret
    gate.clock.time += 5
    for _ in range(3):
        await gate.judge(secret, "a")
    assert [entry["event"] for entry in log.entries] == ["credential first used"]
    history = gate.store.history("main", "a")
    assert [(each.event, each.operator) for each in history] == [
        ("issued", "bob"),
        ("first used", "gateway"),
    ]
    found = gate.store.find("main", "a")
    assert found is not None
    assert found.credentials[0].first_used_at == gate.clock.time


async def test_who_is_refused_has_used_nothing(tmp_path: Path, log: LogCapture) -> None:
    gate = Gate(make_config(tmp_path, "nodes", rules=[{"match": "a", "deny": True}]))
    secret = gate.issuing.issue("main", "a").secret
    assert await gate.why_not(secret, "a") == 'NotAuthorized: rule "a": denied'
    found = gate.store.find("main", "a")
    assert found is not None
    assert found.credentials[0].first_used_at is None
    assert [entry["event"] for entry in log.entries] == ["agent refused"]
    gate.credentials._access.close()
    gate.close()


@pytest.mark.parametrize("stored", [False, True])
async def test_a_refusal_does_not_tell_that_the_secret_is_right(
    tmp_path: Path, stored: bool
) -> None:
    """Who may not come in is told nothing of a secret for the controller that cannot be had."""
    gate = Gate(make_config(tmp_path, "nodes", jenkins=False, rules=[{"match": "a", "deny": True}]))
    secret = gate.issuing.issue("main", "a", upstream="real" if stored else None).secret
    if stored:
        node = gate.store.find("main", "a")
        assert node is not None
        with gate.store.change() as changes:
            changes.save(replace(node, upstream=Sealed("k0", b"another key's")))
    assert await gate.why_not(secret, "a") == 'NotAuthorized: rule "a": denied'
    gate.credentials._access.close()
    gate.close()


async def test_a_rotated_key_is_taken_over_by_use(gate: Gate) -> None:
    first = gate.issuing.issue("main", "a").secret
    second = gate.issuing.rotate("main", "a", overlap=60).secret
    (old,) = gate.issuing.rekey()
    for secret in (first, second):
        await gate.judge(secret, "a")
        await gate.judge(secret, "a")
    found = gate.store.find("main", "a")
    assert found is not None
    assert {each.key_id for each in found.credentials} == {
        StoreKeys.open(gate.config.store_key_file).ids[0]
    }
    gate.issuing.rekey()
    assert old not in StoreKeys.open(gate.config.store_key_file).ids
    await gate.judge(second, "a")
    gate.clock.time += 61
    assert await gate.why_not(first, "a") is not None


async def test_as_many_digests_for_every_name(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known or not, wrong or right, one secret or two: the same work."""
    for name in ("one", "two", "revoked"):
        gate.issuing.issue("main", name)
    right = gate.issuing.rotate("main", "two", overlap=60).secret
    gate.issuing.revoke("main", "revoked")
    made: list[str] = []
    real = StoreKeys.digest

    def counting(self: StoreKeys, context: str, secret: str, key_id: str | None = None) -> bytes:
        made.append(context)
        return real(self, context, secret, key_id)

    monkeypatch.setattr(StoreKeys, "digest", counting)
    for name in ("one", "two", "revoked", "unknown"):
        assert await gate.why_not("wrong", name) is not None
        assert len(made) == MOST_VALID
        made.clear()
    assert await gate.why_not(right, "two") is None
    assert len(made) == MOST_VALID


async def test_a_use_that_cannot_be_noted_keeps_nobody_out(
    gate: Gate, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = gate.issuing.issue("main", "a").secret

    def refuse(*_: object) -> bool:
        raise StoreUnavailable("disk full")

    monkeypatch.setattr(nodes_check, "_note", refuse)
    assert await gate.why_not(secret, "a") is None
    assert [entry["event"] for entry in log.entries] == ["the use of a secret could not be noted"]
