"""Discovery's memory: who is asked when, and how old an answer may be."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from gateway.agents.discovery import FAILURE_TTL
from gateway.errors import ControllerTimeout, ControllerUnreachable
from tests.agents.discovering import by_url, fail_to_discover, running
from tests.peers import scripted_controller as scripted
from tests.peers.scripted_controller import ScriptedController, close, stay_silent


async def test_a_document_is_good_for_a_minute(clock: MockClock) -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        config = by_url(controller)
        for _ in range(3):
            await discovery.agent_port("main", config)
            await trio.sleep(19)
        assert len(controller.requests) == 1
        await trio.sleep(3.5)
        await discovery.agent_port("main", config)
        assert len(controller.requests) == 2


async def test_a_failure_is_remembered_for_a_second(clock: MockClock) -> None:
    controller = ScriptedController()
    controller.status = 503
    async with running(controller) as discovery:
        config = by_url(controller)
        for _ in range(5):
            await fail_to_discover(discovery, config)
        assert len(controller.requests) == 1
        controller.status = 200
        await trio.sleep(1)
        await discovery.agent_port("main", config)
        assert len(controller.requests) == 2


async def test_what_is_forgotten_is_asked_anew() -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        config = by_url(controller)
        await discovery.check_ready("main", config)
        await discovery.agent_port("other", config)
        discovery.forget("main")
        discovery.forget("never heard of")
        await discovery.check_ready("main", config)  # a storm of failures asks once a second
        assert len(controller.requests) == 2
        await trio.sleep(FAILURE_TTL)
        await discovery.check_ready("main", config)
        await discovery.agent_port("other", config)
    assert len(controller.requests) == 3
    assert len(controller.pings) == 2


async def test_another_controller_of_the_same_name_is_asked_anew(clock: MockClock) -> None:
    one, other = ScriptedController(), ScriptedController()
    async with running(one) as discovery, running(other):
        for controller in (one, one, other, other):
            port = await discovery.agent_port("main", by_url(controller))
            assert port.address.port == controller.agent_port
    assert (len(one.requests), len(other.requests)) == (1, 1)


async def test_controllers_that_are_gone_are_forgotten(clock: MockClock) -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        config = by_url(controller)
        for name in ("a", "b"):
            await discovery.check_ready(name, config)
        discovery.keep({"b", "c"})
        for cache in (discovery._ports, discovery._ready):
            assert list(cache._known) == list(cache._asking) == ["b"]
        await discovery.check_ready("b", config)
        assert len(controller.requests) == 2
        await discovery.check_ready("a", config)
        assert len(controller.requests) == 3


async def test_who_waits_shares_one_question() -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        config = by_url(controller)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(discovery.agent_port, "main", config)
                nursery.start_soon(discovery.check_ready, "main", config)
    assert len(controller.requests) == 1
    assert len(controller.pings) == 1


async def test_readiness_is_at_most_two_seconds_old(clock: MockClock) -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        config = by_url(controller)
        await discovery.check_ready("main", config)
        controller.on_ping = close
        await trio.sleep(1.9)
        await discovery.check_ready("main", config)
        await trio.sleep(0.1)
        with pytest.raises(ControllerUnreachable):
            await discovery.check_ready("main", config)
        assert len(controller.pings) == 2
        controller.on_ping = scripted.answer_ping
        await trio.sleep(1)
        await discovery.check_ready("main", config)


async def test_a_port_that_moved_is_found_again(clock: MockClock) -> None:
    """A ping that fails throws the document away, so that the next one looks where the port is."""
    controller = ScriptedController()
    real = ScriptedController()
    async with running(real), running(controller) as discovery:
        config = by_url(controller)
        controller.advertised_port = str(real.agent_port)
        await discovery.check_ready("main", config)
        real.on_ping = close
        controller.advertised_port = None
        await trio.sleep(2)
        with pytest.raises(ControllerUnreachable):
            await discovery.check_ready("main", config)
        await trio.sleep(1)
        await discovery.check_ready("main", config)
        assert len(controller.pings) == 1


async def test_silence_is_a_timeout(clock: MockClock) -> None:
    controller = ScriptedController()
    async with running(controller) as discovery:
        controller.on_ping = stay_silent
        started = trio.current_time()
        with pytest.raises(ControllerTimeout):
            await discovery.check_ready("main", by_url(controller))
        assert trio.current_time() - started == pytest.approx(5, abs=0.01)
        controller.on_request = stay_silent
        discovery.forget("main")
        with pytest.raises(ControllerTimeout):
            await discovery.agent_port("main", by_url(controller))
        assert trio.current_time() - started == pytest.approx(10, abs=0.01)


async def test_one_failure_raised_for_many_does_not_grow(clock: MockClock) -> None:
    """The same object is raised again and again; its traceback must not hold all their frames."""
    controller = ScriptedController()
    controller.status = 503
    async with running(controller) as discovery:
        lengths = set()
        for _ in range(20):
            error = await fail_to_discover(discovery, by_url(controller))
            length, trace = 0, error.__traceback__
            while trace is not None:
                length, trace = length + 1, trace.tb_next
            lengths.add(length)
    assert len(lengths) == 1
