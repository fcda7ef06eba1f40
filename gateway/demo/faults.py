"""What a stand-in controller can be told to do wrong, and where.

Owns: the stages of a connection and the small set of things that can happen at each. One mechanism:
``Faults({Stage.ACK: Delay(30), Stage.VERDICT: Refuse("ERROR: no")})``; assign another value to
``StandInController.faults`` at any time, it counts for the stages not yet reached.

Must not know: how the controller speaks; it comes here at every stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TypeVar

import trio

from gateway.demo.identity import InstanceIdentity
from gateway.demo.stream import ConnectionEnded, End, Wire


class Stage(Enum):
    """The points at which the stand-in asks what to do, in the order of one connection.

    At each one something of the stand-in's is due, named on the right; ``Say`` replaces it.
    """

    ACCEPT = "a connection at the TCP agent port"  # nothing
    PING = "Protocol:Ping was asked"  # Ping
    ROOT = "GET was asked on the TCP agent port"  # the HTTP/1.0 answer
    ACK = "a JNLP4 protocol was asked for"  # ACK
    TLS = "the peer's ACK is in"  # nothing in clear: the TLS handshake
    HEADERS = "TLS is up"  # the controller's headers
    VERDICT = "the peer's headers are in"  # OK or ERROR
    CAPABILITY = "the peer's verdict is in"  # the capability
    CHANNEL = "the peer's capability is in"  # nothing: commands
    DISCONNECT = "a live channel is to be replaced"  # nothing: the old channel's end
    HTTP = "a request at the HTTP port"  # the HTTP/1.1 response


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait, for ever with ``math.inf``, then go on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """End with a bare EOF instead of saying what is due."""


@dataclass(frozen=True, slots=True)
class Reset:
    """End with a reset instead of saying what is due."""


@dataclass(frozen=True, slots=True)
class Say:
    """Send these bytes instead of what is due, then go on as if all were well."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refuse:
    """At VERDICT: refuse with this whole text, such as ``ERROR: reason`` or ``FATAL: reason``."""

    verdict: str


@dataclass(frozen=True, slots=True)
class UseIdentity:
    """At TLS: present the certificate of another key."""

    identity: InstanceIdentity


Action = Delay | Close | Reset | Say | Refuse | UseIdentity
_A = TypeVar("_A", Refuse, UseIdentity)


class Faults:
    """An immutable table from stage to what goes wrong there; empty = a healthy controller."""

    __slots__ = ("_actions",)

    def __init__(
        self, actions: Mapping[Stage, Action | Sequence[Action]] = MappingProxyType({})
    ) -> None:
        self._actions: dict[Stage, tuple[Action, ...]] = {
            stage: tuple(action) if isinstance(action, Sequence) else (action,)
            for stage, action in actions.items()
        }

    def find(self, stage: Stage, kind: type[_A]) -> _A | None:
        """Return the action of that kind at ``stage``, or None."""
        for action in self._actions.get(stage, ()):
            if isinstance(action, kind):
                return action
        return None

    async def perform(self, stage: Stage, wire: Wire, due: bytes = b"") -> None:
        """Let the faults of ``stage`` happen in their order, then send what is due there.

        Raises ConnectionEnded where a fault ends the connection.
        """
        for action in self._actions.get(stage, ()):
            match action:
                case Delay(seconds):
                    await trio.sleep(seconds)
                case Say(data):
                    due = data
                case Close():
                    await wire.drop()
                    raise ConnectionEnded(End.HERE, f"fault at {stage.name}")
                case Reset():
                    wire.kill()
                    raise ConnectionEnded(End.HERE, f"fault at {stage.name}")
                case Refuse() | UseIdentity():
                    pass  # looked for with ``find`` where they apply
        if due:
            await wire.send(due)
