"""Tests of ``gateway.agents.takeover``: who gets a node, who does not, and what is said.

Controller and sessions are played; time is a mock clock. The whole way, with real peers and cut
cables, is in ``tests/faults/test_takeover.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.agents.ended_cookies import EndedCookies
from gateway.agents.registry import Entry, Registry, Takeover
from gateway.agents.takeover import (
    Claim,
    Holder,
    Newcomer,
    NotAllAnswered,
    Policy,
    Takeovers,
    Verdict,
)
from gateway.errors import AlreadyConnected, ControllerTimeout, NotAuthorized
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Samples
from gateway.observability.metrics.table import TAKEOVERS
from gateway.runtime.session_end import SessionEnd
from gateway.runtime.session_loop import Sign
from gateway.runtime.session_view import SessionView
from tests.agents.rig import Rig, running_session
from tests.peers.ws_agent import Ping

SAID: Final = "a is already connected to this controller. Rejecting this connection."
COOKIE: Final = "c0" * 32
OTHER: Final = "0c" * 32
SINCE: Final = 1_780_000_000.0


class PlayedSession:
    """A session whose agent is as a test wants it."""

    def __init__(self, sign: Sign = Sign.SILENT, *, suspect: bool = False) -> None:
        self.started_at = trio.current_time()
        self.suspect = suspect
        self.sign = sign
        self.challenges = 0
        self.ended: list[SessionEnd] = []
        self.on_end: Callable[[], None] = lambda: None

    @property
    def is_running(self) -> bool:
        return not self.ended

    async def challenge(self) -> Sign:
        self.challenges += 1
        await trio.sleep(0.2 if self.sign is Sign.ALIVE else 5)
        return self.sign

    def end(self, end: SessionEnd) -> None:
        self.ended.append(end)
        self.on_end()

    def view(self) -> SessionView:
        raise AssertionError("nobody is shown here")


class PlayedCookies:
    """Cookies without a file: mock time would go on while a thread reads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, bool]] = {}

    def started(self, session: str, cookie: str) -> None:
        self._known[session] = cookie, False

    def ended(self, session: str) -> None:
        self._known[session] = self._known[session][0], True

    async def find(self, controller: str, node: str) -> str | None:
        assert (controller, node) == ("main", "a")
        return next((cookie for cookie, has_ended in self._known.values() if has_ended), None)


class Scene:
    """A worker, and a controller that refuses while one of its sessions has the node."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.meters = Meters()
        self.cookies = PlayedCookies()
        self.told: list[tuple[str, str, str]] = []
        self.now = SINCE
        self.takeovers = Takeovers(
            self.registry,
            cast("EndedCookies", self.cookies),
            told=lambda entry, claim, why: self.told.append((entry.id, claim.client, why)),
            clock=lambda: self.now,
            meters=self.meters,
        )
        self.dialled: list[tuple[float, str | None]] = []
        self.may_enter: Callable[[str | None], bool] = lambda cookie: False
        self.before_answer: Callable[[], None] = lambda: None

    def counted(self) -> dict[str, object]:
        """Return how often there was each outcome."""
        samples = Samples()
        self.meters.add_to(samples)
        return {outcome: number for (_, outcome), number in samples.of(TAKEOVERS).items()}

    @contextmanager
    def live(
        self, session: PlayedSession, client: str = "192.0.2.1", **more: Any
    ) -> Iterator[None]:
        """Have ``session`` hold the node for the body of the ``with``."""
        entry = Entry(session, "s1", "main", "a", client, SINCE, **{"cookie": COOKIE, **more})
        self.may_enter = lambda cookie: not session.is_running
        with self.registry.register(session, entry):
            yield

    async def dial(self, cookie: str | None, remembered: str | None) -> str:
        cookie = cookie if remembered is None else remembered
        self.dialled.append((trio.current_time(), cookie))
        await trio.sleep(0.01)
        self.before_answer()
        if self.may_enter(cookie):
            return "in"
        raise AlreadyConnected(SAID)

    async def come(
        self,
        policy: Policy = "when-dead",
        *,
        client: str = "192.0.2.2",
        cookie: str | None = None,
        is_proved: bool = False,
    ) -> tuple[Takeover, ...]:
        newcomer = Newcomer("main", "a", client, policy, cookie, is_proved)
        opened, history = await self.takeovers.open(newcomer, self.dial)
        assert opened == "in"
        return history


@pytest.fixture
def scene() -> Scene:
    return Scene()


def at() -> float:
    return trio.current_time()


# -- victims ---------------------------------------------------------------------------------------


async def test_who_is_not_refused_touches_nothing(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(suspect=True)
    with scene.live(session):
        scene.may_enter = lambda cookie: True
        assert await scene.come() == ()
    assert session.is_running
    assert session.challenges == 0
    assert scene.told == []


async def test_a_silent_ghost(scene: Scene, autojump_clock: MockClock, log: LogCapture) -> None:
    session = PlayedSession(Sign.SILENT)
    with scene.live(session):
        history = await scene.come()
    assert at() < 6
    (end,) = session.ended
    assert end.reason == "taken over by 192.0.2.2"
    assert (end.side.value, end.close_code, end.level) == ("gateway", 1008, "warning")
    assert "192.0.2.2" not in getattr(end.error, "public", "")
    assert scene.told == [("s1", "192.0.2.2", "no byte for 5 s after a ping")]
    assert history == (Takeover(SINCE, "192.0.2.1", "192.0.2.2"),)
    assert [line["event"] for line in log.entries] == ["node taken over"]


async def test_a_suspect_is_not_even_challenged(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(Sign.ALIVE, suspect=True)
    with scene.live(session):
        await scene.come()
    assert session.challenges == 0
    assert at() < 1


@pytest.mark.parametrize("is_proved", [False, True])
async def test_the_same_process(is_proved: bool, scene: Scene, autojump_clock: MockClock) -> None:
    """With its session's cookie, whatever case it is in; the gateway may even know it before."""
    session = PlayedSession(Sign.ALIVE)
    with scene.live(session):
        history = await scene.come(cookie=COOKIE.upper(), is_proved=is_proved)
    assert scene.told == [("s1", "192.0.2.2", "the same process")]
    assert session.challenges == 0
    assert len(scene.dialled) == (1 if is_proved else 2)
    assert history == (), "it is one agent, not two"


async def test_the_controller_takes_its_time(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(Sign.SILENT, suspect=True)
    with scene.live(session):
        scene.may_enter = lambda cookie: at() > 6
        await scene.come()
    gaps = {round(b[0] - a[0], 2) for a, b in zip(scene.dialled, scene.dialled[1:], strict=False)}
    assert gaps == {0.51}


async def test_no_longer_than_the_budget(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(suspect=True)
    with scene.live(session):
        scene.may_enter = lambda cookie: False
        with pytest.raises(AlreadyConnected) as caught:
            await scene.come()
    assert 7.4 <= at() <= 8.1
    assert caught.value.public == SAID
    assert "still said so after 8 s" in str(caught.value)


async def test_no_longer_than_the_deadline(scene: Scene, autojump_clock: MockClock) -> None:
    """The controller has used 23 s of the 25 before it said anything."""
    session = PlayedSession(Sign.SILENT)
    with trio.fail_after(2), scene.live(session), pytest.raises(AlreadyConnected) as caught:
        await scene.come()
    assert session.challenges == 0, "there was no time for it"
    assert session.is_running
    assert "cannot be told now" in caught.value.public


async def test_a_dial_that_does_not_end(scene: Scene, autojump_clock: MockClock) -> None:
    """The controller waits for its channel's end; the newcomer still gets the 400 that explains."""
    waits = 0

    async def dial(cookie: str | None, remembered: str | None) -> str:
        nonlocal waits
        if session.is_running:
            raise AlreadyConnected(SAID)
        waits += 1
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if waits == 2:  # as one that has a limit of its own, shortly before the caller's
                raise ControllerTimeout from None
            raise
        raise AssertionError

    newcomer = Newcomer("main", "a", "192.0.2.2", "when-dead")
    for _ in range(2):
        session = PlayedSession(suspect=True)
        with trio.fail_after(25), scene.live(session), pytest.raises(AlreadyConnected) as caught:
            await scene.takeovers.open(newcomer, dial)
        assert "still said so after 24 s" in str(caught.value)
    assert waits == 2


async def test_a_controller_that_does_not_answer_in_time(
    scene: Scene, autojump_clock: MockClock
) -> None:
    session = PlayedSession(suspect=True)

    async def dial(cookie: str | None, remembered: str | None) -> str:
        if session.is_running:
            raise AlreadyConnected(SAID)
        raise ControllerTimeout

    newcomer = Newcomer("main", "a", "192.0.2.2", "when-dead")
    with trio.fail_after(25), scene.live(session), pytest.raises(ControllerTimeout):
        await scene.takeovers.open(newcomer, dial)


# -- attackers -------------------------------------------------------------------------------------


async def test_a_wrong_secret(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(suspect=True)

    async def dial(cookie: str | None, remembered: str | None) -> str:
        raise NotAuthorized(detail="the controller says: Authorization failure")

    newcomer = Newcomer("main", "a", "192.0.2.2", "always", COOKIE)
    with scene.live(session), pytest.raises(NotAuthorized):
        await scene.takeovers.open(newcomer, dial)
    assert session.is_running
    assert session.challenges == 0


@pytest.mark.parametrize(
    ("sign", "said"),
    [(Sign.ALIVE, "It is alive."), (Sign.UNCLEAR, "Whether it is alive cannot be told now.")],
)
async def test_the_living_are_kept(
    sign: Sign, said: str, scene: Scene, autojump_clock: MockClock
) -> None:
    session = PlayedSession(sign)
    with scene.live(session), pytest.raises(AlreadyConnected) as caught:
        await scene.come(cookie=OTHER, is_proved=True)
    assert session.is_running
    assert caught.value.public == (
        f"{SAID} The other one is connected from 192.0.2.1 since 2026-05-28T20:26:40Z. {said}"
    )
    assert scene.told == []


async def test_unclear_stays_unclear(scene: Scene, autojump_clock: MockClock) -> None:
    """Although it became suspect while it was challenged: a send is waiting, say."""

    class Waiting(PlayedSession):
        async def challenge(self) -> Sign:
            self.suspect = True
            return Sign.UNCLEAR

    session = Waiting()
    with scene.live(session), pytest.raises(AlreadyConnected, match="cannot be told now"):
        await scene.come()
    assert session.is_running


async def test_a_suspect_whose_answer_has_just_arrived(
    scene: Scene, autojump_clock: MockClock
) -> None:
    session = PlayedSession(Sign.ALIVE, suspect=True)

    async def read() -> None:
        session.suspect = False

    async with trio.open_nursery() as nursery:
        scene.before_answer = lambda: nursery.start_soon(read)
        with scene.live(session), pytest.raises(AlreadyConnected, match="It is alive"):
            await scene.come()
    assert session.is_running


async def test_a_challenge_that_takes_too_long(scene: Scene, autojump_clock: MockClock) -> None:
    """The process stood still in between."""

    class Long(PlayedSession):
        async def challenge(self) -> Sign:
            await trio.sleep(30)
            return Sign.SILENT

    session = Long()
    with scene.live(session), pytest.raises(AlreadyConnected, match="cannot be told now"):
        await scene.come()
    assert trio.current_time() < 7
    assert session.is_running


async def test_a_thousand_challenges(scene: Scene, autojump_clock: MockClock) -> None:
    """To a real session, whose agent answers one ping."""
    refused = 0

    async def challenge() -> None:
        nonlocal refused
        with pytest.raises(AlreadyConnected):
            await scene.come()
        refused += 1

    pings = 0

    async def answer(rig: Rig) -> None:
        nonlocal pings
        while True:
            for event in rig.frames.receive(bytes(await rig.agent.receive_some(65536))):
                assert isinstance(event, Ping)
                pings += 1
                await rig.agent.send_all(rig.frames.send(event.response()))

    async with running_session() as rig, trio.open_nursery() as nursery:
        nursery.start_soon(answer, rig)
        await trio.sleep(1)
        entry = Entry(rig.session, "s1", "main", "a", "192.0.2.1", SINCE, COOKIE)
        with scene.registry.register(rig.session, entry):
            async with trio.open_nursery() as newcomers:
                for _ in range(1000):
                    newcomers.start_soon(challenge)
            assert rig.session.is_running
            assert refused == 1000
            assert pings == 1
        nursery.cancel_scope.cancel()


async def test_the_cookie_of_another_node(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(Sign.ALIVE)
    with scene.live(session, cookie=None), pytest.raises(AlreadyConnected):
        await scene.come(cookie=COOKIE, is_proved=True)
    assert session.is_running


async def test_a_newcomer_who_leaves_ends_nothing(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(Sign.SILENT)
    with scene.live(session):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.come)
            await trio.sleep(4.9)
            assert session.challenges == 1
            nursery.cancel_scope.cancel()
    assert session.is_running


# -- policies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cookie", [None, COOKIE])
async def test_never(cookie: str | None, scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(suspect=True)
    with scene.live(session), pytest.raises(AlreadyConnected) as caught:
        await scene.come("never", cookie=cookie, is_proved=True)
    assert session.is_running
    assert len(scene.dialled) == 1
    assert "from 192.0.2.1 since" in caught.value.public
    assert "agents.takeover is never" in caught.value.public


async def test_never_where_nobody_has_it(scene: Scene, autojump_clock: MockClock) -> None:
    with pytest.raises(AlreadyConnected) as caught:
        await scene.come("never")
    assert at() < 1
    assert str(caught.value) == f"{SAID}: not through this gateway"


async def test_always(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(Sign.ALIVE)
    with scene.live(session):
        await scene.come("always")
    assert session.challenges == 0
    assert scene.told == [("s1", "192.0.2.2", "policy always")]


async def test_two_agents_with_one_name(scene: Scene, autojump_clock: MockClock) -> None:
    """Each comes back and takes the node; the fourth time within five minutes is refused."""
    history: tuple[Takeover, ...] = ()
    holder, newcomer = "192.0.2.1", "192.0.2.2"
    for _ in range(3):
        scene.now += 60
        with scene.live(PlayedSession(Sign.ALIVE), holder, takeovers=history):
            history = await scene.come("always", client=newcomer)
        holder, newcomer = newcomer, holder
    assert len(history) == 3
    scene.now += 60
    session = PlayedSession(Sign.ALIVE)
    with scene.live(session, holder, takeovers=history):
        with pytest.raises(AlreadyConnected, match="Two agents use this name"):
            await scene.come("always", client=newcomer)
        assert session.is_running
        scene.now += 120.1  # the first of the three is five minutes ago
        await scene.come("always", client=newcomer)


async def test_no_two_agents(scene: Scene, autojump_clock: MockClock) -> None:
    """One that has come from a third address."""
    history = tuple(Takeover(SINCE + i, "192.0.2.1", "192.0.2.2") for i in range(3))
    scene.now += 10
    with scene.live(PlayedSession(Sign.ALIVE), "192.0.2.3", takeovers=history):
        await scene.come("always", client="192.0.2.2")


@pytest.mark.parametrize("policy", ["always", "when-dead"])
@pytest.mark.parametrize("sign", Sign)
async def test_a_pair_behind_one_address(
    policy: Policy, sign: Sign, scene: Scene, autojump_clock: MockClock
) -> None:
    """One that keeps dying looks the same, but for one thing: its last session does not live."""
    both = "192.0.2.1"
    history = tuple(Takeover(SINCE + i, both, both) for i in range(3))
    scene.now += 10
    session = PlayedSession(sign)
    with scene.live(session, both, takeovers=history):
        if sign is Sign.ALIVE:
            with pytest.raises(AlreadyConnected, match="Two agents use this name"):
                await scene.come(policy, client=both)
        elif sign is Sign.UNCLEAR and policy == "when-dead":
            with pytest.raises(AlreadyConnected, match="cannot be told now"):
                await scene.come(policy, client=both)
        else:
            await scene.come(policy, client=both)
    assert session.is_running is (
        sign is Sign.ALIVE or (sign is Sign.UNCLEAR and policy == "when-dead")
    )


async def test_what_nobody_carries_on_counts_all_the_same(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Dials that fail after the end, and newcomers who share a challenge."""
    for _ in range(2):
        scene.now += 1
        with scene.live(PlayedSession(Sign.ALIVE)):
            scene.may_enter = lambda cookie: False
            with pytest.raises(AlreadyConnected):
                await scene.come("always")
    scene.now += 1
    histories = []

    async def come() -> None:
        histories.append(await scene.come())

    with scene.live(PlayedSession(Sign.SILENT)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            nursery.start_soon(come)
    assert [len(each) for each in histories] == [3, 3]
    scene.now += 1
    with scene.live(PlayedSession(Sign.ALIVE)), pytest.raises(AlreadyConnected, match="Two agents"):
        await scene.come("always")
    scene.may_enter = lambda cookie: True
    assert len(await scene.come()) == 3, "whoever just gets in carries them on"


async def test_other_workers_are_told(scene: Scene, autojump_clock: MockClock) -> None:
    told: list[tuple[str, str, Takeover]] = []
    scene.takeovers.announce = lambda *this: told.append(this)
    with scene.live(PlayedSession(Sign.SILENT)):
        await scene.come()
    assert told == [("main", "a", Takeover(SINCE, "192.0.2.1", "192.0.2.2"))]
    for i in range(1, 3):
        scene.takeovers.note("main", "a", Takeover(SINCE + i, "192.0.2.1", "192.0.2.2"))
    scene.now += 3
    with scene.live(PlayedSession(Sign.ALIVE)), pytest.raises(AlreadyConnected, match="Two agents"):
        await scene.come("always")


# -- elsewhere -------------------------------------------------------------------------------------


async def test_on_another_worker(scene: Scene, autojump_clock: MockClock) -> None:
    asked: list[Claim] = []
    history = (Takeover(SINCE, "192.0.2.9", "192.0.2.2"),)

    async def others(claim: Claim) -> Holder | None:
        asked.append(claim)
        scene.may_enter = lambda cookie: True
        return Holder("192.0.2.9", SINCE, Verdict.ENDED, history)

    scene.takeovers.others = others
    assert await scene.come(cookie=COOKIE) == history
    (claim,) = asked
    assert (claim.controller, claim.node, claim.client) == ("main", "a", "192.0.2.2")
    assert COOKIE not in repr(claim.in_words()), "a digest is enough"
    assert Claim.of_words(claim.in_words()) == claim
    assert 7 < claim.patience <= 8


async def test_alive_on_another_worker(scene: Scene, autojump_clock: MockClock) -> None:
    async def others(claim: Claim) -> Holder | None:
        return Holder("192.0.2.9", SINCE, Verdict.ALIVE)

    scene.takeovers.others = others
    with pytest.raises(AlreadyConnected, match=r"connected from 192\.0\.2\.9 since .* It is alive"):
        await scene.come()
    assert len(scene.dialled) == 1


async def test_another_worker_that_does_not_answer(scene: Scene, autojump_clock: MockClock) -> None:
    """It may have the node: a stored cookie would end the session that lives there."""
    asked = 0

    async def others(claim: Claim) -> Holder | None:
        nonlocal asked
        asked += 1
        await trio.sleep(1)
        if asked < 3:
            raise NotAllAnswered
        return None

    scene.takeovers.others = others
    scene.cookies.started("s0", OTHER)
    scene.cookies.ended("s0")
    scene.may_enter = lambda cookie: cookie == OTHER
    await scene.come(cookie=COOKIE)
    assert [cookie for _, cookie in scene.dialled] == [COOKIE, COOKIE, COOKIE, OTHER]


async def test_another_worker_that_never_answers(scene: Scene, autojump_clock: MockClock) -> None:
    async def others(claim: Claim) -> Holder | None:
        await trio.sleep(1)
        raise NotAllAnswered

    scene.takeovers.others = others
    scene.cookies.started("s0", OTHER)
    scene.cookies.ended("s0")
    with pytest.raises(AlreadyConnected) as caught:
        await scene.come()
    assert "did not say whether it is there" in str(caught.value)
    assert {cookie for _, cookie in scene.dialled} == {None}


@pytest.mark.parametrize("verdict", Verdict)
def test_what_workers_say_to_each_other(verdict: Verdict) -> None:
    holder = Holder("192.0.2.1", SINCE, verdict, (Takeover(SINCE, "a", "b"),))
    assert Holder.of_words(holder.in_words()) == holder


async def test_the_cookie_of_a_session_that_has_ended(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """The controller missed its end; no other session is known."""
    scene.cookies.started("s0", OTHER)
    scene.cookies.ended("s0")
    scene.may_enter = lambda cookie: cookie == OTHER
    await scene.come(cookie=COOKIE)
    assert [cookie for _, cookie in scene.dialled] == [COOKIE, OTHER]
    assert at() < 1


async def test_never_the_cookie_of_a_living_session(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Its owner does not answer, so nothing is known but that it is alive."""
    scene.cookies.started("s0", OTHER)
    with pytest.raises(AlreadyConnected):
        await scene.come(cookie=COOKIE)
    assert {cookie for _, cookie in scene.dialled} == {COOKIE}
    assert at() > 7


async def test_the_end_of_the_ghost_itself_is_remembered(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Its controller leg is closed, but the controller does not hear of it."""
    scene.cookies.started("s1", COOKIE)
    session = PlayedSession(suspect=True)
    with scene.live(session):
        scene.may_enter = lambda cookie: cookie == COOKIE
        session.on_end = lambda: scene.cookies.ended("s1")
        await scene.come()
    assert [cookie for _, cookie in scene.dialled] == [None, COOKIE]


async def test_outcomes_are_counted(scene: Scene, autojump_clock: MockClock) -> None:
    scene.may_enter = lambda cookie: True
    await scene.come()  # nobody has it: no takeover
    assert scene.counted() == {}
    with scene.live(PlayedSession(suspect=True)):
        await scene.come()
    with scene.live(PlayedSession()):
        await scene.come(cookie=COOKIE, is_proved=True)  # its own process
    assert scene.counted() == {"taken_over": 2}
    with scene.live(PlayedSession()), pytest.raises(AlreadyConnected):
        await scene.come("never")
    scene.may_enter = lambda cookie: False
    with pytest.raises(AlreadyConnected):
        await scene.come()
    assert scene.counted() == {"taken_over": 2, "kept": 1, "not_here": 1}
