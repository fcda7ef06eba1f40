"""What ``check --live`` finds out: the transport of each controller, as a worker would choose it,
and what awaits CLI clients there.

Owns: asking all controllers at once, and putting the answers into words.

Must not know: how the choice is made (``agents.transport``), what answers mean to the CLI
(``jenkins_cli.probe``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.agents.transport import Transports
    from gateway.config.models import GatewayConfig


@dataclass(frozen=True, slots=True)
class LiveTransport:
    """One controller's answer; ``ready`` says that agents can get there."""

    controller: str
    transport: str
    why: str
    ready: bool

    @property
    def cells(self) -> tuple[str, str, str]:
        """What a table shows of it."""
        return self.controller, self.transport, self.why


def live_transports(config: GatewayConfig) -> list[LiveTransport]:
    """Ask every controller, all at once; takes some 15 s where one says nothing at all."""
    import trio

    return trio.run(_ask_all, config)


async def _ask_all(config: GatewayConfig) -> list[LiveTransport]:
    import trio

    from gateway.agents.discovery import Discovery
    from gateway.agents.identity import PinStore
    from gateway.agents.transport import Transports
    from gateway.http.upstream import fetch

    discovery, pins = Discovery(fetch), PinStore(config.state_dir)
    transports = Transports(fetch, discovery, pins, note=lambda *_: None)  # the table says it
    found: dict[str, LiveTransport] = {}

    async def ask(name: str) -> None:
        found[name] = await _ask(config, transports, name)

    async with trio.open_nursery() as nursery:
        for name in config.controllers:
            nursery.start_soon(ask, name)
    return [found[name] for name in config.controllers]


async def _ask(config: GatewayConfig, transports: Transports, name: str) -> LiveTransport:
    from gateway.errors import GatewayError

    controller = config.controllers[name]
    transport = "none"
    try:
        choice = await transports.choose(name, controller)
        transport = choice.transport.value
        await transports.check_ready(name, controller)
    except GatewayError as error:
        return LiveTransport(name, transport, f"not ready: {error.detail or error.public}", False)
    return LiveTransport(name, transport, choice.reason, True)


def live_cli(config: GatewayConfig) -> list[tuple[str, str, str]]:
    """Ask every controller about the CLI, all at once; takes at most some 5 s. Returns rows."""
    import trio

    return trio.run(_ask_all_about_cli, config)


async def _ask_all_about_cli(config: GatewayConfig) -> list[tuple[str, str, str]]:
    import trio

    from gateway.jenkins_cli.probe import ask_about_cli

    found: dict[str, tuple[str, str, str]] = {}

    async def ask(name: str) -> None:
        answer = await ask_about_cli(name, config.controllers[name])
        found[name] = (name, answer.way, answer.why)

    async with trio.open_nursery() as nursery:
        for name in config.controllers:
            nursery.start_soon(ask, name)
    return [found[name] for name in config.controllers]
