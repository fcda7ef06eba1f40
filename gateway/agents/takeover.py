"""Ghosts: what happens when a controller says that a node is already connected.

Owns: who may end whose session, by ``agents.takeover``; dialling again once it is ended; presenting
a cookie that this gateway remembers; and the refusal that says who the other one is.

Must not know: how a leg is opened (``dial`` is handed in), how sessions move bytes, messages
between processes (``others`` is handed in).

Everything here is for newcomers whose secret is proved. The controller compares name, secret and
cookie, in this order (PROTOCOLS C.3, K.5): whoever it tells "already connected" has shown the right
secret, and whoever has not is refused before anything here is looked at.

    the cookie of the session that lives here     the same process: its old session ends at once
    suspect, or silent for 5 s when challenged    dead: it ends; the controller is asked again
    alive, or its silence proves nothing          400, with the address and since when
    no session in this worker                     the others are asked the same
    none at all, and all have answered            the controller has missed an end: the cookie of
                                                  the node's last session is presented, if its owner
                                                  recorded that end or is dead itself

What the controller then says decides; nothing here is ever taken for its word. Three takeovers of a
node in five minutes between two addresses are enough: these are two agents. From one address, as
from behind NAT, they may be one that keeps dying: it takes a fourth newcomer while the session
lives to tell.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from hashlib import sha256
from typing import Any, Final, Literal, Protocol, TypeVar

import trio

from gateway.agents.ended_cookies import EndedCookies
from gateway.agents.recent_takeovers import RecentTakeovers, lately
from gateway.agents.registry import Entry, Registry, Takeover
from gateway.errors import AlreadyConnected, ControllerTimeout
from gateway.observability.logs import get_logger
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.table import TAKEOVERS
from gateway.runtime.lost_time import let_readers_run
from gateway.runtime.session_end import SessionEnd
from gateway.runtime.session_loop import CHALLENGE, Sign

_log = get_logger("session")

# From the controller's "already connected" to the last time that it is asked again.
BUDGET: Final = 8.0
AGAIN_EVERY: Final = 0.5
# What the answer needs of the deadline that everything has.
_ANSWER: Final = 1.0
MOST_TAKEOVERS: Final = 3
# How long a challenge may take with all that delays it; then nothing can be told.
JUDGE_WITHIN: Final = CHALLENGE + 1.0
# How long all other workers may take. The supervisor, in between, has half a second less.
OTHERS_ANSWER: Final = CHALLENGE + 2.0
# A controller's time that ended so shortly before the newcomer's was cut short by it.
_NEARLY: Final = 0.2

Policy = Literal["when-dead", "never", "always"]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who wants a node that is taken.

    ``cookie`` is what it presented; ``is_proved`` says that the gateway itself knows its secret.
    """

    controller: str
    node: str
    client: str
    policy: Policy
    cookie: str | None = field(default=None, repr=False)
    is_proved: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A newcomer as another worker is told of it: of its cookie no more than a digest.

    ``patience``: how long the newcomer can wait for a challenge, seconds.
    """

    controller: str
    node: str
    client: str
    policy: Policy
    digest: bytes | None = field(repr=False)
    patience: float

    def in_words(self) -> dict[str, Any]:
        """Return it as fields of a JSON object."""
        return {
            "controller": self.controller,
            "node": self.node,
            "client": self.client,
            "policy": self.policy,
            "digest": None if self.digest is None else self.digest.hex(),
            "patience": self.patience,
        }

    @classmethod
    def of_words(cls, words: dict[str, Any]) -> Claim:
        """Read what ``in_words`` made. Raises KeyError, TypeError, ValueError."""
        digest = words["digest"]
        return cls(
            str(words["controller"]),
            str(words["node"]),
            str(words["client"]),
            words["policy"],
            None if digest is None else bytes.fromhex(digest),
            float(words["patience"]),
        )


class Verdict(Enum):
    """What became of a session that a newcomer wants to replace."""

    ENDED = "ended"
    ALIVE = "alive"
    UNCLEAR = "unclear"
    TWO_AGENTS = "two agents"
    KEPT = "kept"  # by the policy


@dataclass(frozen=True, slots=True)
class Holder:
    """The session that had the node, and the verdict on it. ``since`` is Unix time."""

    client: str
    since: float
    verdict: Verdict
    takeovers: tuple[Takeover, ...] = ()

    def in_words(self) -> dict[str, Any]:
        """Return it as fields of a JSON object."""
        return {
            "client": self.client,
            "since": self.since,
            "verdict": self.verdict.value,
            "takeovers": [[each.at, each.loser, each.winner] for each in self.takeovers],
        }

    @classmethod
    def of_words(cls, words: dict[str, Any]) -> Holder:
        """Read what ``in_words`` made. Raises KeyError, TypeError, ValueError."""
        return cls(
            str(words["client"]),
            float(words["since"]),
            Verdict(words["verdict"]),
            tuple(Takeover(float(at), str(a), str(b)) for at, a, b in words["takeovers"]),
        )


class NotAllAnswered(Exception):
    """Another worker did not answer: whether it has a session of the node is not known."""


class Others(Protocol):
    """How the other workers are asked."""

    async def __call__(self, claim: Claim) -> Holder | None:
        """Return what became of their session of the node; None if they have none.

        Raises NotAllAnswered. Cancelled, it withdraws the claim.
        """


class Dial(Protocol[T_co]):
    """How a controller is asked for a session."""

    async def __call__(self, cookie: str | None, remembered: str | None) -> T_co:
        """Ask with the newcomer's own cookie; by JNLP4 with ``remembered``, if there is one."""


class TakenOver(Protocol):
    """Who is told that a session of this worker was ended for a newcomer."""

    def __call__(self, entry: Entry, claim: Claim, why: str) -> None: ...


async def nobody_else(claim: Claim) -> Holder | None:
    """Answer for the other workers where there are none."""
    return None


class Takeovers:
    """Settles claims in one worker."""

    def __init__(
        self,
        registry: Registry,
        cookies: EndedCookies,
        *,
        others: Others = nobody_else,
        told: TakenOver = lambda entry, claim, why: None,
        clock: Callable[[], float] = time.time,
        meters: Meters | None = None,
    ) -> None:
        """``announce`` may be set: it gets controller, node and a takeover for other workers."""
        self._meters = Meters() if meters is None else meters
        self._registry = registry
        self._cookies = cookies
        self.others: Others = others
        self._told = told
        self._clock = clock
        self._recent = RecentTakeovers()
        self.announce: Callable[[str, str, Takeover], None] = lambda controller, node, this: None

    def note(self, controller: str, node: str, *takeovers: Takeover) -> None:
        """Remember what has happened to a node, here or elsewhere."""
        self._recent.add(controller, node, takeovers, self._clock())

    async def open(self, newcomer: Newcomer, dial: Dial[T]) -> tuple[T, tuple[Takeover, ...]]:
        """Return what ``dial`` does, and the node's last takeovers.

        Where it raises AlreadyConnected, the session that is in the way is ended if it may be, and
        ``dial`` is called again. Raises what ``dial`` does; AlreadyConnected then says who the
        other one is, also where the newcomer's time ends meanwhile.
        """
        claim = Claim(
            newcomer.controller,
            newcomer.node,
            newcomer.client,
            newcomer.policy,
            _digest(newcomer.cookie),
            0.0,
        )
        is_replaced = False
        if newcomer.is_proved and newcomer.policy != "never":
            entry = self._registry.find(claim.controller, claim.node)
            if entry is not None and _is_same_process(entry, claim):
                self._end(entry, claim, "the same process", counts=False)
                is_replaced = True
        try:
            opened = await dial(newcomer.cookie, None)
        except AlreadyConnected as error:
            refusal = error
        else:
            if is_replaced:
                self._count(claim, "taken_over")
            return opened, self._takeovers_of(claim)
        return await self._dial_again(newcomer.cookie, claim, dial, refusal)

    async def judge(self, claim: Claim) -> Holder | None:
        """Settle a claim to a session of this worker: end it, or say why not; None if there is
        none.
        """
        entry = self._registry.find(claim.controller, claim.node)
        if entry is None:
            return None
        if claim.policy == "never":
            return self._holder(entry, Verdict.KEPT)
        if _is_same_process(entry, claim):
            return self._ended(entry, claim, "the same process", counts=False)
        if self._has_gone_back_and_forth(entry, claim):
            if entry.client != claim.client:
                return self._holder(entry, Verdict.TWO_AGENTS)
        elif claim.policy == "always":
            return self._ended(entry, claim, "policy always")
        if entry.session.suspect:
            await let_readers_run()
            if _is_still_suspect(entry):
                return self._ended(entry, claim, "suspect")
        return await self._challenge(entry, claim)

    async def _challenge(self, entry: Entry, claim: Claim) -> Holder:
        sign = Sign.UNCLEAR
        if claim.patience >= CHALLENGE:
            with trio.move_on_after(min(claim.patience, JUDGE_WITHIN)):
                sign = await entry.session.challenge()
        if not entry.session.is_running:
            return self._holder(entry, Verdict.ENDED)  # by itself, or for somebody else
        if sign is Sign.SILENT:
            return self._ended(entry, claim, f"no byte for {CHALLENGE:g} s after a ping")
        is_alive = sign is Sign.ALIVE
        if is_alive and self._has_gone_back_and_forth(entry, claim):
            return self._holder(entry, Verdict.TWO_AGENTS)
        if claim.policy == "always":
            return self._ended(entry, claim, "policy always")
        return self._holder(entry, Verdict.ALIVE if is_alive else Verdict.UNCLEAR)

    # -- the newcomer's side -----------------------------------------------------------------------

    async def _dial_again(
        self, cookie: str | None, claim: Claim, dial: Dial[T], refusal: AlreadyConnected
    ) -> tuple[T, tuple[Takeover, ...]]:
        began = trio.current_time()
        # What the controller does with a cookie may take longer than the budget, but an answer is
        # owed in time.
        at_last = trio.current_effective_deadline() - _ANSWER
        until = min(began + BUDGET, at_last)
        while True:
            holder, is_known = None, True
            try:
                holder = await self._settle(replace(claim, patience=until - trio.current_time()))
            except NotAllAnswered:
                is_known = False  # a session that lives may be there: its cookie is not ours
            if holder is not None:
                self.note(claim.controller, claim.node, *holder.takeovers)
                if holder.verdict is not Verdict.ENDED:
                    self._count(claim, holder.verdict.value.replace(" ", "_"))
                    raise _explained(refusal, holder)
            if claim.policy == "never" or trio.current_time() + AGAIN_EVERY > until:
                self._count(claim, "not_here" if holder is None else "failed")
                raise _unexplained(refusal, claim, trio.current_time() - began, is_known=is_known)
            await trio.sleep(AGAIN_EVERY)
            remembered = None
            if is_known:
                remembered = await self._cookies.find(claim.controller, claim.node)
            try:
                with trio.CancelScope(deadline=at_last):
                    opened = await dial(cookie, remembered)
                    self._count(claim, "taken_over")
                    _log.info(
                        "node taken over",
                        controller=claim.controller,
                        node=claim.node,
                        client=claim.client,
                        after_s=round(trio.current_time() - began, 3),
                        with_cookie=remembered is not None,
                    )
                    return opened, self._takeovers_of(claim)
            except AlreadyConnected as error:
                refusal = error
                continue
            except ControllerTimeout:
                if trio.current_time() < at_last - _NEARLY:
                    raise
            self._count(claim, "failed")
            raise _unexplained(refusal, claim, trio.current_time() - began, is_known=is_known)

    def _count(self, claim: Claim, outcome: str) -> None:
        self._meters.count(TAKEOVERS, claim.controller, outcome)

    async def _settle(self, claim: Claim) -> Holder | None:
        holder = await self.judge(claim)
        return await self.others(claim) if holder is None else holder

    # -- the owner's side --------------------------------------------------------------------------

    def _ended(self, entry: Entry, claim: Claim, why: str, *, counts: object = True) -> Holder:
        self._end(entry, claim, why, counts=counts)
        return self._holder(entry, Verdict.ENDED)

    def _end(self, entry: Entry, claim: Claim, why: str, *, counts: object) -> None:
        entry.session.end(SessionEnd.taken_over(claim.client))
        self._told(entry, claim, why)
        self.note(entry.controller, entry.node, *entry.takeovers)
        if counts:
            this = Takeover(self._clock(), entry.client, claim.client)
            self.note(entry.controller, entry.node, this)
            self.announce(entry.controller, entry.node, this)

    def _has_gone_back_and_forth(self, entry: Entry, claim: Claim) -> bool:
        """Say whether the node has gone between these two addresses, or on one, often enough."""
        pair = {entry.client, claim.client}
        between = [
            each
            for each in self._holder(entry, Verdict.ALIVE).takeovers
            if {each.loser, each.winner} == pair
        ]
        return len(between) >= MOST_TAKEOVERS

    def _holder(self, entry: Entry, verdict: Verdict) -> Holder:
        now = self._clock()
        known = {*entry.takeovers, *self._recent.of(entry.controller, entry.node, now)}
        return Holder(entry.client, entry.since, verdict, lately(known, now))

    def _takeovers_of(self, claim: Claim) -> tuple[Takeover, ...]:
        return self._recent.of(claim.controller, claim.node, self._clock())


def _is_still_suspect(entry: Entry) -> bool:
    return entry.session.is_running and entry.session.suspect


def _digest(cookie: str | None) -> bytes | None:
    return None if cookie is None else sha256(cookie.lower().encode("ascii")).digest()


def _is_same_process(entry: Entry, claim: Claim) -> bool:
    """Say whether the newcomer has the cookie of the session, which only its own process got."""
    own = _digest(entry.cookie)
    if own is None or claim.digest is None:
        return False
    return hmac.compare_digest(own, claim.digest)


_SAID: Final = {
    Verdict.ALIVE: "It is alive",
    Verdict.UNCLEAR: "Whether it is alive cannot be told now",
    Verdict.KEPT: "agents.takeover is never",
    Verdict.TWO_AGENTS: "Two agents use this name",
}


def _explained(refusal: AlreadyConnected, holder: Holder) -> AlreadyConnected:
    """Return the controller's refusal, in its own words, with what is known of the other one."""
    since = datetime.fromtimestamp(holder.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    who = f"The other one is connected from {holder.client} since {since}."
    return AlreadyConnected(f"{refusal.public} {who} {_SAID[holder.verdict]}.")


def _unexplained(
    refusal: AlreadyConnected, claim: Claim, after: float, *, is_known: object
) -> AlreadyConnected:
    """Return a refusal where nobody who answered has the node."""
    where = "not through this gateway"
    if not is_known:
        where = "another worker of this gateway did not say whether it is there"
    if claim.policy == "never":
        return AlreadyConnected(refusal.public, detail=where)
    said = f"{where}, and the controller still said so after {after:.0f} s"
    return AlreadyConnected(refusal.public, detail=said)
