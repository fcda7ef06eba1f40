"""Which sessions somebody wants to see, in which order, and how many.

Owns: filters, sorting and pages over what ``session_list`` found.

Must not know: where the sessions come from, who asks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Session = Mapping[str, Any]

MOST_A_PAGE: Final = 1000
DEFAULT_A_PAGE: Final = 100
# A session has the rest of what is asked for from somebody else's text.
LONGEST_PATTERN: Final = 256

# What can be sorted by, and the value of each.
_KEYS: Final[dict[str, Callable[[Session], Any]]] = {
    "controller": lambda each: each["controller"],
    "node": lambda each: each["node"],
    "client": lambda each: each["client"],
    "since": lambda each: each["since"],
    "idle": lambda each: each["agent_idle_s"],
    "round_trip": lambda each: -1.0 if each["round_trip_ms"] is None else each["round_trip_ms"],
    "received": lambda each: each["bytes_from_agent"],
    "sent": lambda each: each["bytes_to_agent"],
    "transport": lambda each: each["transport"],
    "worker": lambda each: each["worker"],
}
SORTS: Final = tuple(name for key in _KEYS for name in (key, f"-{key}"))


class SessionQuery(BaseModel):
    """A question about sessions; without anything it means the first page of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    controller: str | None = Field(default=None, max_length=LONGEST_PATTERN)
    node: str | None = Field(default=None, max_length=LONGEST_PATTERN)
    state: Literal["live", "suspect"] | None = None
    transport: Literal["jnlp4", "websocket"] | None = None
    address: str | None = Field(default=None, max_length=64)
    search: str | None = Field(default=None, max_length=LONGEST_PATTERN)
    sort: str = "controller"
    offset: int = Field(default=0, ge=0, le=1_000_000)
    limit: int = Field(default=DEFAULT_A_PAGE, ge=1, le=MOST_A_PAGE)

    @field_validator("sort")
    @classmethod
    def _check_sort(cls, sort: str) -> str:
        if sort not in SORTS:
            raise ValueError(f"allowed: {', '.join(_KEYS)}, each with - in front for descending")
        return sort

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str | None) -> str | None:
        if address is not None:
            try:
                ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise ValueError("allowed: an IP address or a network") from None
        return address

    @field_validator("node")
    @classmethod
    def _check_pattern(cls, node: str | None) -> str | None:
        # What fnmatch makes of many stars takes a time that grows with each of them.
        if node is not None and node.count("*") > 8:
            raise ValueError("allowed: at most 8 stars")
        return node

    def select(self, sessions: Sequence[Session]) -> list[Session]:
        """Return those that are meant, in order; all pages of them."""
        found = [each for each in sessions if self._fits(each)]
        # By name where the rest is equal, so that pages do not overlap.
        found.sort(key=lambda each: (each["controller"], each["node"], each["session"]))
        found.sort(key=_KEYS[self.sort.removeprefix("-")], reverse=self.sort.startswith("-"))
        return found

    def page(self, found: Sequence[Session]) -> Sequence[Session]:
        """Return the page that is meant."""
        return found[self.offset : self.offset + self.limit]

    def _fits(self, session: Session) -> bool:
        if self.controller is not None and session["controller"] != self.controller:
            return False
        if self.node is not None and not fnmatchcase(session["node"], _pattern(self.node)):
            return False
        if self.state is not None and session["suspect"] is not (self.state == "suspect"):
            return False
        if self.transport is not None and session["transport"] != self.transport:
            return False
        if self.address is not None and not _is_in(session["client"], self.address):
            return False
        return self.search is None or _holds(session, self.search.casefold())


def _pattern(text: str) -> str:
    """Return a pattern of ``fnmatch`` in which brackets, which names may have, mean themselves."""
    return text.replace("[", "[[]")


def _is_in(client: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(client) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _holds(session: Session, text: str) -> bool:
    names = ("node", "controller", "client", "session")
    return any(text in str(session[name]).casefold() for name in names)
