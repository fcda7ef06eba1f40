"""The proxy on a clock that tests move: what depends on seconds, and on who is faster.

Controllers are memory streams that answer what is sent to them.
"""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from gateway.config.values import Address
from gateway.http.connection import serve_connection
from gateway.http.controller_connection import ControllerConnection, ControllerLimits
from gateway.http.proxy import Proxy
from gateway.http.upstream import Upstream, Upstreams
from tests.http.memory_stream import MemoryStream
from tests.http.serving import make_config, served

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Httpd(MemoryStream):
    """A server that closes 5 s after its last answer, and the news of it takes a while."""

    PATIENCE = 5.0
    LAG = 0.3

    def __init__(self) -> None:
        super().__init__()
        self.patient_until = float("inf")
        self.lost = 0

    def send_nowait(self, data: bytes) -> bool:
        if trio.current_time() >= self.patient_until:
            self.lost += 1
            self.feed(b"")
        else:
            self.feed(OK)
            self.patient_until = trio.current_time() + self.PATIENCE
        return True

    def has_input(self) -> bool:
        return super().has_input() or trio.current_time() >= self.patient_until + self.LAG


async def serve(client: MemoryStream, controller: type[MemoryStream]) -> list[MemoryStream]:
    """Serve ``client``; return the connections that were made to the controller."""
    made: list[MemoryStream] = []

    class Memory(Upstream):
        async def connect(
            self, address: Address, greeting: bytes | None = None
        ) -> ControllerConnection:
            made.append(controller())
            return ControllerConnection(made[-1].as_stream(), ControllerLimits())

    config = make_config()
    upstreams = Upstreams(config)
    upstreams._by_name["main"] = Memory("main", config.controllers["main"])
    await serve_connection(client.as_stream(), served(config, Proxy(upstreams).forward))
    return made


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_no_request_is_lost_to_a_connection_that_is_being_closed(
    method: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """What can be repeated may meet one, what cannot must not."""
    chance = random.Random(7)
    client = MemoryStream()
    request = b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % method
    made: list[MemoryStream] = []

    async def ask() -> None:
        for _ in range(500):
            client.feed(request)
            await trio.sleep(chance.uniform(0, 7))
        client.feed(b"")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        made += await serve(client, Httpd)
    assert client.sent.count(b"HTTP/1.1 ") == client.sent.count(b"HTTP/1.1 200 ") == 500
    assert 10 < len(made) < 300  # many were used again
    lost = sum(each.lost for each in made if isinstance(each, Httpd))
    assert lost == 0 if method == b"POST" else lost > 0


async def test_a_body_is_given_10_seconds_before_its_rate_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client = MemoryStream(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n")
    answered = 0.0

    async def trickle() -> None:
        nonlocal answered
        while not client.sent:
            await trio.sleep(3)
            client.feed(b"x")
            await trio.testing.wait_all_tasks_blocked()
        answered = trio.current_time()
        client.feed(b"")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        await serve(client, MemoryStream)
    assert client.sent.startswith(b"HTTP/1.1 408 ")
    assert answered == 12  # the first byte after 10 s
