"""The facts of a session that has ended, as one value.

Owns: what the log line, the node's timeline and the search for idle timers are all made from, so
that they never differ.

Must not know: how a session is run, who keeps or prints its facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.observability.idle_fingerprint import Cut, Leg
from gateway.runtime.session_end import How, SessionEnd, Side

if TYPE_CHECKING:
    from gateway.transport.stream import Activity, PeerAddress


@dataclass(frozen=True, slots=True)
class IdleTimes:
    """How long nothing had come from a peer, and nothing had been sent to it; seconds."""

    received: float
    sent: float

    @classmethod
    def of(cls, activity: Activity, now: float) -> IdleTimes:
        """Read them off a stream's activity. ``now`` is on trio's clock."""
        return cls(now - activity.received_at, now - activity.sent_at)


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session, how it ended, and what was seen of it until then.

    ``client`` is the agent's own address, behind whatever proxies; ``controller_address`` that of
    the controller leg. ``at`` is Unix time, ``age`` and the rest are seconds. ``round_trip`` is
    that of the last answered ping. ``generation`` is that of the configuration it lived under.
    """

    session: str
    controller: str
    node: str
    client: str
    controller_address: PeerAddress
    end: SessionEnd
    at: float
    age: float
    agent_idle: IdleTimes
    controller_idle: IdleTimes
    bytes_from_agent: int
    bytes_to_agent: int
    ping_interval: float
    round_trip: float | None
    generation: int

    def as_fields(self) -> dict[str, str | int | float | None]:
        """Return them as fields of a log line or a JSON object."""
        return {
            "session": self.session,
            "controller": self.controller,
            "node": self.node,
            "client": self.client,
            "controller_address": str(self.controller_address),
            "by": self.end.side.value,
            "how": self.end.how.value,
            "reason": self.end.reason,
            "close_code": self.end.close_code,
            "duration_s": round(self.age, 3),
            "bytes_from_agent": self.bytes_from_agent,
            "bytes_to_agent": self.bytes_to_agent,
            "agent_idle_s": round(self.agent_idle.received, 3),
            "to_agent_idle_s": round(self.agent_idle.sent, 3),
            "controller_idle_s": round(self.controller_idle.received, 3),
            "to_controller_idle_s": round(self.controller_idle.sent, 3),
            "round_trip_ms": None if self.round_trip is None else round(self.round_trip * 1000, 1),
            "config_generation": self.generation,
        }

    def cut(self) -> Cut | None:
        """Return it as something that a timer on the way may have done; None if that cannot be."""
        side = self.end.side
        if self.end.how not in (How.EOF, How.RESET) or side is Side.GATEWAY:
            return None
        at_agent = side is Side.AGENT
        idle = self.agent_idle if at_agent else self.controller_idle
        return Cut(
            controller=self.controller,
            leg=Leg.AGENT if at_agent else Leg.CONTROLLER,
            address=self.client if at_agent else self.controller_address.host,
            at=self.at,
            age=self.age,
            received_idle=idle.received,
            sent_idle=idle.sent,
            ping_interval=self.ping_interval if at_agent else None,
            round_trip=self.round_trip if at_agent else None,
        )
