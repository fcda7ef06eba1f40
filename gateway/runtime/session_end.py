"""Why a session ended, as a value.

Owns: the one record that pumps, watchdog and shutdown return, that closing goes by, and that the
log line, the counter and the timeline are made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gateway.errors import GatewayError, Kicked, TakenOver, outcome_of, public_text


class Side(Enum):
    """Who ended a session."""

    AGENT = "agent"
    CLIENT = "client"  # of a WebSocket that is no agent's
    CONTROLLER = "controller"
    GATEWAY = "gateway"


class How(Enum):
    """How a leg ended, as far as it says whether something on the way may have cut it."""

    CLOSED = "closed"  # the peer said so: a Close frame
    EOF = "eof"  # a FIN, with close_notify or without, but no Close frame
    RESET = "reset"
    OTHER = "other"  # the gateway ended it, by a limit or a rule; or the kernel gave up


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """One end of one session.

    ``close_code`` goes into the Close frame for the agent, if it can still be sent; ``error`` is
    None for the one end that is nobody's failure: the agent's own Close frame.
    """

    side: Side
    reason: str
    close_code: int
    level: str
    error: BaseException | None = None
    how: How = How.OTHER

    @classmethod
    def of(cls, side: Side, error: BaseException, how: How = How.OTHER) -> SessionEnd:
        """Make an end from ``error`` by the table in ``errors``."""
        outcome = outcome_of(error)
        reason = str(error) if isinstance(error, GatewayError) else public_text(error)
        return cls(side, reason, outcome.close_code or 1011, outcome.level, error, how)

    @classmethod
    def kicked(cls, reason: str, close_code: int) -> SessionEnd:
        """Make the end of a session that an operator ends; the agent is told ``reason``."""
        error = Kicked(reason or None)
        return cls(
            Side.GATEWAY,
            f"{Kicked.default_public}: {reason}" if reason else Kicked.default_public,
            close_code,
            outcome_of(error).level,
            error,
        )

    @classmethod
    def taken_over(cls, by: str) -> SessionEnd:
        """Make the end of a session whose node a newcomer at the address ``by`` gets."""
        error = TakenOver(detail=by)
        outcome = outcome_of(error)
        return cls(
            Side.GATEWAY, f"taken over by {by}", outcome.close_code or 1011, outcome.level, error
        )


class Endable(Protocol):
    """A session of any kind, as far as stopping is concerned."""

    def end(self, end: SessionEnd) -> None:
        """End it from outside; the first end wins."""
        ...
