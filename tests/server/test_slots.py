"""Listening sockets by slot, and who accepts where."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.config.models import ListenerConfig
from gateway.config.values import Address
from gateway.errors import ConfigError
from gateway.server.slots import Listener, Slots, bind_slots, cover

HOST = "127.0.0.1"


def listener(port: int = 0) -> ListenerConfig:
    return ListenerConfig(address=Address(HOST, port))


@contextmanager
def bound(*args: object, **more: object) -> Iterator[Slots]:
    slots = bind_slots(*args, **more)  # type: ignore[arg-type]
    try:
        yield slots
    finally:
        slots.close()


def free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_each_slot_has_a_socket_on_each_address() -> None:
    with bound([listener(), listener()], 3) as slots:
        assert slots.count == 3
        first, second = slots.listeners
        assert len({port_of(sock) for sock in first.sockets}) == 1
        assert slots.addresses == [str(first.bound), str(second.bound)]
        assert first.bound != second.bound
        fds = [fd for slot in range(3) for fd in slots.descriptors(slot)]
        assert len(set(fds)) == 6
        assert slots.descriptors(1) == [first.sockets[1].fileno(), second.sockets[1].fileno()]
        assert slots.own_descriptors(2) == dict(enumerate(slots.descriptors(2)))
        assert not slots.is_shared()


def test_the_kernel_spreads_connections_over_the_slots() -> None:
    with bound([listener()], 2) as slots:
        (each,) = slots.listeners
        clients = [socket.create_connection((HOST, each.bound.port)) for _ in range(64)]
        taken = [0, 0]
        for i, sock in enumerate(each.sockets):
            try:
                while True:
                    sock.accept()[0].close()
                    taken[i] += 1
            except BlockingIOError:
                pass
        for client in clients:
            client.close()
    assert sum(taken) == 64
    assert all(taken)  # none by chance: once in 2**63 runs


def test_nothing_is_bound_where_one_cannot_be() -> None:
    port = free_port()
    with (
        socket.create_server((HOST, 0)) as other,
        pytest.raises(ConfigError, match="Another program has this port"),
    ):
        bind_slots([listener(port), listener(port_of(other))], 2)
    with bound([listener(port)], 2):
        pass


def test_a_port_that_another_gateway_shares_with_itself_is_refused() -> None:
    with bound([listener()], 2) as slots:
        port = slots.listeners[0].bound.port
        with pytest.raises(ConfigError, match="address already in use"):
            bind_slots([listener(port)], 2)


def test_what_is_there_already_is_taken_over() -> None:
    with bound([listener(), listener(free_port())], 2) as slots:
        first, second = slots.listeners
        fds = slots.descriptors(0)
        new = listener(free_port())
        configs = [new, listener(second.bound.port), listener()]
        again = bind_slots(configs, 3, kept=slots.listeners)
        assert again.listeners[1] is second
        assert again.listeners[2] is first
        assert again.descriptors(0)[1:] == [fds[1], fds[0]]
        assert {len(each.sockets) for each in again.listeners} == {3}
        again.close()


def test_fewer_workers_keep_all_slots_and_listeners_that_are_gone_are_closed() -> None:
    with bound([listener(), listener(free_port())], 3) as slots:
        first, second = slots.listeners
        again = bind_slots([listener()], 1, kept=slots.listeners)
        assert again.listeners == [first]
        assert again.count == 3
        assert second.sockets[0].fileno() == -1


def test_what_cannot_be_bound_leaves_what_is_there_as_it_was() -> None:
    with bound([listener()], 1) as slots, socket.create_server((HOST, 0)) as other:
        with pytest.raises(ConfigError):
            bind_slots([listener(), listener(port_of(other))], 3, kept=slots.listeners)
        assert slots.count == 1
        assert slots.listeners[0].sockets[0].fileno() != -1


def test_a_shared_socket_serves_every_slot() -> None:
    passed = socket.create_server((HOST, 0))
    address = f"{HOST}:{port_of(passed)}"
    kept = [Listener(address, [passed], shared=True)]
    config = ListenerConfig(address=Address.parse(address))
    with bound([config, listener()], 2, kept=kept) as slots:
        assert slots.count == 2
        assert slots.descriptors(0)[0] == slots.descriptors(1)[0] == passed.fileno()
        assert list(slots.own_descriptors(1)) == [1]
        assert not slots.is_shared()
    only = Slots([Listener(address, [passed], shared=True)])
    assert only.is_shared()
    assert only.count == 1


def test_descriptors_can_be_left_to_others() -> None:
    with bound([listener()], 1) as slots:
        fd = slots.descriptors(0)[0]
        slots.listeners[0].let_go()
    with socket.socket(fileno=fd) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize(
    ("slots", "owners", "held", "expected"),
    [
        ({0, 1, 2}, {0, 1, 2}, {}, {0: {0}, 1: {1}, 2: {2}}),
        ({0, 1, 2}, {0, 2}, {}, {0: {0, 1}, 2: {2}}),
        ({0, 1, 2, 3}, {2}, {}, {2: {0, 1, 2, 3}}),
        ({0, 1, 2, 3}, {0, 3}, {}, {0: {0, 1}, 3: {2, 3}}),
        # Whoever accepts on an orphaned slot goes on doing so.
        ({0, 1, 2, 3}, {0, 2, 3}, {0: {0}, 2: {2}, 3: {3, 1}}, {0: {0}, 2: {2}, 3: {1, 3}}),
        # Its owner is back.
        ({0, 1}, {0, 1}, {0: {0, 1}}, {0: {0}, 1: {1}}),
        ({0, 1}, set(), {}, {}),
    ],
)
def test_every_slot_is_accepted_on(
    slots: set[int], owners: set[int], held: dict[int, set[int]], expected: dict[int, set[int]]
) -> None:
    assert cover(slots, owners, held) == expected
