from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from gateway.demo.controller import INBOUND, NOT_INBOUND, StandInController
from gateway.demo.faults import Close, Faults, Say, Stage, UseIdentity
from gateway.demo.identity import InstanceIdentity
from gateway.doctor import jnlp4
from gateway.doctor.client import Unanswered
from tests.doctor.jenkins import IDENTITY
from tests.e2e.programs import HOST, free_ports


@asynccontextmanager
async def controller(**options: Any) -> AsyncIterator[StandInController]:
    running = StandInController({"a": INBOUND, "b": NOT_INBOUND}, identity=IDENTITY, **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(running.run)
        yield running
        nursery.cancel_scope.cancel()


async def test_ping_and_identity() -> None:
    async with controller() as running:
        assert await jnlp4.ping(running.agent_address) == b"Ping\n"
        assert await jnlp4.identity(running.agent_address) == IDENTITY.public_key


@pytest.mark.parametrize(
    ("node", "secret", "text"),
    [
        ("a", None, "OK"),
        ("a", "0" * 64, "ERROR: Authorization failure"),
        ("nobody", None, "ERROR: Unknown client name: nobody"),
        ("b", None, "ERROR: b is not an inbound agent"),
    ],
)
async def test_a_secret_is_judged_and_nobody_is_connected(
    node: str, secret: str | None, text: str
) -> None:
    async with controller() as running:
        verdict = await jnlp4.judge(
            running.agent_address, IDENTITY.public_key, node, secret or running.secret(node)
        )
        (attempt,) = running.attempts
        await attempt.finished.wait()
    assert verdict == text
    assert not running.channels
    if text == "OK":
        assert attempt.peer_verdict == "ERROR: only a look, no session"


async def test_a_stranger_is_told_no_secret() -> None:
    faults = Faults({Stage.TLS: UseIdentity(InstanceIdentity())})
    async with controller(faults=faults) as running:
        with pytest.raises(Unanswered, match="another key"):
            await jnlp4.judge(running.agent_address, IDENTITY.public_key, "a", "secret")
        (attempt,) = running.attempts
        await attempt.finished.wait()
    assert attempt.headers is None
    assert attempt.received == 0


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults({Stage.ACK: Say(b"Unkno")}), "does not speak JNLP4-connect"),
        (Faults({Stage.ACK: Close()}), "does not speak JNLP4-connect"),
        (Faults({Stage.TLS: Close()}), "the connection broke"),
    ],
)
async def test_why_a_key_was_not_seen(faults: Faults, words: str) -> None:
    async with controller(faults=faults) as running:
        with pytest.raises(Unanswered, match=words):
            await jnlp4.identity(running.agent_address)


async def test_a_port_where_nobody_listens() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unanswered, match="connection refused"):
        await jnlp4.ping((HOST, port))
