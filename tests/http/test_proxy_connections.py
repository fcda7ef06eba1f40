"""The proxy and connections that are kept: reuse, repetition, time limits, the CLI's pair."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, suppress

import pytest
import trio

from gateway.http import proxy as proxy_module
from gateway.http.client_limits import ClientLimits
from tests.http.serving import start_proxy
from tests.peers.raw_client import RawClient
from tests.peers.raw_origin import OriginConnection, RawOrigin, Script

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def start_origin(nursery: trio.Nursery, script: Script) -> RawOrigin:
    origin: RawOrigin = await nursery.start(RawOrigin(script).run)
    return origin


def keeping(answer: bytes) -> Script:
    """Return a script that answers every request of a connection."""

    async def script(connection: OriginConnection) -> None:
        while connection.buffer or await connection.receive():
            await connection.read_request()
            await connection.send(answer)

    return script


def closing_after(answers: int, then: bytes = b"") -> Script:
    """Return a script that takes one more request than it answers."""

    async def script(connection: OriginConnection) -> None:
        for _ in range(answers):
            await connection.read_request()
            await connection.send(OK)
        await connection.read_request()
        await connection.send(then)

    return script


async def test_clients_share_connections_one_after_the_other(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, keeping(OK))
    port = await start_proxy(nursery, origin.port)
    for _ in range(3):
        async with await RawClient.connect(port) as client:
            for _ in range(3):
                assert (await client.ask(GET)).body == b"hi"
    assert len(origin.requests) == 9
    assert len(origin.connections) == 1
    assert all(request.get(b"connection") is None for request in origin.requests)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 204 \r\n\r\n",
        b"HTTP/1.1 304 \r\nETag: x\r\nContent-Length: 500\r\n\r\n",
    ],
)
async def test_answers_of_every_framing_leave_the_connection_usable(
    answer: bytes, nursery: trio.Nursery
) -> None:
    origin = await start_origin(nursery, keeping(answer))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        for _ in range(3):
            assert (await client.ask(GET)).status == int(answer[9:12])
    assert len(origin.connections) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
    ],
)
async def test_a_connection_is_not_used_again_when_it_must_not(
    answer: bytes, nursery: trio.Nursery
) -> None:
    origin = await start_origin(nursery, keeping(answer))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        for _ in range(3):
            assert (await client.ask(GET)).body == b"hi"
    assert len(origin.connections) == 3


async def test_an_early_answer_costs_the_connection(nursery: trio.Nursery) -> None:
    async def early(connection: OriginConnection) -> None:
        await connection.read_head()
        await connection.send(OK)
        await connection.wait_for_end()

    origin = await start_origin(nursery, early)
    port = await start_proxy(nursery, origin.port)
    for _ in range(2):
        async with await RawClient.connect(port) as client:
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhal")
            assert (await client.read_answer()).body == b"hi"
    assert len(origin.connections) == 2


# -- once more -------------------------------------------------------------------------------------


async def test_a_request_that_met_a_closing_connection_is_sent_once_more(
    nursery: trio.Nursery,
) -> None:
    origin = await start_origin(nursery, closing_after(1))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        for method in (b"GET", b"GET", b"OPTIONS", b"HEAD"):
            answer = await client.ask(b"%s /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (method, method))
            assert answer.status == 200
    assert len(origin.requests) == 7  # every one but the first came twice


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        b"DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_may_have_happened_is_not_done_twice(
    request_: bytes, nursery: trio.Nursery
) -> None:
    origin = await start_origin(nursery, closing_after(1))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        assert (await client.ask(GET)).status == 200
        assert (await client.ask(request_)).status == 502
    assert len(origin.requests) == 2


async def test_nothing_is_sent_again_once_an_answer_has_begun(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, closing_after(1, b"HTTP/1.1 200 "))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        assert (await client.ask(GET)).status == 200
        assert (await client.ask(GET)).status == 502
    assert len(origin.requests) == 2


async def test_a_fresh_connection_that_fails_is_not_tried_again(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, closing_after(0))
    port = await start_proxy(nursery, origin.port)
    async with await RawClient.connect(port) as client:
        assert (await client.ask(GET)).status == 502
    assert len(origin.requests) == 1


@pytest.mark.slow
async def test_an_origin_that_closes_idle_connections_at_random_causes_no_error(
    nursery: trio.Nursery,
) -> None:
    """Thousands of requests, pauses that end when the origin's patience does."""
    chance = random.Random(20)

    async def impatient(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(OK)
        while True:
            with trio.move_on_after(chance.expovariate(1 / 0.004)) as patience:
                if not connection.buffer and not await connection.receive():
                    return
            if patience.cancelled_caught:
                return
            await connection.read_request()
            await connection.send(OK)

    origin = await start_origin(nursery, impatient)
    port = await start_proxy(nursery, origin.port)
    statuses: list[int] = []

    async def ask() -> None:
        async with await RawClient.connect(port) as client:
            for _ in range(400):
                statuses.append((await client.ask(GET)).status)
                await trio.sleep(chance.expovariate(1 / 0.004))

    async with trio.open_nursery() as clients:
        for _ in range(8):
            clients.start_soon(ask)
    assert statuses == [200] * 3200
    assert len(origin.connections) > 300  # it did close them
    assert len(origin.connections) < len(origin.requests)  # and they were used again


# -- one client among others -----------------------------------------------------------------------


async def test_one_client_that_takes_nothing_leaves_connections_to_others(
    nursery: trio.Nursery,
) -> None:
    async def jenkins(connection: OriginConnection) -> None:
        request = await connection.read_request()
        if not request.line.startswith(b"GET /endless"):
            await connection.send(OK)
            return
        await connection.send(b"HTTP/1.1 200 \r\n\r\n")
        while True:
            await connection.send(bytes(100_000))

    origin = await start_origin(nursery, jenkins)
    port = await start_proxy(
        nursery,
        origin.port,
        trusted_proxies=["127.0.0.1/32"],
        controller={"connections": {"limit": 4, "per_client": 2, "connect_timeout": 0.1}},
    )
    request = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n"
    greedy = [b"X-Forwarded-For: 2001:db8::%d\r\n" % i for i in range(3)]  # one /64 is one client
    async with AsyncExitStack() as open_clients:
        for origin_of in greedy[:2]:
            client = await open_clients.enter_async_context(await RawClient.connect(port))
            await client.send(request % (b"/endless", origin_of))
            await client.read_head()
        async with await RawClient.connect(port) as client:
            answer = await client.ask(request % (b"/", greedy[2]))
            assert answer.status == 503
            assert answer.get(b"x-gateway-error") == b"too many requests at once from your address"
            for other in (b"X-Forwarded-For: 192.0.2.1\r\n", b""):
                assert (await client.ask(request % (b"/", other))).body == b"hi"
        for _ in range(2):  # who is trusted speaks for many, and may have what there is
            client = await open_clients.enter_async_context(await RawClient.connect(port))
            await client.send(request % (b"/endless", b""))
            await client.read_head()
        async with await RawClient.connect(port) as client:
            answer = await client.ask(request % (b"/", b""))
            assert answer.get(b"x-gateway-error") == b"the controller is busy"


async def test_a_client_that_takes_nothing_is_cut_off(nursery: trio.Nursery) -> None:
    given_up = trio.Event()

    async def endless(connection: OriginConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 \r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while True:
                await connection.send(bytes(100_000))
        given_up.set()

    origin = await start_origin(nursery, endless)
    port = await start_proxy(nursery, origin.port, limits=ClientLimits(send_timeout=0.2))
    async with await RawClient.connect(port) as client:
        await client.send(GET)
        await client.read_head()
        with trio.fail_after(20):
            await given_up.wait()


# -- time limits -----------------------------------------------------------------------------------


async def silent(connection: OriginConnection) -> None:
    await connection.read_head()
    await connection.wait_for_end()


async def test_the_answer_is_waited_for_as_long_as_the_route_says(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, silent)
    port = await start_proxy(nursery, origin.port, route={"response_timeout": 0.05})
    async with await RawClient.connect(port) as client:
        assert (await client.ask(GET)).status == 504


# -- addresses that fail ---------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [silent, closing_after(0), closing_after(0, b"nonsense\r\n")])
async def test_an_address_that_accepts_and_never_answers_is_ejected(
    failing: Script, nursery: trio.Nursery
) -> None:
    bad = await start_origin(nursery, failing)
    good = await start_origin(nursery, keeping(OK))
    port = await start_proxy(
        nursery,
        bad.port,
        route={"response_timeout": 0.05},
        controller={
            "addresses": [f"127.0.0.1:{each.port}" for each in (bad, good)],
            "ejection": {"failures": 3},
            "health_check": {"interval": 3600.0},
        },
    )
    async with await RawClient.connect(port) as client:
        statuses = [(await client.ask(GET)).status for _ in range(5)]
    assert statuses == [504 if failing is silent else 502] * 3 + [200] * 2


async def test_one_answer_in_between_forgives_failures(nursery: trio.Nursery) -> None:
    async def moody(connection: OriginConnection) -> None:
        request = await connection.read_request()
        if request.line.startswith(b"GET /good"):
            await connection.send(b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n")

    origins = [await start_origin(nursery, moody) for _ in range(2)]
    port = await start_proxy(
        nursery,
        origins[0].port,
        controller={
            "addresses": [f"127.0.0.1:{each.port}" for each in origins],
            "ejection": {"failures": 2},
            "health_check": {"interval": 3600.0},
        },
    )
    async with await RawClient.connect(port) as client:
        for path in (b"/bad", b"/good", b"/bad", b"/good", b"/bad"):
            answer = await client.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            assert answer.status == (500 if path == b"/good" else 502)
    assert [request for request in origins[1].requests if b"/login" not in request.line] == []


# -- slow bodies -----------------------------------------------------------------------------------


async def test_a_body_that_trickles_is_refused(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "BODY_GRACE", 0.0)
    origin = await start_origin(nursery, silent)
    port = await start_proxy(nursery, origin.port, route={"minimum_body_rate": 1 << 30})
    async with await RawClient.connect(port) as client:
        await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        await origin_has(origin, 1)
        await client.send(b"x")
        assert (await client.read_answer()).status == 408


async def test_no_minimum(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "BODY_GRACE", 0.0)
    origin = await start_origin(nursery, keeping(OK))
    port = await start_proxy(nursery, origin.port, route={"minimum_body_rate": 0})
    async with await RawClient.connect(port) as client:
        await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        for _ in range(2):
            await trio.sleep(0.01)
            await client.send(b"x")
        assert (await client.read_answer()).status == 200


async def origin_has(origin: RawOrigin, count: int) -> None:
    with trio.fail_after(10):
        while len(origin.requests) < count:  # noqa: ASYNC110 - the origin has no event for it
            await trio.sleep(0.005)


# -- the CLI's full-duplex pair (PROTOCOLS E.3) ----------------------------------------------------


# For an answer, where 0.05 s are allowed: what is waited for is looked at every half second.
TOO_LONG = 0.8


async def test_the_command_line_interface_works_through_the_proxy(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "BODY_GRACE", 0.0)
    download: list[OriginConnection] = []
    ready = trio.Event()

    async def jenkins(connection: OriginConnection) -> None:
        head = await connection.read_head()
        if head.get(b"side") == b"download":
            download.append(connection)
            await connection.send(
                b"HTTP/1.1 200 OK\r\nHudson-Duplex: true\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"1\r\n\x00\r\n"
            )
            ready.set()
            await connection.wait_for_end()
            return
        await ready.wait()
        while chunk := await connection.read_chunk():
            await download[0].send(b"%x\r\n%b\r\n" % (len(chunk), chunk))  # echo
        await download[0].send(b"0\r\n\r\n")
        await trio.sleep(TOO_LONG)
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    origin = await start_origin(nursery, jenkins)
    port = await start_proxy(
        nursery,
        origin.port,
        prefix="/jenkins",
        route={"response_timeout": 0.05, "minimum_body_rate": 1 << 30},
    )
    post = b"POST /jenkins/cli?remoting=false HTTP/1.1\r\nHost: a\r\nSession: s\r\nSide: %b\r\n"
    async with await RawClient.connect(port) as down, await RawClient.connect(port) as up:
        await down.send(post % b"download" + b"Content-Length: 0\r\n\r\n")
        assert (await down.read_head()).get(b"hudson-duplex") == b"true"
        assert await down.read_chunk() == b"\x00"
        await up.send(post % b"upload" + b"Transfer-Encoding: chunked\r\n\r\n")
        for word in (b"who", b"am", b"i"):
            await trio.sleep(0.05)  # each pause alone would be too long elsewhere
            await up.send(b"%x\r\n%b\r\n" % (len(word), word))
            assert await down.read_chunk() == word
        await up.send(b"0\r\n\r\n")
        assert await down.read_chunk() == b""
        assert (await up.read_answer()).status == 200


async def test_only_the_upload_of_a_command_has_no_time_limit(nursery: trio.Nursery) -> None:
    origin = await start_origin(nursery, silent)
    port = await start_proxy(nursery, origin.port, route={"response_timeout": 0.05})
    for line in (b"GET /cli", b"POST /cli", b"POST /cli/", b"POST /x/cli"):
        async with await RawClient.connect(port) as client:
            answer = await client.ask(line + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            assert answer.status == 504
