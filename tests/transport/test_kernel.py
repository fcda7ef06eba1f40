"""Tests of ``gateway.transport.kernel``."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.transport import kernel


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        near.setblocking(False)
        yield near, far


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_what_waits_to_be_received(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    assert kernel.unread(near) == 0
    far.sendall(b"hello")
    wait_until(lambda: kernel.unread(near) == 5)


def test_what_the_peer_has_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    near.send(b"hello")
    wait_until(lambda: kernel.unacknowledged(near) == 0)
    assert kernel.unsent(near) == 0
    before = kernel.acknowledged(near)
    near.send(bytes(1000))
    wait_until(lambda: kernel.acknowledged(near) == before + 1000)


def test_what_the_peer_has_no_room_for(pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += near.send(bytes(100_000))
    wait_until(lambda: kernel.unsent(near) == kernel.unacknowledged(near) > 0)  # its window is shut
    assert sent - 1 <= kernel.acknowledged(near) + kernel.unacknowledged(near) <= sent + 1


def test_a_reset_is_seen_without_taking_it(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.sendall(b"last words")
    assert not kernel.is_gone(near)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: kernel.unread(near) == 10)
    far.close()
    wait_until(lambda: kernel.is_gone(near))
    assert near.recv(100) == b"last words"


def test_a_peer_that_has_only_said_all_is_not_gone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    far.shutdown(socket.SHUT_WR)
    near.setblocking(True)
    assert near.recv(1) == b""
    assert not kernel.is_gone(near)


def test_where_nobody_knows() -> None:
    """A Unix socket has no TCP state."""
    near, far = socket.socketpair()
    with near, far:
        assert not kernel.is_gone(near)
        with pytest.raises(OSError, match="not supported"):
            kernel.acknowledged(near)
    assert kernel.unread(near) == 0
