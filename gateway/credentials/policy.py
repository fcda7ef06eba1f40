"""What a way of judging secrets looks like, and the answer that it gives.

Owns: ``Presented`` (what an agent showed) and ``Verifier`` (a mode). Modes are alternatives: the
first that recognises the presented secret decides, and says which secret to present to the
controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import NotAuthorized


@dataclass(frozen=True, slots=True)
class Presented:
    """What an agent presented. The secret is not part of the repr."""

    controller: str
    node: str
    secret: str = field(repr=False)
    client_address: str


@dataclass(frozen=True, slots=True)
class Granted:
    """How to go on.

    ``upstream_secret`` is presented to the controller. ``proved`` says that the gateway itself has
    verified the presented one; False leaves the verdict to the controller.
    """

    upstream_secret: str = field(repr=False)
    proved: bool


class Verifier(Protocol):
    """One mode of judging secrets."""

    async def verify(self, presented: Presented) -> Granted | None:
        """Return how to go on, or None if this mode does not recognise the secret."""


async def authorize(verifiers: Sequence[Verifier], presented: Presented) -> Granted:
    """Ask ``verifiers`` in order. Raises NotAuthorized when none recognises the secret."""
    for verifier in verifiers:
        granted = await verifier.verify(presented)
        if granted is not None:
            return granted
    raise NotAuthorized(detail="no mode recognises the secret")
