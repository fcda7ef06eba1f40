"""The pool: who gets which connection, who waits, and what is closed."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest
import trio
import trio.testing

from gateway.errors import ControllerUnreachable, LimitExceeded
from gateway.http.controller_connection import ControllerConnection, ControllerLimits
from gateway.http.pool import Pool, PoolLimits
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Headers
from tests.http.memory_stream import MemoryStream

OK = b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"
GET = RequestHead(b"GET", b"/", b"1.1", Headers([(b"Host", b"a")]))


class Maker:
    """Makes connections on memory streams."""

    def __init__(self) -> None:
        self.streams: list[MemoryStream] = []
        self.delay = 0.0
        self.fails = False

    async def __call__(self) -> ControllerConnection:
        await trio.sleep(self.delay)
        if self.fails:
            raise ControllerUnreachable(detail="refused")
        self.streams.append(MemoryStream())
        return ControllerConnection(self.streams[-1].as_stream(), ControllerLimits())

    @property
    def open(self) -> int:
        return sum(not stream.closed for stream in self.streams)


def make(
    size: int = 2, *, per_client: int = 64, wait: float = 5.0, idle_timeout: float = 20.0
) -> tuple[Pool, Maker]:
    maker = Maker()
    return Pool(maker, PoolLimits(size, per_client, wait, idle_timeout)), maker


async def use(pool: Pool, maker: Maker, *, repeatable: bool = True) -> ControllerConnection:
    """Do one exchange."""
    connection = await pool.acquire(repeatable=repeatable)
    await exchange(connection, maker)
    pool.release(connection)
    return connection


async def exchange(connection: ControllerConnection, maker: Maker) -> None:
    for stream in maker.streams:
        if stream.as_stream() is connection._stream:
            stream.feed(OK)
    await connection.send_request(GET, ended=True)
    await connection.receive_head()


async def test_a_connection_is_used_again() -> None:
    pool, maker = make()
    first = await use(pool, maker)
    assert repr(pool) == "<Pool 0 busy, 1 idle, 0 waiting>"
    assert await use(pool, maker) is first
    assert first.reused
    assert len(maker.streams) == 1


async def test_fresh_means_fresh() -> None:
    pool, maker = make()
    first = await use(pool, maker)
    second = await pool.acquire(repeatable=True, fresh=True)
    assert second is not first
    assert (pool.busy, pool.idle, pool.waiting) == (1, 1, 0)
    assert repr(pool) == "<Pool 1 busy, 1 idle, 0 waiting>"


async def test_the_one_used_last_is_used_next() -> None:
    pool, maker = make()
    a, b = [await pool.acquire(repeatable=True) for _ in range(2)]
    for connection in (b, a):
        await exchange(connection, maker)
        pool.release(connection)
    assert await use(pool, maker) is a


@pytest.mark.parametrize("arrived", [b"", b"HTTP/1.1 408 \r\n\r\n", b"RESET"])
async def test_a_connection_on_which_something_arrives_while_idle_is_dead(arrived: bytes) -> None:
    pool, maker = make()
    first = await use(pool, maker)
    maker.streams[0].feed(arrived)
    assert await use(pool, maker) is not first
    assert maker.streams[0].closed


async def test_a_connection_that_was_not_used_for_long_is_not_used_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool, maker = make(idle_timeout=20)
    first = await use(pool, maker)
    await trio.sleep(19.9)
    assert await use(pool, maker) is first
    await trio.sleep(20)
    assert await use(pool, maker) is not first
    pool.sweep()
    assert maker.open == 1


async def test_what_cannot_be_repeated_needs_a_connection_used_just_now(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool, maker = make()
    first = await use(pool, maker)
    await trio.sleep(3.9)
    assert await use(pool, maker, repeatable=False) is first
    await trio.sleep(4)
    assert await use(pool, maker, repeatable=False) is not first


async def test_sweeping_closes_what_died_and_keeps_the_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool, maker = make()
    a, b = [await pool.acquire(repeatable=True) for _ in range(2)]
    for connection in (a, b):
        await exchange(connection, maker)
        pool.release(connection)
    maker.streams[0].feed(b"")
    pool.sweep()
    assert [stream.closed for stream in maker.streams] == ["close", ""]
    await trio.sleep(20)
    pool.sweep()
    assert maker.open == 0


async def test_a_connection_in_the_middle_of_an_exchange_is_cut() -> None:
    pool, maker = make()
    connection = await pool.acquire(repeatable=True)
    await connection.send_request(GET, ended=True)
    pool.release(connection)
    assert maker.streams[0].closed == "abort"
    assert repr(pool) == "<Pool 0 busy, 0 idle, 0 waiting>"


async def test_whoever_came_first_gets_the_next_place(nursery: trio.Nursery) -> None:
    pool, maker = make(size=1)
    held = await pool.acquire(repeatable=True)
    order: list[int] = []

    async def wait(number: int) -> None:
        connection = await pool.acquire(repeatable=True)
        order.append(number)
        await exchange(connection, maker)
        pool.release(connection)

    for number in range(3 - 2):
        nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
    assert repr(pool) == "<Pool 1 busy, 0 idle, 1 waiting>"
    with pytest.raises(LimitExceeded):  # as many wait as there are places
        await pool.acquire(repeatable=True)
    await exchange(held, maker)
    pool.release(held)
    await trio.testing.wait_all_tasks_blocked()
    assert order == [0]
    assert len(maker.streams) == 1


async def test_a_place_in_vain(autojump_clock: trio.testing.MockClock) -> None:
    pool, _ = make(size=1, wait=5)
    await pool.acquire(repeatable=True)
    with pytest.raises(LimitExceeded):
        await pool.acquire(repeatable=True)
    assert trio.current_time() == 5
    assert repr(pool) == "<Pool 1 busy, 0 idle, 0 waiting>"


async def test_an_idle_connection_that_will_not_do_makes_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool, maker = make(size=1)
    first = await use(pool, maker)
    assert await pool.acquire(repeatable=True, fresh=True) is not first
    assert maker.streams[0].closed == "close"
    assert repr(pool) == "<Pool 1 busy, 0 idle, 0 waiting>"


async def test_who_cannot_connect_leaves_its_place_to_the_next(nursery: trio.Nursery) -> None:
    pool, maker = make(size=1)
    maker.fails, maker.delay = True, 0.01
    failures: list[str] = []

    async def attempt() -> None:
        try:
            await pool.acquire(repeatable=True)
        except ControllerUnreachable as error:
            failures.append(str(error))

    async with trio.open_nursery() as attempts:
        attempts.start_soon(attempt)
        attempts.start_soon(attempt)
    assert len(failures) == 2
    assert repr(pool) == "<Pool 0 busy, 0 idle, 0 waiting>"


@pytest.mark.parametrize("after", range(12))
async def test_places_survive_cancellation_at_any_moment(after: int) -> None:
    """Cancel one of several users after so many steps of the scheduler."""
    pool, maker = make(size=1)

    async def user() -> None:
        connection = await pool.acquire(repeatable=True, client="a")
        try:
            await exchange(connection, maker)
        finally:
            pool.release(connection)

    async with trio.open_nursery() as nursery:
        cancelled = trio.CancelScope()

        async def unlucky() -> None:
            with cancelled:
                await user()

        nursery.start_soon(unlucky)
        nursery.start_soon(user)
        for _ in range(after):
            await trio.lowlevel.checkpoint()
        cancelled.cancel()
    assert repr(pool) in {"<Pool 0 busy, 1 idle, 0 waiting>", "<Pool 0 busy, 0 idle, 0 waiting>"}
    await use(pool, maker)
    assert maker.open == 1
    assert pool._by_client == {}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("closing", [False, True])
async def test_who_is_cancelled_and_then_served_gives_it_back(
    nursery: trio.Nursery, size: int, closing: bool
) -> None:
    """All before it runs again."""
    pool, maker = make(size=size, per_client=1)
    held = await pool.acquire(repeatable=True, client="a")
    await exchange(held, maker)
    scope = trio.CancelScope()

    async def unlucky() -> None:
        with scope:
            await pool.acquire(repeatable=True, client="a")

    nursery.start_soon(unlucky)
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
    pool.release(held)
    assert repr(pool) == "<Pool 1 busy, 0 idle, 0 waiting>"
    if closing:
        pool.close()
    await trio.testing.wait_all_tasks_blocked()
    if closing:
        assert maker.open == 0
        return
    assert repr(pool) == "<Pool 0 busy, 1 idle, 0 waiting>"
    assert await pool.acquire(repeatable=True, client="a") is held


async def test_many_users_never_exceed_the_size(autojump_clock: trio.testing.MockClock) -> None:
    chance = random.Random(4)
    pool, maker = make(size=4, per_client=2, wait=1000)
    maker.delay = 0.01
    most = 0
    using: Counter[str | None] = Counter()

    async def user(client: str | None) -> None:
        nonlocal most
        for _ in range(20):
            try:
                connection = await pool.acquire(repeatable=chance.random() < 0.5, client=client)
            except LimitExceeded:
                continue
            using[client] += 1
            assert client is None or using[client] <= 2
            most = max(most, maker.open)
            await trio.sleep(chance.random())
            if chance.random() < 0.7:
                await exchange(connection, maker)
            pool.release(connection)
            using[client] -= 1
            await trio.sleep(chance.random() * 10)

    async with trio.open_nursery() as nursery:
        for client in (None, "a", "a", "a", "a", "b", "b"):
            nursery.start_soon(user, client)
    assert most == 4
    assert "0 busy" in repr(pool)
    assert pool._by_client == {}


# -- one client among others -----------------------------------------------------------------------


async def test_one_client_cannot_have_all(autojump_clock: trio.testing.MockClock) -> None:
    pool, _ = make(size=4, per_client=2, wait=5)
    for _ in range(2):
        await pool.acquire(repeatable=True, client="a")
    with pytest.raises(LimitExceeded, match=r"a has 2 of .*per_client") as caught:
        await pool.acquire(repeatable=True, client="a")
    assert caught.value.public == "too many requests at once from your address"
    assert trio.current_time() == 5
    for client in ("b", None):
        await pool.acquire(repeatable=True, client=client)
    with pytest.raises(LimitExceeded, match="4 connections are in use"):
        await pool.acquire(repeatable=True, client="c")


async def test_who_has_enough_is_passed_over_until_it_gives_something_back(
    nursery: trio.Nursery,
) -> None:
    pool, maker = make(size=2, per_client=1)
    first = await pool.acquire(repeatable=True, client="a")
    other = await pool.acquire(repeatable=True, client="b")
    served: list[str] = []

    async def wait(client: str) -> None:
        await pool.acquire(repeatable=True, client=client)
        served.append(client)

    for client in ("a", "c"):
        nursery.start_soon(wait, client)
        await trio.testing.wait_all_tasks_blocked()
    for connection, expected in ((other, ["c"]), (first, ["c", "a"])):
        await exchange(connection, maker)
        pool.release(connection)
        await trio.testing.wait_all_tasks_blocked()
        assert served == expected


async def test_one_client_cannot_have_the_whole_queue(nursery: trio.Nursery) -> None:
    pool, _ = make(size=4, per_client=2)
    for _ in range(4):
        await pool.acquire(repeatable=True)
    for _ in range(2):
        nursery.start_soon(partial(pool.acquire, repeatable=True, client="a"))
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(LimitExceeded, match="per_client"):
        await pool.acquire(repeatable=True, client="a")
    nursery.start_soon(partial(pool.acquire, repeatable=True, client="b"))
    await trio.testing.wait_all_tasks_blocked()
    assert repr(pool) == "<Pool 4 busy, 0 idle, 3 waiting>"
    nursery.cancel_scope.cancel()


async def test_a_connection_that_fails_costs_its_client_nothing() -> None:
    pool, maker = make(per_client=1)
    maker.fails = True
    for _ in range(3):
        with pytest.raises(ControllerUnreachable):
            await pool.acquire(repeatable=True, client="a")


async def test_closing_dead_connections_holds_nobody_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nor can being cancelled just then lose a place."""
    pool, maker = make(size=3)
    held = [await pool.acquire(repeatable=True) for _ in range(3)]
    for connection in held:
        await exchange(connection, maker)
        pool.release(connection)
    for stream in maker.streams:
        stream.feed(b"")
        stream.blocked = True
    with trio.CancelScope() as scope:
        scope.cancel()
        await pool.acquire(repeatable=True)
    assert scope.cancelled_caught
    assert repr(pool) == "<Pool 0 busy, 0 idle, 0 waiting>"
    assert await pool.acquire(repeatable=True) not in held
    assert trio.current_time() == 0


async def test_a_closed_pool_keeps_nothing() -> None:
    pool, maker = make()
    await use(pool, maker)
    held = await pool.acquire(repeatable=True, fresh=True)
    pool.close()
    assert maker.streams[0].closed == "close"
    await exchange(held, maker)
    pool.release(held)
    assert maker.open == 0
