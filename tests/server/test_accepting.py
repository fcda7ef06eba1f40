"""Which sockets a worker accepts on, and that none is closed on somebody who waits."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.config.models import ListenerConfig
from gateway.config.values import Address
from gateway.server.accepting import Accepting, backlog
from gateway.transport.listeners import BoundListener, bind
from tests.shortage import no_descriptors

HOST = "127.0.0.1"


def listener() -> BoundListener:
    config = ListenerConfig(address=Address(HOST, 0))
    return BoundListener(config, trio.socket.from_stdlib_socket(bind(config)))


class Worker:
    """Accepts and says ``own`` or ``other`` to whoever comes; slower than clients come, if told."""

    def __init__(self, *, delay: float = 0.0) -> None:
        self.own, self.other = listener(), listener()
        self.accepting = Accepting([self.own], {1: {0: self.other}}, self._accept)
        self.accepted = 0
        self.may_accept = trio.Event()
        self.may_accept.set()
        self._delay = delay

    async def _accept(self, i: int, bound: BoundListener) -> None:
        assert i == 0
        word = b"own" if bound.port == self.own.port else b"other"
        with bound.socket:
            while True:
                await self.may_accept.wait()
                await trio.sleep(self._delay)
                connection, _ = await bound.socket.accept()
                # Connections live on when accepting ends.
                with connection, trio.move_on_after(5, shield=True):
                    self.accepted += 1
                    await connection.send(word)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    ports = worker.own.socket, worker.other.socket
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.accepting.run)
        yield worker
        nursery.cancel_scope.cancel()
    assert [sock.fileno() for sock in ports] == [-1, -1]


async def ask(port: int, *, within: float = 5.0) -> bytes | None:
    """Return what a client is told; None if nobody accepts it within that many seconds."""
    with trio.move_on_after(within):
        async with await trio.open_tcp_stream(HOST, port) as stream:
            return bytes(await stream.receive_some())
    return None


async def test_only_the_own_slot_is_accepted_on() -> None:
    async with running(Worker()) as worker:
        assert await ask(worker.own.port) == b"own"
        assert await ask(worker.other.port, within=0.1) is None


async def test_another_slot_is_taken_and_left() -> None:
    async with running(Worker()) as worker:
        port = worker.other.port
        worker.accepting.listen(1)
        worker.accepting.listen(1)
        worker.accepting.listen(7)  # not known
        assert await ask(port) == b"other"
        worker.accepting.unlisten(1)
        worker.accepting.unlisten(1)
        assert await ask(port, within=0.1) is None
        worker.accepting.listen(1)
        assert await ask(port) == b"other"
        assert await ask(worker.own.port) == b"own"


async def test_another_slot_is_taken_once_there_are_descriptors_for_it() -> None:
    async with running(Worker()) as worker:
        await trio.testing.wait_all_tasks_blocked()  # accepting on its own
        with capture_logs() as log, no_descriptors():
            worker.accepting.listen(1)
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.25)  # more than one try
            worker.accepting.unlisten(1)
            worker.accepting.listen(1)
            await trio.testing.wait_all_tasks_blocked()
        assert [line["log_level"] for line in log] == ["info", "warning"] * 2
        assert log[1]["reason"] == "too many open files"
        assert await ask(worker.other.port) == b"other"
        assert await ask(worker.own.port) == b"own"


async def test_whoever_waits_is_accepted_before_the_socket_is_closed() -> None:
    async with running(Worker(delay=0.01)) as worker:
        port = worker.own.port
        worker.may_accept = trio.Event()
        clients = [await trio.open_tcp_stream(HOST, port) for _ in range(20)]
        assert backlog(worker.own.socket) > 10
        worker.may_accept.set()
        await worker.accepting.finish()
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(HOST, port)
        for client in clients:
            assert await client.receive_some() == b"own"
            await client.aclose()
        await worker.accepting.finish()  # nothing is left to do
    assert worker.accepted == 20


async def test_another_slot_is_emptied_too_if_nobody_else_does() -> None:
    async with running(Worker(delay=0.01)) as worker:
        worker.accepting.listen(1)
        await trio.testing.wait_all_tasks_blocked()
        clients = [await trio.open_tcp_stream(HOST, worker.other.port) for _ in range(10)]
        await worker.accepting.finish()
        for client in clients:
            assert await client.receive_some() == b"other"
            await client.aclose()


async def test_a_crowd_that_never_ends_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.server.accepting.EMPTY_WITHIN", 0.05)
    async with (
        running(Worker(delay=3600)) as worker,
        await trio.open_tcp_stream(HOST, worker.own.port),
    ):
        with trio.fail_after(5):
            await worker.accepting.finish()


async def test_closing_leaves_those_who_wait_to_others_who_have_the_socket() -> None:
    worker = Worker(delay=3600)
    inherited = worker.own.socket.dup()
    async with running(worker), await trio.open_tcp_stream(HOST, worker.own.port) as client:
        worker.accepting.close()
        assert worker.own.socket.fileno() == -1
        with inherited:
            connection, _ = await inherited.accept()
            with connection:
                await connection.send(b"successor")
        assert await client.receive_some() == b"successor"


async def test_the_backlog_is_counted() -> None:
    bound = listener()
    assert backlog(bound.socket) == 0
    with socket.create_connection((HOST, bound.port)):
        assert backlog(bound.socket) == 1
        (await bound.socket.accept())[0].close()
        assert backlog(bound.socket) == 0
    bound.socket.close()
