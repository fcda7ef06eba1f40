"""What a way of judging secrets looks like, and the answer that it gives.

Owns: ``Presented`` (what an agent showed) and ``Verifier`` (a mode). Modes are alternatives: the
first that recognises the presented secret decides, and says which secret to present to the
controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """What a verified client certificate says who it is for: CNs, and DNS and URI alternatives."""

    common: tuple[str, ...] = ()
    alternative: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Presented:
    """What an agent presented. The secret is not part of the repr."""

    controller: str
    node: str
    secret: str = field(repr=False)
    client_address: str
    certificate: CertificateNames | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """How to go on.

    ``upstream_secret`` is presented to the controller. ``proved`` says that the gateway itself has
    verified the presented one; False leaves the verdict to the controller. ``mode`` is the one that
    decided; ``credential`` (its id), ``digest`` and ``issued_at`` are an issued secret's;
    ``ends_at`` is when it, or its node, ends by itself (seconds since the epoch).
    """

    upstream_secret: str = field(repr=False)
    proved: bool
    mode: str = "controller"
    credential: int | None = None
    digest: bytes = field(default=b"", repr=False, compare=False)
    issued_at: float | None = field(default=None, compare=False)
    ends_at: float | None = None


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """A secret that a mode does not know. ``reason`` is for the log, never for the caller."""

    reason: str


class Verifier(Protocol):
    """One mode of judging secrets."""

    async def verify(
        self, presented: Presented, failures: Sequence[str] = ()
    ) -> Granted | Unrecognised:
        """Return how to go on, or why this mode does not recognise the secret.

        ``failures``: conditions that do not hold. Whatever the answer, the agent is refused then,
        so nothing is to be noted or fetched for it that would tell whether the secret was right.

        Raises NotAuthorized where it does, and something else than the secret is not right, and
        CredentialsUnavailable.
        """


async def authorize(
    verifiers: Sequence[Verifier], presented: Presented, failures: Sequence[str] = ()
) -> Granted | Unrecognised:
    """Ask ``verifiers`` in order; the first that recognises the secret decides.

    ``failures``: conditions that do not hold. Raises what they do.
    """
    reasons = []
    for verifier in verifiers:
        answer = await verifier.verify(presented, failures)
        if isinstance(answer, Granted):
            return answer
        reasons.append(answer.reason)
    return Unrecognised("; ".join(reasons))
