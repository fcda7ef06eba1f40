"""How agents' sessions reach a controller: JNLP4 or WebSocket (``agents.transport``).

Owns: the choice for ``auto``, its cache, and whether a controller is ready by the way chosen.

Must not know: sessions, how a leg is opened.

The choice: JNLP4 when discovery offers it and the port answers ``Protocol:Ping``, else WebSocket
when ``/wsagents/`` is there. It holds until it fails (``forget``), WebSocket for 5 min at most,
since an agent port that was away for a moment is the better way; and it is logged when it changes.

No downgrade. JNLP4 proves the controller's key before the secret is sent; a WebSocket proves no
more than its url does. Whoever can keep the gateway from the agent port must not thereby get
secrets over plain http that are meant for the holder of a key: where one is configured or pinned,
``auto`` goes on to WebSocket with an https url only, and gives WebSocket up when a key is pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.agents.discovery import READY_TTL, AnswerCache, Discovery
from gateway.agents.identity import PinStore
from gateway.config.models import ControllerConfig
from gateway.errors import (
    ControllerTimeout,
    ControllerUnreachable,
    GatewayError,
    IdentityMismatch,
)
from gateway.http.upstream import Fetch
from gateway.observability.logs import get_logger

_log = get_logger("session")

PROBE_TIMEOUT: Final = 5.0
PATH: Final = "/wsagents/"
_FOREVER: Final = float("inf")
# How long agents go by WebSocket before it is looked whether the agent port is (again) there.
WEBSOCKET_TTL: Final = 300.0
# What tells the answer of Jenkins, which says the first, from any other 400: that of a TLS port to
# http, for one. A proxy that has error pages of its own still passes the header.
_SENTENCE: Final = b"agent.jar"
_HEADER: Final = b"x-jenkins"


class Transport(Enum):
    """The two ways."""

    JNLP4 = "jnlp4"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class Choice:
    """A way, and why this one."""

    transport: Transport
    reason: str


def log_choice(name: str, controller: ControllerConfig, choice: Choice) -> None:
    """Log a choice that is another one than before."""
    fields = {"transport": choice.transport.value, "reason": choice.reason}
    if choice.transport is Transport.WEBSOCKET and controller.in_clear:
        remedy = (
            f"agents' secrets go to {controller.url} without encryption, and to whoever"
            " answers there; use an https url, or transport: jnlp4"
        )
        _log.warning("transport chosen", controller=name, **fields, remedy=remedy)
    else:
        _log.info("transport chosen", controller=name, **fields)


class Transports:
    """The choices of one worker. ``note`` is told of each that is another one than before: where a
    command asks, its own output is where that belongs, and no log.
    """

    def __init__(
        self,
        fetch: Fetch,
        discovery: Discovery,
        pins: PinStore,
        *,
        note: Callable[[str, ControllerConfig, Choice], None] = log_choice,
    ) -> None:
        self._fetch = fetch
        self._discovery = discovery
        self._pins = pins
        self._choices = AnswerCache[Choice](self._make, ttl=_holds_for)
        self._ready = AnswerCache[None](self._probe, ttl=READY_TTL)
        self._note = note
        self._noted: dict[str, Choice] = {}

    async def choose(self, name: str, controller: ControllerConfig) -> Choice:
        """Return the way to ``controller``.

        Raises ControllerUnreachable or ControllerTimeout, both with the reason for agents.
        """
        configured = controller.agents.transport
        if configured != "auto":
            return Choice(Transport(configured), "configured")
        if controller.url is None:
            return Choice(Transport.JNLP4, "without url there is nothing else")
        choice = await self._choices.get(name, controller)
        if choice.transport is Transport.WEBSOCKET:
            held_back = why_held_back(name, controller, self._pins)
            if held_back is not None:  # a key has been pinned since
                self._choices.forget(name)
                raise _unusable(f"no WebSocket any more: {held_back}")
        return choice

    async def check_ready(self, name: str, controller: ControllerConfig) -> None:
        """Return if ``controller`` is ready by the way chosen, or raise why it is not."""
        choice = await self.choose(name, controller)
        try:
            if choice.transport is Transport.JNLP4:
                await self._discovery.check_ready(name, controller)
            else:
                await self._ready.get(name, controller)
        except GatewayError:
            self._choices.forget(name)
            raise

    def known(self, name: str) -> Choice | GatewayError | None:
        """Return the last choice, or why there was none, without asking anybody."""
        return self._choices.known(name)

    def keep(self, names: Collection[str]) -> None:
        """Forget all controllers but these."""
        self._choices.keep(names)
        for gone in self._noted.keys() - set(names):
            del self._noted[gone]
        self._ready.keep(names)
        self._discovery.keep(names)

    def forget(self, name: str) -> None:
        """Forget what is known about ``name``: a session could not be opened."""
        self._choices.forget(name)
        self._ready.forget(name)
        self._discovery.forget(name)

    # -- the choice --------------------------------------------------------------------------------

    async def _make(self, name: str, controller: ControllerConfig) -> Choice:
        choice = await self._choose(name, controller)
        if self._noted.get(name) != choice:
            self._noted[name] = choice
            self._note(name, controller, choice)
        return choice

    async def _choose(self, name: str, controller: ControllerConfig) -> Choice:
        try:
            await self._discovery.check_ready(name, controller)
        except (ControllerUnreachable, ControllerTimeout) as error:
            refused = _why(error)
        else:
            protocol = controller.agents.protocol
            return Choice(
                Transport.JNLP4, f"{protocol} is offered, and the agent port answers Protocol:Ping"
            )
        held_back = why_held_back(name, controller, self._pins)
        if held_back is not None:
            raise _unusable(f"no JNLP4: {refused}; no WebSocket: {held_back}")
        try:
            await self._probe(name, controller)
        except (ControllerUnreachable, ControllerTimeout) as error:
            raise _unusable(f"no JNLP4: {refused}; no WebSocket: {_why(error)}") from None
        return Choice(Transport.WEBSOCKET, f"/wsagents/ is there; no JNLP4: {refused}")

    # -- the other side ----------------------------------------------------------------------------

    async def _probe(self, name: str, controller: ControllerConfig) -> None:
        """Ask for ``/wsagents/`` as nobody's agent, which Jenkins refuses in its own way (A.3)."""
        assert controller.url is not None  # the configuration demands it
        try:
            head, body = await self._fetch(
                name, controller, controller.url.prefix + PATH, timeout=PROBE_TIMEOUT
            )
        except ControllerUnreachable as error:
            raise _unusable(error.detail) from None
        if head.status != 400:
            raise _unusable(
                f"GET {controller.url.prefix}{PATH} was answered {head.status}, not 400"
            )
        if _SENTENCE not in body and _HEADER not in head.headers:
            raise _unusable(
                f"GET {controller.url.prefix}{PATH} was answered 400, but not by Jenkins: neither"
                " does the text name agent.jar nor is there a header X-Jenkins"
            )


def why_held_back(name: str, controller: ControllerConfig, pins: PinStore) -> str | None:
    """Say why ``auto`` must not go on to WebSocket, if so."""
    if controller.url is None:
        return "it has no url"
    if controller.url.scheme == "https":
        return None
    remedy = "over http nobody proves to hold it; if that is meant: transport: websocket"
    if controller.agents.identity != "discover":
        return f"a key is configured, and {remedy}"
    try:
        pinned = pins.get(name) is not None
    except IdentityMismatch:
        pinned = True
    return f"a key is pinned, and {remedy}" if pinned else None


def _holds_for(choice: Choice) -> float:
    return WEBSOCKET_TTL if choice.transport is Transport.WEBSOCKET else _FOREVER


def _why(error: GatewayError) -> str:
    return error.detail or error.public


def _unusable(detail: str) -> ControllerUnreachable:
    return ControllerUnreachable(
        "the controller is not ready for agents", detail=detail, for_agents=True
    )
