"""Run one session: two pumps under a watchdog; the first to finish decides how it ended.

Owns: liveness. When to ping, when a peer is suspect, when it is lost, when a send has stalled.

Must not know: what the pumps move or what a ping looks like: they are handed in, so that the bridge
and the relay are judged alike.

The rules, per leg (docs/operations.md explains them to operators):

* A ping is sent when *we* have sent nothing for ``interval``, whatever arrives: idle timers on the
  way look at each direction. It is also sent when the *peer* has been silent for ``interval`` and
  no ping of ours is unanswered: a peer that only downloads must be able to show that it lives.
  And where both are busy, once the last one is answered: only a pong shows what was read.
* Any byte received is a sign of life, and so is progress of a send that had to wait.
* A ping that has to wait for its turn behind other sends does so in a task of its own: judging
  goes on.
* No answer ``suspect_after`` after a ping was sent: suspect. No byte for ``dead_after``: lost.
* A peer is not suspect while a send or the ping waits, and what was sent since its last pong has
  time for a slow line, unless bytes are under way and not one is acknowledged: the way is cut.
* Both count only while we are reading: silence that we cannot hear proves nothing. Nor does time
  count in which this process stood still (``lost_time``), and what lies in the kernel is read
  before anybody is judged.
* A peer that cannot be asked for now is neither, unless it owes the rest of what it has begun.
* A send without any progress for ``stall_after`` ends the session (Jenkins itself gives up after 5
  min).

Somebody else may want to know at once whether a peer lives (``SessionLoop.challenge``): it is
pinged, and silent if not a single byte has come 5 s after the ping was sent. Its silence proves
nothing, and it is not judged, where we are not reading, where a send or the ping itself has to
wait, where what was sent is still being acknowledged or so much was since its last pong that a slow
line may be busy with it (unless not a byte gets through), and where its last answer took long
already.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

import trio

from gateway.errors import PeerLost, Stalled
from gateway.runtime.lost_time import LostTime, current_lost_time, let_readers_run
from gateway.runtime.session_end import SessionEnd, Side
from gateway.runtime.unanswered import SLOWEST, Unanswered
from gateway.runtime.watchdogs import TOGETHER, current_watchdogs
from gateway.transport.stream import Stream, StreamBroken

# hudson.remoting and jenkins.websocket both give up on one write after five minutes.
STALL_AFTER: Final = 300.0
# Close frame, close_notify, FIN and the peer's answers to them; after that both legs are cut.
CLOSE_TIMEOUT: Final = 5.0
# How long a peer that takes nothing more may still be read.
LAST_WORDS: Final = 1.0
# Linux also gives up after TCP_USER_TIMEOUT where a peer answers every probe of its full window:
# with 60 s here an agent that sends but does not read was cut off while it lived. The watchdog
# finds the dead at ``dead_after``; this is the same limit as for a send without progress.
CLIENT_USER_TIMEOUT: Final = STALL_AFTER
# On a slow link a ping stands behind what the kernel holds: at 35 KB/s then for half a minute, and
# not for the minutes of a send buffer grown to 6 MB. Costs nothing measurable in bulk; 256 KiB did.
CLIENT_UNSENT: Final = 1024 * 1024
# How long a peer that is challenged has to show a byte.
CHALLENGE: Final = 5.0
# How often a challenged leg is looked at.
_CHALLENGE_LOOK: Final = 0.25
# A line that is still being acknowledged so long after the ping was sent is a slow one.
_SLOW: Final = 1.0
# An agent's session begins with a burst of classes, unlike its later life. A pong soon after it
# shows that it was read, and a frozen agent is known as such in ``CHALLENGE`` seconds from then on,
# not only after the first interval. So soon is the first look; each is twice as late as the one
# before. Nobody challenges other peers, and so they see no ping before the interval.
_FIRST_LOOK: Final = 1.0
# Sessions that started together must not ping together for ever. Only downwards: an interval is a
# promise.
_JITTER: Final = 0.1

Pump = Callable[[], Awaitable[SessionEnd]]
# A part of a session that may end without ending it.
_Part = Callable[[], Awaitable[SessionEnd | None]]
# What is still to be waited for; nothing if the kernel has taken all.
Rest = Callable[[], Awaitable[None]] | None
SendPing = Callable[[bytes], Rest]


@dataclass(frozen=True, slots=True)
class Limits:
    """The liveness limits of one leg, in seconds; ``dead_after`` is infinite where silence is
    normal.
    """

    interval: float
    suspect_after: float
    dead_after: float
    stall_after: float = STALL_AFTER


class Sign(Enum):
    """What a peer has shown that was challenged."""

    ALIVE = "alive"
    SILENT = "silent"
    UNCLEAR = "unclear"  # its silence would prove nothing


@dataclass(slots=True)
class Challenge:
    """One question for a sign of life: when it was asked, and what had come until then.

    ``acknowledged`` and ``moved_at``: what the peer's kernel had taken then, and since when it has
    taken no more; ``is_over`` once there was an answer.
    """

    asked_at: float
    bytes_received: int
    within: float
    asked_with: int
    acknowledged: int
    moved_at: float
    is_over: bool = False


class LegWatch:
    """Judge one leg by its stream's activity.

    ``send_ping`` is None where the protocol has no ping (JNLP4): then only stalls are judged.
    ``mark`` begins the payload of every ping, so that its pong is known again.
    """

    __slots__ = (
        "_acknowledged",
        "_asked_at",
        "_began_at",
        "_challenge",
        "_early_at",
        "_interval",
        "_limits",
        "_lost_time",
        "_mark",
        "_muted",
        "_oldest_unanswered",
        "_owes",
        "_ping_at",
        "_pinging",
        "_send_ping",
        "_sequence",
        "_stream",
        "_told",
        "_unanswered",
        "round_trip",
        "side",
    )

    def __init__(
        self,
        side: Side,
        stream: Stream,
        limits: Limits,
        *,
        send_ping: SendPing | None = None,
        mark: bytes = b"rgw",
        owes: Callable[[], bool] = lambda: False,
        lost_time: LostTime | None = None,
        told: Callable[[float], None] = lambda round_trip: None,
    ) -> None:
        """``owes``: whether the peer has begun something (a frame) that it has to finish.

        ``lost_time`` is that of this event loop if none is given. ``told`` gets each round trip,
        seconds.
        """
        self._told = told
        self.side = side
        self._mark = mark
        self._owes = owes
        self._muted = False
        self._asked_at = -math.inf  # when we could ask again
        self._stream = stream
        self._limits = limits
        self._send_ping = send_ping
        self._sequence = 0
        self._challenge: Challenge | None = None  # the last one
        self._began_at = stream.activity.sent_at
        self._ping_at: float | None = None  # the last ping
        self._pinging = False  # it is being sent
        self._oldest_unanswered = math.inf  # the first ping since the peer's last byte
        self._acknowledged = 0  # what the peer's kernel had taken when that was to be sent
        self._unanswered = Unanswered(stream)
        self._lost_time = current_lost_time() if lost_time is None else lost_time
        self._interval = self._jittered()
        self._early_at = self._began_at if side is Side.AGENT and send_ping else math.inf
        self._look_early(self._began_at)
        self.round_trip: float | None = None  # of the last answered ping, seconds

    @property
    def suspect(self) -> bool:
        """Whether the peer has not answered a ping in time, as far as we have read."""
        now = trio.current_time()
        if now < self._suspect_at():
            return False
        if self._unanswered.is_cut_since(self._acknowledged):
            return True
        # A ping that waits was not asked yet; and a slow line has time for what is in front of it.
        if self._pinging or self._stream.activity.sending_since is not None:
            return False
        unanswered = self._unanswered
        slow = 0.0 if unanswered.is_little else unanswered.size / SLOWEST
        return now >= self._suspect_at() + slow

    @property
    def is_waiting(self) -> bool:
        """Whether a ping of ours has been followed by nothing yet."""
        return not self._muted and (self._pinging or self._outstanding())

    def leave(self) -> None:
        """Note that the session is over: nobody is waited for any more."""
        self._lost_time.leave(self)

    def receive_pong(self, payload: bytes) -> bool:
        """Take a pong; return whether it answers our last ping (everybody else's are not ours)."""
        if self._ping_at is None or self._unanswered.is_ponged or payload != self._payload():
            return False
        self.round_trip = trio.current_time() - self._ping_at
        self._unanswered.ponged()
        self._told(self.round_trip)
        return True

    def owns_pong(self, payload: bytes) -> bool:
        """Take a pong; return whether it answers any ping of ours, be it late."""
        self.receive_pong(payload)
        return payload.startswith(self._mark)

    def mute(self) -> None:
        """Note that the peer cannot be asked for now, until ``unmute``.

        That is no fault of its own: it is neither suspect nor lost then. Only one that owes the
        rest of something is judged by its silence all the same, with ``stall_after`` in place of a
        shorter ``dead_after``: two that wait for each other must end.
        """
        self._muted = True

    def unmute(self) -> None:
        """Note that the peer has just been asked: it has all its time from here on."""
        self._muted = False
        self._ping_at = self._asked_at = trio.current_time()
        self._lost_time.attend(self)

    def judge(self, now: float) -> SessionEnd | None:
        """Return the end if the leg is lost or stalled."""
        limits = self._limits
        if now >= self._stalled_at():
            text = f"a send made no progress for {limits.stall_after:g} s"
            return SessionEnd.of(self.side, Stalled(text))
        if now >= self._lost_at():
            where = ", in the middle of a frame" if self._owes() else ""
            return SessionEnd.of(self.side, PeerLost(f"no byte for {self._patience():g} s{where}"))
        return None

    def next_look(self, now: float) -> float:
        """Return when to judge again: never later than the next moment at which anything can
        follow.
        """
        self._look_early(now + TOGETHER)
        return min(
            now + self._interval,
            self._early_at,
            self.ping_due(),
            self._stalled_at(),
            self._lost_at(),
        )

    def ping_due(self) -> float:
        """Return when the next ping is due; infinite while one is being sent or there are none."""
        if self._send_ping is None or self._pinging:
            return math.inf
        due = self._stream.activity.sent_at + self._interval
        if not self._outstanding():
            due = min(due, self._silent_since() + self._interval)
            if self._unanswered.is_ponged:
                last = self._began_at if self._ping_at is None else self._ping_at
                due = min(due, last + self._interval)
                if not self._unanswered.is_little:
                    due = min(due, self._early_at)
        return due

    def _look_early(self, now: float) -> None:
        """Set the next moment at which a beginning session is looked at; none after an interval."""
        while self._early_at <= now:
            age = max(2 * (self._early_at - self._began_at), _FIRST_LOOK)
            self._early_at = self._began_at + age if age < self._interval else math.inf

    def start_ping(self, now: float) -> _Part | SessionEnd | None:
        """Send a ping. Return what has to wait for its turn, to be run as a task of its own, or the
        end if it cannot be sent.
        """
        assert self._send_ping is not None
        self._sequence += 1
        if not self._outstanding():
            self._oldest_unanswered = now
            self._acknowledged = self._unanswered.acknowledged()
        self._unanswered.asked()
        self._ping_at = now
        self._lost_time.attend(self)
        self._interval = self._jittered()
        try:
            wait = self._send_ping(self._payload())
        except StreamBroken as error:
            return self._unsent(error)
        if wait is None:
            return None
        self._pinging = True
        return partial(self._finish_ping, wait)

    async def _finish_ping(self, wait: Callable[[], Awaitable[None]]) -> SessionEnd | None:
        begun = self._ping_at
        try:
            await wait()
        except StreamBroken as error:
            return self._unsent(error)
        self._pinging = False
        if self._ping_at == begun and not self._unanswered.is_ponged:
            # It is asked from here on, however long it had to wait for its turn.
            now = trio.current_time()
            if self._oldest_unanswered == begun:
                self._oldest_unanswered = now
            self._ping_at = now
        return None

    def _unsent(self, error: StreamBroken) -> SessionEnd:
        return SessionEnd.of(self.side, PeerLost(detail=str(error)))

    # -- challenges --------------------------------------------------------------------------------

    def open_challenge(self, now: float) -> Challenge | None:
        """Return the challenge that is still to be answered, for others to wait for it, too."""
        last = self._challenge
        return None if last is None or last.is_over or self._has_shown(last) else last

    def can_be_challenged(self, within: float) -> bool:
        """Say whether silence for ``within`` seconds from now on could prove anything."""
        return (
            self._send_ping is not None
            and not self._pinging
            and self._stream.activity.reading_since is not None
            and self._can_be_asked()
            and (self.round_trip is None or self.round_trip <= within / 2)
        )

    def challenge(self, now: float, within: float) -> Challenge:
        """Note a challenge; ``start_ping`` asks."""
        taken = self._unanswered.acknowledged()
        received = self._stream.activity.bytes_received
        self._challenge = Challenge(now, received, within, taken, taken, now)
        return self._challenge

    def answer_due(self, challenge: Challenge) -> float:
        """Return until when the peer has time: from when it was really asked, and while we live."""
        since = challenge.asked_at
        if not self._pinging and self._ping_at is not None:
            since = max(since, self._ping_at)
        return since + challenge.within + self._lost_time.since(since)

    def answer_to(self, challenge: Challenge, now: float) -> Sign | None:
        """Return what the peer has shown, or None while it has time left."""
        if self._has_shown(challenge):
            return Sign.ALIVE
        taken = self._unanswered.acknowledged()
        if taken != challenge.acknowledged:
            challenge.acknowledged, challenge.moved_at = taken, now
        if now < self.answer_due(challenge):
            return None
        activity = self._stream.activity
        since = activity.reading_since
        has_listened = since is not None and since <= challenge.asked_at
        if not has_listened or self._pinging or not self._can_be_asked():
            return Sign.UNCLEAR
        assert self._ping_at is not None
        if max(challenge.moved_at, activity.progress_at) > self._ping_at + _SLOW:
            return Sign.UNCLEAR
        if self._unanswered.is_little or self._unanswered.is_cut_since(challenge.asked_with):
            return Sign.SILENT
        return Sign.UNCLEAR

    def _has_shown(self, challenge: Challenge) -> bool:
        activity = self._stream.activity
        return (
            activity.received_at > challenge.asked_at
            or activity.bytes_received != challenge.bytes_received
        )

    def _can_be_asked(self) -> bool:
        return not self._muted and self._stream.activity.sending_since is None

    def _payload(self) -> bytes:
        return b"%b%d" % (self._mark, self._sequence)

    def _jittered(self) -> float:
        return self._limits.interval * random.uniform(1 - _JITTER, 1)

    # Moments, infinite where nothing is running. ``judge`` and ``next_look`` compare with the same
    # sums: with a difference in one of them, rounding could make the watchdog look for ever.

    def _stalled_at(self) -> float:
        activity = self._stream.activity
        if activity.sending_since is None:
            return math.inf
        since = max(activity.sending_since, activity.progress_at)
        return since + self._limits.stall_after + self._lost_time.since(since)

    def _lost_at(self) -> float:
        since = self._silent_since()
        return since + self._patience() + self._lost_time.since(since)

    def _patience(self) -> float:
        """Return how long the peer may be silent."""
        limits = self._limits
        if not self._muted:
            return limits.dead_after
        return max(limits.dead_after, limits.stall_after) if self._owes() else math.inf

    def _suspect_at(self) -> float:
        if self._muted or not self._outstanding():
            return math.inf
        since = max(self._oldest_unanswered, self._silent_since())
        return since + self._limits.suspect_after + self._lost_time.since(since)

    def _silent_since(self) -> float:
        """Since when nothing has come although we listen; infinite while we do not listen."""
        activity = self._stream.activity
        if activity.reading_since is None:
            return math.inf
        return max(
            activity.received_at, activity.reading_since, activity.progress_at, self._asked_at
        )

    def _outstanding(self) -> bool:
        """Say whether a ping of ours has been followed by no byte at all."""
        return self._ping_at is not None and self._stream.activity.received_at < self._ping_at


class SessionLoop:
    """Two pumps under a watchdog; ``end`` stops them from outside (shutdown, takeover)."""

    __slots__ = ("_end", "_nursery", "_scope", "_watches")

    def __init__(self, watches: Sequence[LegWatch]) -> None:
        self._watches = watches
        self._scope = trio.CancelScope()
        self._end: SessionEnd | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def is_running(self) -> bool:
        """Say whether nothing has ended it."""
        return self._end is None

    def end(self, end: SessionEnd) -> None:
        """End the session; the first end wins, later ones are ignored."""
        if self._end is None:
            self._end = end
            self._scope.cancel()

    async def run(self, pumps: Sequence[Pump]) -> SessionEnd:
        """Run until somebody returns an end. Raises nothing but ``trio.Cancelled`` from outside."""
        first, *others = pumps
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    entry = current_watchdogs().add(self)
                    try:
                        for pump in others:
                            nursery.start_soon(self._run, pump)
                        await self._run(first)  # a task less for each session
                        await trio.sleep_forever()
                    finally:
                        entry.leave()
                        self._nursery = None
        finally:
            for watch in self._watches:
                watch.leave()
        if self._end is None:
            # Only a cancellation from outside leaves no end; it passes at the next checkpoint.
            await trio.lowlevel.checkpoint()
            raise AssertionError("a session loop ended without an end")
        return self._end

    async def challenge(self, watch: LegWatch, *, within: float = CHALLENGE) -> Sign:
        """Ask the peer of ``watch``, one of this loop's, to show that it lives.

        Those who ask meanwhile wait for the same answer. UNCLEAR for a session that is over.
        """
        now = trio.current_time()
        challenge = watch.open_challenge(now)
        if challenge is None:
            if self._nursery is None or self._end is not None:
                return Sign.UNCLEAR
            if not watch.can_be_challenged(within):
                return Sign.UNCLEAR
            challenge = watch.challenge(now, within)
            self._ping(watch, now)
        while self.is_running:
            sign = watch.answer_to(challenge, trio.current_time())
            if sign is Sign.SILENT:
                await let_readers_run()
                sign = watch.answer_to(challenge, trio.current_time())
            if sign is not None:
                challenge.is_over = True
                return sign
            now = trio.current_time()
            await trio.sleep_until(min(now + _CHALLENGE_LOOK, watch.answer_due(challenge)))
        return Sign.UNCLEAR

    def look(self, now: float) -> float:
        """Look after both legs, for ``Watchdogs``; return when to do so again. Raises nothing."""
        try:
            for watch in self._watches:
                if self._end is not None:
                    return math.inf
                if watch.judge(now) is not None:
                    self._start(partial(self._condemn, watch))
                    return now + TOGETHER
                if watch.ping_due() <= now + TOGETHER:
                    self._ping(watch, now)
            return min(watch.next_look(now) for watch in self._watches)
        except Exception as error:
            self._fail(error)
            return math.inf

    async def _run(self, part: _Part) -> None:
        try:
            end = await part()
        except Exception as error:
            self._fail(error)
            return
        if end is not None:
            self.end(end)

    async def _condemn(self, watch: LegWatch) -> SessionEnd | None:
        """Return the end after one more chance: what lies in the kernel counts."""
        await let_readers_run()
        return watch.judge(trio.current_time())

    def _ping(self, watch: LegWatch, now: float) -> None:
        """Ping the peer. What has to wait is the session's, not that of whoever wants to know, who
        may leave in the middle of it. Raises nothing.
        """
        try:
            rest = watch.start_ping(now)
        except Exception as error:
            self._fail(error)
            return
        if isinstance(rest, SessionEnd):
            self.end(rest)
        elif rest is not None:
            self._start(rest)

    def _fail(self, error: Exception) -> None:
        """A bug ends its session, never the worker, and nobody who asked after it."""
        self.end(SessionEnd.of(Side.GATEWAY, error))

    def _start(self, part: _Part) -> None:
        if self._nursery is not None and self._end is None:
            self._nursery.start_soon(self._run, part)
