"""Binding listeners: all or none, and for each failure a reason and what to do."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.config.models import ListenerConfig
from gateway.config.values import Address
from gateway.errors import ConfigError
from gateway.transport.listeners import BACKLOG, bind, check_free

HOST = "127.0.0.1"


def listener(address: str) -> ListenerConfig:
    return ListenerConfig(address=Address.parse(address))


def bind_all(*addresses: str) -> list[socket.socket]:
    """Bind one after the other, each knowing of those before it; or none."""
    configs = [listener(address) for address in addresses]
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(bind(config, earlier=configs[:i]))
            for i, config in enumerate(configs)
        ]
        stack.pop_all()
    return sockets


def failure(*addresses: str) -> str:
    """Return the text of the ConfigError that binding ``addresses`` ends with."""
    with pytest.raises(ConfigError) as caught:
        bind_all(*addresses)
    assert caught.value.__suppress_context__
    return str(caught.value)


def test_every_listener_listens() -> None:
    sockets = bind_all(f"{HOST}:0", f"{HOST}:0")
    try:
        assert BACKLOG > 1000
        for sock in sockets:
            assert not sock.getblocking()
            with socket.create_connection(sock.getsockname()[:2]):
                sock.accept()[0].close()
    finally:
        for sock in sockets:
            sock.close()


def test_a_port_that_several_share_is_not_free() -> None:
    """The kernel lets every socket of this user in that shares a port, of other programs, too."""
    one = bind(listener(f"{HOST}:0"), shared_port=0)
    port = one.getsockname()[1]
    with one, bind(listener(f"{HOST}:0"), shared_port=port) as other:
        assert other.getsockname()[1] == port
        with pytest.raises(ConfigError, match="address already in use"):
            check_free(listener(f"{HOST}:{port}"))
    check_free(listener(f"{HOST}:{port}"))


def test_a_port_of_another_program() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        text = failure(f"{HOST}:{port}")
    assert text == (
        f"listener {HOST}:{port}: address already in use. Another program has this port"
        f" (`ss -ltnp sport = :{port}` shows which); stop it, or choose another port."
    )


DUAL_STACK = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


@pytest.mark.parametrize(
    ("first", "second"),
    [pytest.param("[::]", "0.0.0.0", marks=DUAL_STACK), ("0.0.0.0", HOST)],
)
def test_a_port_of_our_own(first: str, second: str) -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    assert failure(f"{HOST}:0", f"{first}:{port}", f"{second}:{port}") == (
        f"listener {second}:{port}: address already in use. The listener {first}:{port} has this"
        " port already; remove one of the two, or give it another port. ([::] stands for IPv4 too.)"
    )


def test_ports_left_to_the_kernel_may_be_many() -> None:
    sockets = bind_all(*[f"{HOST}:0"] * 3)
    assert len({sock.getsockname()[1] for sock in sockets}) == 3
    for sock in sockets:
        sock.close()


def test_an_address_of_another_machine() -> None:
    text = failure("192.0.2.1:8443")  # RFC 5737: nobody's
    assert text.startswith("listener 192.0.2.1:8443: cannot assign requested address. 192.0.2.1 is")
    assert text.endswith("0.0.0.0 or [::] stand for all it has.")


def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert failure("gatway.test:8443") == (
        "listener gatway.test:8443: name or service not known."
        ' Is "gatway.test" spelled right? Safest is an IP address, such as 0.0.0.0 for all.'
    )


@pytest.mark.parametrize(
    ("number", "address", "remedy"),
    [
        (errno.EACCES, "0.0.0.0:443", "AmbientCapabilities=CAP_NET_BIND_SERVICE"),
        (errno.EAFNOSUPPORT, "[::]:8443", "This machine has no IPv6; 0.0.0.0 stands for all"),
        (errno.ENOBUFS, "0.0.0.0:443", "Choose another address."),
    ],
)
def test_what_depends_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, number: int, address: str, remedy: str
) -> None:
    """Root may bind anything and most machines have IPv6, so the kernel's answer is played."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    text = failure(address)
    assert text.startswith(f"listener {address}: {os.strerror(number).lower()}. ")
    assert remedy in text
