"""Two thousand connections that say nothing, or as little as keeps them from being called silent.

The only tests here that wait for the gateway's own limits, and these are real seconds: 10 for a TLS
handshake, 15 for a request head. Everything waits at the same time, so it takes as long as the
longest.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.hostile.site import SESSIONS, Site, client_hello, read_to_end, request_for, running_site
from tests.process_watch import MIB, allow_descriptors

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SILENT_TLS: Final = 1000
SILENT_PLAIN: Final = 1000
IN_TLS: Final = 300  # have sent a ClientHello, or half of one
DRIPPING: Final = 100  # a byte of a head now and then
# One address may have limits.connections_per_address, which is 2048 by default.
_ELSEWHERE: Final = "127.0.0.2"
# What may be left of a crowd's 85 MiB: what a first few requests take, which there are none of
# before it, and fragments (measured: 6 MiB).
RETURNED: Final = 10 * MIB
_LIMIT: Final = 40.0  # seconds, for a busy machine; the gateway's own are 10 and 15


class _Crowd:
    """Connections that wait for the gateway to end them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._connecting = trio.CapacityLimiter(100)
        self.answers: list[bytes] = []

    async def stay(self, port: int, said: bytes = b"", *, near: str = "127.0.0.1") -> None:
        """Connect, say ``said`` and nothing more, and wait for the end."""
        async with self._connecting:
            stream = await self._site.connect(port, near=near)
        async with stream:
            await stream.send_all(said)
            await self._wait_for_the_end(stream)

    async def drip(self, port: int, head: bytes) -> None:
        """Send a byte of ``head`` twice a second."""
        connecting = self._site.connect(port, near=_ELSEWHERE)
        async with await connecting as stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._drip, stream, head)
            await self._wait_for_the_end(stream)
            nursery.cancel_scope.cancel()

    async def _drip(self, stream: trio.SocketStream, head: bytes) -> None:
        for position in range(len(head) - 1):
            try:
                await stream.send_all(head[position : position + 1])
            except trio.BrokenResourceError:
                return
            await trio.sleep(0.5)

    async def _wait_for_the_end(self, stream: trio.SocketStream) -> None:
        self.answers.append(await read_to_end(stream, within=_LIMIT))


@pytest.mark.slow
async def test_two_thousand_connections_that_say_nothing(tmp_path: Path) -> None:
    allow_descriptors(4096)
    hello = client_hello()
    async with running_site(tmp_path) as site:
        log, watch = site.gateway.log, site.gateway.watch
        before = watch.memory
        crowd = _Crowd(site)
        async with trio.open_nursery() as nursery:
            for number in range(IN_TLS):
                said = hello if number % 2 else hello[:100]
                nursery.start_soon(partial(crowd.stay, site.tls_port, said, near=_ELSEWHERE))
            for _ in range(DRIPPING):
                nursery.start_soon(crowd.drip, site.plain_port, request_for("nobody", "5ec7e7"))
            for _ in range(SILENT_TLS):
                nursery.start_soon(crowd.stay, site.tls_port)
            for _ in range(SILENT_PLAIN):
                nursery.start_soon(crowd.stay, site.plain_port)
            total = IN_TLS + DRIPPING + SILENT_TLS + SILENT_PLAIN
            await watch.wait_for_descriptors(site.descriptors + total)
            during = watch.memory
            # Nobody else notices.
            await site.check_healthy()
            channel = await site.open_session()
            await channel.close()
        await watch.wait_for_descriptors(site.descriptors)
        print(
            f"memory MiB: before {before / MIB:.1f}, with {total} connections {during / MIB:.1f},"
            f" {(during - before) / total / 1024:.0f} KiB each"
        )
        failed = await log.wait_for("tls handshake failed", count=IN_TLS + SILENT_TLS)
        assert {line["reason"] for line in failed} == {"no TLS handshake within 10 s"}
        too_late = await log.wait_for("request refused", count=DRIPPING, status=408)
        assert {line["reason"] for line in too_late} == {
            "the request did not arrive in time: no whole head in 15 s"
        }
        assert sum(answer.startswith(b"HTTP/1.1 408 ") for answer in crowd.answers) == DRIPPING
        assert during - before < total * 64 * 1024
        await site.check_service()
        await watch.wait_for_memory(before + RETURNED, within=20.0)
        # A crowd that is gone before anybody's limit counts as well, and the next costs no more.
        await _come_and_go(site, total)
        await watch.wait_for_memory(before + RETURNED, within=20.0)


async def _come_and_go(site: Site, count: int) -> None:
    """Open ``count`` connections at once, and end them before the gateway does."""
    go = trio.Event()

    async def stay(port: int, near: str, said: bytes) -> None:
        async with await site.connect(port, near=near) as stream:
            await stream.send_all(said)
            await go.wait()

    hello = client_hello()
    async with trio.open_nursery() as nursery:
        for number in range(count):
            port = (site.plain_port, site.tls_port)[number % 2]
            near = ("127.0.0.1", _ELSEWHERE)[number % 8 // 4]
            nursery.start_soon(stay, port, near, hello if number % 4 == 1 else b"")
        await site.gateway.watch.wait_for_descriptors(site.descriptors + count)
        await site.check_healthy()
        go.set()
    await site.gateway.watch.wait_for_descriptors(site.descriptors)


async def test_agents_that_come_and_go_before_their_answer(tmp_path: Path) -> None:
    """Leave while the gateway asks the controller, or just after: accounted for, nothing held."""
    async with running_site(tmp_path) as site:

        async def leave(delay: float) -> None:
            name, secret = site.new_node("hostile")
            stream = await site.connect_tls()
            async with stream.transport_stream:
                await stream.send_all(request_for(name, secret))
                await trio.sleep(delay)

        async def one_round() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(leave, number / 2000)

        await site.endure(one_round, rounds=5, warm_up=5, tolerance=SESSIONS)
        log = site.gateway.log
        assert log.find("request refused", status=499)
        started, ended = (
            sorted(line["session"] for line in log.find(event) if "hostile" in line["node"])
            for event in ("session started", "session ended")
        )
        assert started == ended
