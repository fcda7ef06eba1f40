"""Tests of ``gateway.credentials.gate``: who gets in, what refusals have in common, who stays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.credentials import gate as gate_module
from gateway.credentials.gate import REFUSAL_STEP, Admission
from gateway.credentials.policy import CertificateNames, Granted, Presented
from gateway.credentials.store_keys import StoreKeys
from gateway.errors import CredentialsUnavailable, LockedOut, NotAuthorized
from gateway.observability.metrics.samples import Samples
from gateway.observability.metrics.table import LOCKOUTS, WRONG_SECRETS
from tests.credentials.gates import (
    ADDRESS,
    RIGHT,
    Gate,
    make_config,
    refused_by_controller,
    watched,
)

WRONG = "0" * 64


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


async def test_sixty_agents_with_wrong_secrets_at_one_address(
    tmp_path: Path, clock: MockClock, log: LogCapture
) -> None:
    """A site after a restored backup: each retries as agent.jar does, and is put right in turn."""
    gate = Gate(make_config(tmp_path, "controller"))
    right: set[int] = set()
    kept_out: list[int] = []

    async def retry(number: int) -> None:
        secret = "corrected" if number in right else f"{number:064}"
        if await gate.why_not(secret, f"node {number}") is not None:
            kept_out.extend({number} & right)
        elif number not in right:
            await refused_by_controller(gate, secret, f"node {number}")

    for i, delay in enumerate([0.0, 1.0, 3.0, 7.0] + [10.0] * 86):
        await trio.sleep(delay)
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(retry, number)
        assert await gate.why_not(f"right {i}", "a neighbour") is None
        if i >= 30:
            right.add(i - 30)
    assert len(right) == 60
    assert kept_out == [], "who is put right is let in at once"
    assert "locked out" not in [entry["event"] for entry in log.entries]


async def test_the_secret_is_forgotten_once_it_was_judged(tmp_path: Path, clock: MockClock) -> None:
    gate = Gate(make_config(tmp_path, "jenkins_secrets"))
    admission = gate.credentials.admission(Presented("main", "my-agent", RIGHT, ADDRESS))
    assert await admission.judge() == replace(admission.granted, upstream_secret=RIGHT)
    kept = [getattr(admission, name) for name in Admission.__slots__]
    assert RIGHT not in repr([kept, admission.presented.secret, admission.granted.upstream_secret])
