"""What is known of a live session, as one value.

Owns: the fields that ``remoting-gateway sessions`` shows of a session besides its names.

Must not know: how a session is run, who asks.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionView:
    """A live session at one moment; times in seconds, ``round_trip`` of the last answered ping."""

    transport: str
    controller_address: str
    age: float
    agent_idle: float
    controller_idle: float
    bytes_from_agent: int
    bytes_to_agent: int
    round_trip: float | None
    generation: int

    def as_fields(self) -> dict[str, str | int | float | None]:
        """Return them as fields of a JSON object."""
        return {
            "transport": self.transport,
            "controller_address": self.controller_address,
            "age_s": round(self.age, 3),
            "agent_idle_s": round(self.agent_idle, 3),
            "controller_idle_s": round(self.controller_idle, 3),
            "bytes_from_agent": self.bytes_from_agent,
            "bytes_to_agent": self.bytes_to_agent,
            "round_trip_ms": None if self.round_trip is None else round(self.round_trip * 1000, 1),
            "config_generation": self.generation,
        }
