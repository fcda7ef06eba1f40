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
from gateway.agents.takeover import Claim, Holder, Newcomer, Policy, Takeovers, Verdict
from gateway.errors import AlreadyConnected, NotAuthorized
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

    async def dial(self, cookie: str | None) -> str:
        self.dialled.append((trio.current_time(), cookie))
        await trio.sleep(0.01)
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


# -- attackers -------------------------------------------------------------------------------------


async def test_a_wrong_secret(scene: Scene, autojump_clock: MockClock) -> None:
    session = PlayedSession(suspect=True)

    async def dial(cookie: str | None) -> str:
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


@pytest.mark.parametrize(
    ("holder", "newcomer"), [("192.0.2.1", "192.0.2.1"), ("192.0.2.3", "192.0.2.2")]
)
async def test_no_two_agents(
    holder: str, newcomer: str, scene: Scene, autojump_clock: MockClock
) -> None:
    """One that keeps coming back from one address, and one that has come from a third."""
    history = tuple(Takeover(SINCE, "192.0.2.1", "192.0.2.2") for _ in range(3))
    with scene.live(PlayedSession(Sign.ALIVE), holder, takeovers=history):
        await scene.come("always", client=newcomer)


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
