from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
import trio

from gateway.doctor.causes import Cause
from gateway.doctor.check_network import check_addresses
from tests.doctor.conftest import Asking
from tests.peers.raw_origin import answering


class Resolver(trio.abc.HostnameResolver):
    """Answers with ``addresses`` whatever it is asked for; none: the name is not known."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        if not self._addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (each, port),
            )
            for each in self._addresses
        ]

    async def getnameinfo(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("addresses", "cause"),
    [
        (("127.0.0.1",), None),
        ((), Cause.NAME_UNKNOWN),
        (("127.0.0.7",), Cause.CONNECTION_REFUSED),
        (("127.0.0.7", "127.0.0.1"), Cause.ADDRESS_DOWN),
        (("::1", "127.0.0.1"), None),  # a machine without IPv6
    ],
)
async def test_each_address_is_tried(
    asking: Asking, addresses: tuple[str, ...], cause: Cause | None
) -> None:
    async with asking(answering(b"")) as case:
        target = replace(case.question.target, host="ci.example.com")
        case.question = replace(case.question, target=target)
        before = trio.socket.set_custom_hostname_resolver(Resolver(*addresses))
        try:
            found = await check_addresses(case)
        finally:
            trio.socket.set_custom_hostname_resolver(before)
    assert [each.cause for each in found] == ([] if cause is None else [cause])
    if "127.0.0.1" in addresses:
        assert case.address == ("127.0.0.1", target.port)
