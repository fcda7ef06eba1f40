"""What is known of one path so far: each check adds what it saw, later ones use it.

Owns: the facts. Must not know: what follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import trio

from gateway.demo.agent_http import Answer
from gateway.doctor.causes import Cause
from gateway.doctor.client import Address
from gateway.doctor.question import Question
from gateway.doctor.websocket import AgentSocket


@dataclass(slots=True)
class AgentPort:
    """What the discovery document says. ``identity``: DER SubjectPublicKeyInfo, or None."""

    host: str
    port: int
    identity: bytes | None
    protocols: tuple[str, ...] | None
    minimum_version: str | None


@dataclass(slots=True, kw_only=True)
class Subject:
    """Something that checks are made of. ``tell`` shows progress of a check that waits.

    ``causes``: what was found so far. ``saw``: what the check that runs has to say of itself.
    """

    tell: Callable[[str], None] = lambda _: None
    causes: set[Cause] = field(default_factory=set)
    saw: str = ""

    def hide(self, text: str) -> str:
        """Return a text without the secrets of this subject; one without any has none."""
        return text

    def note(self, text: str) -> None:
        """Say what the check that runs saw, for its line in the report."""
        self.saw = text


@dataclass(slots=True)
class Case(Subject):
    """The path of ``question``.

    ``addresses``: those that answer; ``address``: the one that is used. ``login``: the answer to an
    agent's probe. ``port_trouble``: why the TCP agent port could not be used from here.
    """

    question: Question
    address: Address | None = None
    addresses: list[Address] = field(default_factory=list)
    login: Answer | None = None
    login_at: datetime | None = None
    login_took: float = 0.0  # seconds
    is_ready: bool = False  # /login is 200, and Jenkins' or a gateway's
    page: Answer | None = None
    discovery: Answer | None = None
    agent_port: AgentPort | None = None
    port_trouble: str | None = None
    socket: AgentSocket | None = None

    def hide(self, text: str) -> str:
        """Return a text without the agent's and the user's secrets."""
        return self.question.without_secrets(text)

    async def leave(self) -> None:
        """End the session, if there is one; takes 3 s at most."""
        if self.socket is not None:
            with trio.CancelScope(deadline=trio.current_time() + 3, shield=True):
                await self.socket.close()
            self.socket.wire.abandon()

    @property
    def held_back(self) -> bool:
        """Say whether a gateway keeps agents waiting, which has its reason behind it."""
        return Cause.GATEWAY_NOT_READY in self.causes
