"""Messages at rest: none half sent, none begun, and everything as before afterwards."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gateway.server.children import Child
from gateway.server.freezing import FREEZE, RELOAD_ENDS, frozen
from tests.server.played import PlayedWorker, played_child

Clock = trio.testing.MockClock


async def close(*pairs: tuple[Child, PlayedWorker]) -> None:
    for child, worker in pairs:
        await child.control.aclose()
        await worker.control.aclose()


async def test_nothing_is_sent_meanwhile(autojump_clock: Clock) -> None:
    reloading = trio.Lock()
    pair = child, worker = played_child()
    async with trio.open_nursery() as nursery:
        async with frozen(lambda: [child], reloading) as refusal:
            assert refusal is None
            assert reloading.locked()
            nursery.start_soon(child.tell, "listen")
            with trio.move_on_after(5) as scope:
                await worker.receive()
            assert scope.cancelled_caught
        await worker.expect("listen")
        assert not reloading.locked()
    await close(pair)


@pytest.mark.parametrize("ready", [True, False])
async def test_whoever_fails_inside_leaves_nothing_frozen(
    autojump_clock: Clock, *, ready: bool
) -> None:
    reloading = trio.Lock()
    pair = child, worker = played_child()
    with pytest.raises(LookupError):
        async with frozen(lambda: [child] * ready, reloading):
            raise LookupError
    with trio.move_on_after(1):
        async with frozen(lambda: [child] * ready, reloading):
            await trio.sleep_forever()
    assert not reloading.locked()
    assert await child.tell("listen")
    await worker.expect("listen")
    await close(pair)


async def test_a_worker_that_does_not_read(autojump_clock: Clock) -> None:
    reloading = trio.Lock()
    pairs = one, other = played_child(), played_child()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other[0].control.send, {"a": "x" * 10_000_000})
        await trio.sleep(0.1)
        began = trio.current_time()
        async with frozen(lambda: [one[0], other[0]], reloading) as refusal:
            assert refusal == f"worker {other[1].process.pid} does not take its messages"
        assert trio.current_time() - began == FREEZE
        nursery.cancel_scope.cancel()
    assert not reloading.locked()
    assert await one[0].tell("listen")
    await close(*pairs)


async def test_a_worker_that_is_started_meanwhile(autojump_clock: Clock) -> None:
    pairs = [played_child(), played_child()]
    (one, worker), (new, _) = pairs
    children = [one]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.control.send, {"type": "x" * 10_000_000})
        await trio.sleep(0.1)
        seen: list[str | None] = []

        async def leave() -> None:
            async with frozen(lambda: children, trio.Lock()) as refusal:
                seen.append(refusal)
                nursery.start_soon(new.tell, "start")
                with trio.move_on_after(1) as scope:
                    await pairs[1][1].receive()
                assert scope.cancelled_caught

        nursery.start_soon(leave)
        await trio.sleep(1)
        children.append(new)
        await worker.receive()
        await trio.sleep(0.5)
        assert seen == [None]
    await close(*pairs)


async def test_a_reload_that_does_not_end(autojump_clock: Clock) -> None:
    reloading = trio.Lock()
    async with reloading, trio.open_nursery() as nursery:

        async def leave() -> None:
            async with frozen(lambda: [], reloading) as refusal:
                assert refusal == "a reload is under way, and a worker does not answer it"

        began = trio.current_time()
        nursery.start_soon(leave)
        await trio.sleep(RELOAD_ENDS - 1)
        assert reloading.statistics().tasks_waiting == 1
        await trio.sleep(2)
        assert trio.current_time() - began == RELOAD_ENDS + 1
        assert reloading.statistics().tasks_waiting == 0
