"""Upkeep follows the configuration, and connections go over to the next one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.config.models import GatewayConfig
from gateway.errors import ControllerUnreachable
from gateway.http.upkeep import Upkeep
from gateway.http.upstream import Upstream, Upstreams
from gateway.protocol.http_head import RequestHead
from gateway.protocol.http_headers import Headers
from tests import certificates
from tests.http.serving import make_config
from tests.peers.raw_origin import OriginConnection, RawOrigin

GET = RequestHead(b"GET", b"/", b"1.1", Headers([(b"Host", b"a")]))


async def answer_all(connection: OriginConnection) -> None:
    with suppress(AssertionError):  # it ended between requests
        while True:
            await connection.read_request()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def several(port: int, **more: Any) -> GatewayConfig:
    url = f"http://127.0.0.1:{port}/"
    return make_config(controllers={"main": {"url": url}, "other": {"url": url, **more}}, routes=[])


async def exchange(upstream: Upstream) -> None:
    lease = await upstream.acquire(repeatable=True)
    await lease.connection.send_request(GET, ended=True)
    await lease.connection.receive_head()
    upstream.release(lease)


def of(upstreams: Upstreams, name: str) -> Upstream:
    found = upstreams.get(name)
    assert found is not None
    return found


async def test_connections_to_what_is_the_same_go_over() -> None:
    origin = RawOrigin(answer_all)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        old = Upstreams(several(origin.port))
        upkeep = Upkeep(old)
        nursery.start_soon(upkeep.run)
        await exchange(of(old, "main"))
        await exchange(of(old, "other"))
        new = Upstreams(several(origin.port, connections={"limit": 7}), old)
        assert of(new, "main") is of(old, "main")
        assert of(new, "other") is not of(old, "other")
        upkeep.change(new)
        await exchange(of(new, "main"))
        await origin.connections[1].ended.wait()  # that of the old other one
        assert len(origin.connections) == 2
        await exchange(of(new, "other"))
        assert len(origin.connections) == 3
        assert not origin.connections[0].ended.is_set()
        nursery.cancel_scope.cancel()


async def test_what_is_under_way_ends_and_takes_its_connection_with_it() -> None:
    origin = RawOrigin(answer_all)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        old = Upstreams(several(origin.port))
        upkeep = Upkeep(old)
        nursery.start_soon(upkeep.run)
        await trio.testing.wait_all_tasks_blocked()
        lease = await of(old, "other").acquire(repeatable=True)
        await lease.connection.send_request(GET, ended=True)
        upkeep.change([of(old, "main")])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await lease.connection.receive_head()).status == 200
        of(old, "other").release(lease)
        await origin.connections[0].ended.wait()
        await exchange(of(old, "other"))  # one that was about to begin
        await origin.connections[1].ended.wait()
        nursery.cancel_scope.cancel()


async def test_checks_begin_and_end_with_the_configuration(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        upkeep = Upkeep(Upstreams(several(9)))
        nursery.start_soon(upkeep.run)
        await trio.testing.wait_all_tasks_blocked()
        idle = trio.lowlevel.current_statistics().tasks_living
        previous = None
        for _ in range(50):
            previous = Upstreams(several(9, health_check={}), previous)
            upkeep.change(previous)
            await trio.sleep(60)
            checking = trio.lowlevel.current_statistics().tasks_living
            assert checking == idle + 1
        upkeep.change(Upstreams(several(9), previous))
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == idle
        nursery.cancel_scope.cancel()


def test_other_contents_of_the_same_files_count_as_a_change(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    certificates.authority().cert_pem.write_to_path(str(ca_file))
    config = make_config("https://jenkins.test/", controller={"tls": {"ca_file": str(ca_file)}})
    old = Upstreams(config)
    assert of(Upstreams(config, old), "main") is of(old, "main")
    ca_file.write_bytes(ca_file.read_bytes() * 2)
    assert of(Upstreams(config, old), "main") is not of(old, "main")


async def test_a_controller_of_before_can_still_be_asked() -> None:
    """An agent's handshake that began before the reload discovers its controller after it."""
    origin = RawOrigin(answer_all)
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        old, new = several(origin.port, connections={"limit": 7}), several(origin.port)
        head, _ = await Upstreams(new).fetch("other", old.controllers["other"], "/")
        assert head.status == 200
        gone = make_config("https://a.test/", controller={"tls": {"ca_file": "/nowhere.pem"}})
        with pytest.raises(ControllerUnreachable, match=r"/nowhere\.pem"):
            await Upstreams(new).fetch("main", gone.controllers["main"], "/")
        nursery.cancel_scope.cancel()
