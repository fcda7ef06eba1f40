"""What operators may wish for, as values: the bodies of the API and the control socket's arguments.

Owns: which fields each wish has and their bounds, once for both ways.

Must not know: how a wish is granted.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

# Longest text of an operator's, as a Close frame takes it: 123 bytes (RFC 6455 section 5.5).
LONGEST_REASON: Final = 120
LONGEST_NAME: Final = 1024
LONGEST_BLOCK: Final = 10 * 365 * 86400
LONGEST_LEVEL: Final = 7 * 86400

Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
# It goes to agents, into logs and tables: nothing that drives a terminal.
Reason = Annotated[
    str, StringConstraints(max_length=LONGEST_REASON, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")
]
Level = Literal["debug", "info", "warning", "error"]


class Wish(BaseModel):
    """What all wishes share: strict, and without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Nothing(Wish):
    """A wish without arguments."""


class TheNode(Wish):
    """Which sessions are meant: those of a node, of one controller or of all, or one by its id."""

    node: Name | None = Field(default=None, description="The node's name, exactly.")
    controller: Name | None = Field(default=None, description="Only at this controller.")
    session: Name | None = Field(default=None, description="Only the session with this id.")

    @model_validator(mode="after")
    def _mean_somebody(self) -> TheNode:
        if self.node is None and self.session is None:
            raise ValueError("allowed: with node or session, since without either all were meant")
        return self


class Kick(TheNode):
    """End sessions; their agents come back unless something keeps them out."""

    reason: Reason = Field(default="", description="Told to the agent, and logged.")
    close_code: int = Field(
        default=1008,
        description="Of the Close frame: 1000, 1001, 1008, 1012, 1013, or 4000 to 4999.",
    )

    @model_validator(mode="after")
    def _check_code(self) -> Kick:
        code = self.close_code
        if code not in (1000, 1001, 1008, 1012, 1013) and not 4000 <= code <= 4999:
            raise ValueError("allowed as close_code: 1000, 1001, 1008, 1012, 1013, 4000 to 4999")
        return self


class Takeover(TheNode):
    """End sessions so that a newcomer may have the node."""

    reason: Reason = Field(default="wanted by an operator", description="For the timeline.")


class BlockWish(Wish):
    """Keep a node out."""

    node: Name = Field(description="The node's name, exactly.")
    controller: Name | None = Field(default=None, description="At this controller; else at all.")
    duration_s: float | None = Field(
        default=None, gt=0, le=LONGEST_BLOCK, description="For how long; else until unblocked."
    )
    reason: Reason = Field(default="", description="For the log and the timeline.")
    end_session: bool = Field(default=True, description="End the session that it has, too.")


class UnblockWish(Wish):
    """Let a node in again."""

    node: Name = Field(description="The node's name, exactly.")
    controller: Name | None = Field(default=None, description="As it was blocked.")


class LevelWish(Wish):
    """Log from another level on."""

    level: Level | None = Field(default=None, description="null: as before.")
    duration_s: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_LEVEL,
        description="After that long as before; without it until a restart or an upgrade.",
    )


class DrainWish(Wish):
    """End the gateway in order."""

    confirm: Literal[True] = Field(description="true: this cannot be taken back.")


class OfNode(Wish):
    """A question about one node."""

    node: Name
