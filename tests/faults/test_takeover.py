"""An agent comes back while its old session is still there: JNLP4, with real peers on both ends and
middle-boxes on both legs. Mock time: minutes take milliseconds.

Who must get the node gets it within 8 s and without a refusal; who must not, never does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import trio
from structlog.testing import LogCapture
from trio.testing import MockClock

from gateway.demo.agent_channel import AgentChannel
from gateway.demo.agent_http import Answer
from gateway.demo.channel import Source, command, sink
from gateway.demo.faults import Delay, Faults, Stage
from gateway.demo.stream import End
from tests.faults.link import Link, Session, WatchedRegistry, running_link, talk
from tests.peers.middlebox import Fault, Lane

ALIVE: Final = (
    r"linux-1 is already connected to this controller\. Rejecting this connection\. The other one"
    r" is connected from 127\.0\.0\.1 since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\. (.*)"
)


def pull_the_cable(session: Session) -> None:
    session.agent_leg.up.strike(Fault.BLACK_HOLE)
    session.agent_leg.down.strike(Fault.BLACK_HOLE)


async def check_taken(link: Link, found: object, old: Session, *, reason: str) -> None:
    """Check that ``found`` has the node now, and why the old session ended."""
    assert isinstance(found, AgentChannel), found
    assert (await link.controller.wait_for_channel("linux-1")) is not old.controller
    await talk(found)
    while not link.lines("session ended"):  # noqa: ASYNC110 (a log)
        await trio.sleep(0.1)
    line = link.lines("session ended")[0]
    assert line["reason"] == reason
    old.agent.kill()
    await found.close(last_command=None)
    await link.wait_until_over(2)


def refusal(found: object) -> str:
    """Return what is said at the end of a refusal that says who the other one is."""
    assert isinstance(found, Answer), found
    assert found.status == 400
    said = re.fullmatch(ALIVE, found.header("X-Gateway-Error") or "")
    assert said is not None, found.header("X-Gateway-Error")
    return said[1]


# -- victims ---------------------------------------------------------------------------------------


async def test_restarted_after_the_cable_was_pulled(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry) as link:
        old = await link.open()
        await trio.sleep(25)
        pull_the_cable(old)
        began = trio.current_time()
        found = await link.come_again(link.new_agent())
        assert trio.current_time() - began < 8
        await check_taken(link, found, old, reason="taken over by 127.0.0.1")
        line = link.lines("session ended")[0]
        assert (line["by"], line["close_code"]) == ("gateway", 1008)
        assert line["config_generation"] == 0
        assert line["round_trip_ms"] is not None
        assert 5 <= line["agent_idle_s"] < 28
        assert not link.lines("request refused")


async def test_a_busy_session_after_the_cable_was_pulled(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """Neither is ever silent, so only what has been sent calls for pings; the box takes all."""
    async with running_link(tmp_path, log, registry) as link:
        old = await link.open()
        for _ in range(12):
            await talk(old.agent)
            await trio.sleep(10)
        pull_the_cable(old)
        began = trio.current_time()
        found = await link.come_again(link.new_agent())
        assert trio.current_time() - began < 8
        await check_taken(link, found, old, reason="taken over by 127.0.0.1")
        assert link.lines("session ended")[0]["round_trip_ms"] is not None


async def test_the_same_process_after_the_cable_was_pulled(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """Its cookie is the one of the controller's channel: Jenkins itself makes room."""
    async with running_link(tmp_path, log, registry) as link:
        old = await link.open()
        pull_the_cable(old)
        began = trio.current_time()
        found = await link.come_again()
        assert trio.current_time() - began < 1
        await check_taken(link, found, old, reason="the controller closed the connection")


async def test_the_controller_cannot_end_its_channel(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """It knows the cookie, waits for 15 s and gives up: the gateway closes that channel's leg."""
    async with running_link(tmp_path, log, registry) as link:
        old = await link.open()
        pull_the_cable(old)
        link.controller.faults = Faults({Stage.DISCONNECT: Delay(1000)})
        began = trio.current_time()
        found = await link.come_again()
        assert 15 < trio.current_time() - began < 17
        await check_taken(link, found, old, reason="taken over by 127.0.0.1")


async def test_a_suspect_is_replaced_at_once(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry) as link:
        old = await link.open()
        pull_the_cable(old)
        await trio.sleep(45)
        began = trio.current_time()
        found = await link.come_again(link.new_agent())
        assert trio.current_time() - began < 1.5
        await check_taken(link, found, old, reason="taken over by 127.0.0.1")


async def test_the_controller_misses_the_end(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """Something forgot the connection to it: the cookie of the ended session makes room."""
    async with running_link(tmp_path, log, registry) as link:
        old = await link.open()
        old.controller_leg.up.strike(Fault.BLACK_HOLE)
        old.controller_leg.down.strike(Fault.BLACK_HOLE)
        await old.agent.close(last_command=None)
        await link.wait_until_over(1)
        assert link.controller.channels, "the controller knows nothing of it"
        began = trio.current_time()
        found = await link.come_again(link.new_agent())
        assert trio.current_time() - began < 2
        assert isinstance(found, AgentChannel), found
        await talk(found)
        (taken,) = link.lines("node taken over")
        assert taken["with_cookie"]
        await found.close(last_command=None)
        await link.wait_until_over(2)


async def test_always(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    agents = {"takeover": "always"}
    async with running_link(tmp_path, log, registry, agents=agents) as link:
        old = await link.open()
        await talk(old.agent)
        found = await link.come_again(link.new_agent())
        await old.agent.ended.wait()
        assert old.agent.close_code == 1008
        assert old.controller.end is End.BARE_EOF
        await check_taken(link, found, old, reason="taken over by 127.0.0.1")


# -- attackers -------------------------------------------------------------------------------------


async def check_alive(link: Link, session: Session) -> None:
    assert session.agent.end is None
    assert (await link.controller.wait_for_channel("linux-1")) is session.controller
    assert not link.lines("session ended")
    await talk(session.agent)
    await session.agent.close(last_command=None)
    await link.wait_until_over(1)


async def test_a_healthy_session_is_kept(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry) as link:
        session = await link.open()
        for _ in range(3):
            await trio.sleep(15)
            began = trio.current_time()
            assert refusal(await link.come_again(link.new_agent())) == "It is alive."
            assert trio.current_time() - began < 2
        await check_alive(link, session)


@pytest.mark.parametrize("secret", ["5ec7e7" * 8, "another node's"])
async def test_a_wrong_secret_touches_nothing(
    secret: str, tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """Not even a suspect, and nobody is pinged; another node's right secret is a wrong one here."""
    async with running_link(tmp_path, log, registry) as link:
        link.controller.nodes["linux-2"] = True
        if secret == "another node's":
            secret = link.controller.secret("linux-2")
        session = await link.open()
        pull_the_cable(session)
        await trio.sleep(45)
        guesser = link.new_agent(secret)
        guesser.cookie = session.agent.cookie
        found = await link.come_again(guesser)
        assert isinstance(found, Answer)
        assert found.status == 403
        assert not link.lines("session ended")
        assert session.controller.end is None
        session.agent.kill()
        await link.wait_until_over(1)
        assert link.lines("session ended")[0]["reason"] == "no byte for 60 s"


async def test_never(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry, agents={"takeover": "never"}) as link:
        session = await link.open()
        pull_the_cable(session)
        await trio.sleep(45)
        assert refusal(await link.come_again(link.new_agent())) == "agents.takeover is never."
        assert not link.lines("session ended")
        session.agent.kill()
        await link.wait_until_over(1)


async def test_a_session_under_load_is_kept(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    async with running_link(tmp_path, log, registry, on_channel=Source(3_000_000)) as link:
        session = await link.open(sink)
        session.agent_leg.change(Lane(rate=300_000))
        for _ in range(3):
            await trio.sleep(2)
            said = refusal(await link.come_again(link.new_agent()))
            assert said.startswith(("It is alive", "Whether it is alive"))
        while session.agent.counters.bytes_received < 3_000_000:  # noqa: ASYNC110
            await trio.sleep(0.5)
        assert not link.lines("session ended")
        await session.agent.close(last_command=None)
        await link.wait_until_over(1)


@pytest.mark.parametrize(("delay", "said"), [(1.0, "It is alive."), (4.0, "Whether it is alive")])
async def test_a_slow_peer_is_kept(
    delay: float,
    said: str,
    tmp_path: Path,
    log: LogCapture,
    registry: WatchedRegistry,
    clock: MockClock,
) -> None:
    """A round trip of 2 s fits into a challenge, one of 8 s does not, and is known not to."""
    async with running_link(tmp_path, log, registry) as link:
        session = await link.open()
        session.agent_leg.change(Lane(delay=delay))
        await trio.sleep(60)
        assert refusal(await link.come_again(link.new_agent())).startswith(said)
        session.agent_leg.change(Lane())
        await trio.sleep(10)
        await check_alive(link, session)


async def test_a_leg_that_is_not_read_is_not_judged(
    tmp_path: Path, log: LogCapture, registry: WatchedRegistry, clock: MockClock
) -> None:
    """The controller takes nothing, so nothing is taken from the agent: no pong can be heard."""
    async with running_link(tmp_path, log, registry, on_channel=None) as link:
        session = await link.open()
        session.controller.stop_reading()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_upload, session)
            await trio.sleep(10)
            said = refusal(await link.come_again(link.new_agent()))
            assert said == "Whether it is alive cannot be told now."
            assert not link.lines("session ended")
            nursery.cancel_scope.cancel()
        session.agent.kill()
        session.controller.kill()
        await link.wait_until_over(1)


async def _upload(session: Session) -> None:
    while session.agent.end is None:
        await session.agent.send_command(command("", size=1_000_000))
