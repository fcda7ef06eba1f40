"""A gate for tests: a configuration with one controller, a desk at its store, a clock to be set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
import trio.testing

from gateway.config.extracted import Extracted
from gateway.config.models import GatewayConfig
from gateway.credentials.gate import Credentials
from gateway.credentials.issuing import Issuing
from gateway.credentials.node_store import SqliteNodeStore
from gateway.credentials.policy import CertificateNames, Granted, Presented
from gateway.errors import NotAuthorized
from tests.credentials.jenkins_files import NODE_KEY, SECRETS

ADDRESS = "192.0.2.1"
RIGHT = SECRETS["my-agent"]


class Clock:
    """Seconds since the epoch, as a test sets them."""

    def __init__(self) -> None:
        self.time = 1_780_315_200.0  # 2026-06-01 12:00 UTC

    def __call__(self) -> float:
        return self.time


def make_config(
    state_dir: Path,
    *modes: str,
    jenkins: bool = True,
    rules: list[dict[str, Any]] | None = None,
    **more: Any,
) -> GatewayConfig:
    """Return a configuration with ``main``; ``jenkins``: its node-secret key is at hand."""
    credentials: dict[str, Any] = {"modes": modes}
    if jenkins:
        path = state_dir / "main.secrets"
        path.write_bytes(Extracted(NODE_KEY, None).to_bytes())
        credentials["jenkins_secrets"] = str(path)
    return GatewayConfig.model_validate(
        {
            "state_dir": str(state_dir),
            "listeners": [{"address": "127.0.0.1:0"}],
            "controllers": {"main": {"url": "http://127.0.0.1:9/", "credentials": credentials}},
            "nodes": {"rules": rules or []},
            **more,
        }
    )


@dataclass
class Gate:
    """A gate and what belongs to it."""

    config: GatewayConfig
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.credentials = Credentials(self.config, now=self.clock)
        self.store = SqliteNodeStore(self.config.state_dir, now=self.clock)
        self.issuing = Issuing(
            self.store, self.config.store_key_file, operator="bob", now=self.clock
        )

    async def judge(
        self,
        secret: str,
        node: str = "my-agent",
        *,
        address: str = ADDRESS,
        certificate: CertificateNames | None = None,
    ) -> Granted:
        """Judge one agent."""
        presented = Presented("main", node, secret, address, certificate)
        return await self.credentials.admission(presented).judge()

    async def why_not(self, secret: str, node: str = "my-agent", **more: Any) -> str | None:
        """Return the class and the reason of a refusal, None where there is none."""
        try:
            await self.judge(secret, node, **more)
        except NotAuthorized as error:
            return f"{type(error).__name__}: {error.detail}"
        return None

    @asynccontextmanager
    async def session(self, secret: str, node: str = "my-agent") -> AsyncIterator[Ended]:
        """Let an agent in, and keep it in for the block."""
        admission = self.credentials.admission(Presented("main", node, secret, ADDRESS))
        await admission.judge()
        ended = Ended()
        with admission.live(ended.end):
            yield ended

    def close(self) -> None:
        self.store.close()


class Ended:
    """Whether a session was ended, and why."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.reason: str | None = None

    def end(self, error: NotAuthorized) -> None:
        self.reason = error.detail
        self.event.set()


async def refused_by_controller(gate: Gate, secret: str, node: str = "my-agent") -> None:
    """Have the controller judge a secret wrong."""
    admission = gate.credentials.admission(Presented("main", node, secret, ADDRESS))
    await admission.judge()
    admission.refused()


@asynccontextmanager
async def watched(*gates: Gate) -> AsyncIterator[None]:
    """Run the gates' watches during the block."""
    async with trio.open_nursery() as nursery:
        for gate in gates:
            nursery.start_soon(gate.credentials.watch.run)
        await trio.testing.wait_all_tasks_blocked(0.02)
        yield
        nursery.cancel_scope.cancel()
    for gate in gates:
        gate.close()
