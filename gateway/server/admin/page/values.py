"""What the status page shows, as plain values.

Owns: the facts of one moment, each named once.

Must not know: where they come from, how they are shown.

Times are Unix times, seconds; sizes bytes; None is "not known". Names and addresses are whatever
strangers chose: nothing here is safe to print as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Health(Enum):
    """How something is. The words are what people read; a shape and a colour only repeat them."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A live session. ``round_trip``: of the last answered ping, seconds."""

    id: str
    controller: str
    node: str
    client: str
    transport: str
    since: float
    suspect: bool
    takeovers: int
    from_agent: int
    to_agent: int
    round_trip: float | None
    worker: int

    @property
    def state(self) -> str:
        """Return the word for how it is."""
        return "suspect" if self.suspect else "live"


@dataclass(frozen=True, slots=True)
class EndRow:
    """A session that has ended. ``by``: who ended it; ``duration``: seconds."""

    at: float
    controller: str
    node: str
    client: str
    by: str
    reason: str
    close_code: int | None
    duration: float | None
    from_agent: int | None
    to_agent: int | None


@dataclass(frozen=True, slots=True)
class TimerRow:
    """An idle timer found on a path. ``sentence`` says what was seen and what to do."""

    controller: str
    network: str
    seconds: float
    count: int
    total: int
    last_at: float
    sentence: str


@dataclass(frozen=True, slots=True)
class ControllerRow:
    """A controller. ``state``: one word; ``detail``: what else is known of it."""

    name: str
    url: str
    health: Health
    state: str
    detail: str
    transport: str
    sessions: int


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A certificate that a listener shows. ``expires`` is None where it cannot be read."""

    listener: str
    file: str
    names: tuple[str, ...]
    expires: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class ReloadRow:
    """A reload. ``reason``: why the old configuration stayed in force, or None."""

    at: float
    trigger: str
    generation: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker. ``answered`` is false where it did not say how it is in time."""

    process: int
    slot: int
    state: str
    since: float | None
    generation: int
    sessions: int | None
    connections: int | None
    answered: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment. ``silent``: workers that did not answer; what they know is missing.

    ``generation``: of the configuration in force. ``left_out``: sessions that did not fit into a
    worker's answer.
    """

    at: float
    state: str
    ready: bool
    version: str
    started: float
    generation: int
    restarts: int
    connections: int
    listeners: tuple[str, ...] = ()
    sessions: tuple[SessionRow, ...] = ()
    left_out: int = 0
    ends: tuple[EndRow, ...] = ()
    timers: tuple[TimerRow, ...] = ()
    controllers: tuple[ControllerRow, ...] = ()
    certificates: tuple[CertificateRow, ...] = ()
    reloads: tuple[ReloadRow, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    silent: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Something that happened to a node; ``details`` are names and values, in words."""

    at: float
    what: str
    controller: str
    details: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """What happened to a node lately, the newest first. ``silent`` as of a snapshot."""

    events: tuple[NodeEvent, ...]
    silent: tuple[int, ...] = ()
