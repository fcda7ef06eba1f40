from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.demo.agent_http import Answer
from gateway.doctor.case import AgentPort
from gateway.doctor.causes import Cause
from gateway.doctor.check_port import check_agent_port, check_discovery, port_address, read_document
from tests.doctor.conftest import Asking
from tests.e2e.programs import HOST, free_ports
from tests.peers.raw_origin import OriginConnection, answering

IDENTITY = "TUlJ"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"X-Jenkins-JNLP-Port": "50000"}, ("ci", 50000)),
        ({"X-Hudson-JNLP-Port": "50000"}, ("ci", 50000)),
        ({"X-Jenkins-JNLP-Port": "50000", "X-Jenkins-JNLP-Host": "[::1]"}, ("::1", 50000)),
        ({"X-Jenkins-JNLP-Port": "0"}, None),
        ({"X-Jenkins-JNLP-Port": "-1"}, None),
        ({"X-Jenkins-JNLP-Port": "9" * 30}, None),
        ({}, None),
    ],
)
def test_the_document_is_read(fields: dict[str, str], expected: tuple[str, int] | None) -> None:
    port = read_document(Answer(200, "OK", tuple(fields.items())), "ci")
    assert (None if port is None else (port.host, port.port)) == expected


def test_a_document_says_more() -> None:
    fields = {
        "X-Jenkins-JNLP-Port": "1",
        "X-Instance-Identity": IDENTITY,
        "X-Jenkins-Agent-Protocols": "JNLP4-connect, Ping",
    }
    port = read_document(Answer(200, "OK", tuple(fields.items())), "ci")
    assert port is not None
    assert (port.identity, port.protocols) == (b"MII", ("JNLP4-connect", "Ping"))
    bad = {**fields, "X-Instance-Identity": "no base64!"}
    port = read_document(Answer(200, "OK", tuple(bad.items())), "ci")
    assert port is not None
    assert port.identity is None


@pytest.mark.parametrize("tcp", [True, False])
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Cause.TCP_PORT_DISABLED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Cause.NOT_JENKINS),
        (
            b"HTTP/1.1 200 OK\r\nX-Jenkins-JNLP-Port: 1\r\nX-Jenkins-Agent-Protocols: JNLP2\r\n"
            b"Content-Length: 0\r\n\r\n",
            Cause.TCP_PORT_DISABLED,
        ),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", None),
    ],
)
async def test_only_agents_over_tcp_need_it(
    asking: Asking, answer: bytes, cause: Cause | None, tcp: bool
) -> None:
    async with asking(answering(answer)) as case:
        case.question = replace(case.question, tcp=tcp)
        found = await check_discovery(case)
    assert [each.cause for each in found] == ([cause] if tcp and cause else [])


async def test_a_port_that_is_not_jenkins(asking: Asking) -> None:
    async def web_server(connection: OriginConnection) -> None:
        await connection.receive()
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with asking(web_server) as case:
        case.agent_port = AgentPort(HOST, case.question.target.port, None, None, None)
        assert await check_agent_port(case) == []
        assert case.port_trouble is not None
        case.question = replace(case.question, tcp=True)
        (found,) = await check_agent_port(case)
    assert found.cause is Cause.PORT_NOT_JENKINS


async def test_a_port_that_refuses(asking: Asking) -> None:
    (port,) = free_ports(1)
    async with asking(answering(b"")) as case:
        case.agent_port = AgentPort(HOST, port, None, None, None)
        assert await check_agent_port(case) == []
        case.question = replace(case.question, tcp=True)
        (found,) = await check_agent_port(case)
        assert found.cause is Cause.PORT_BLOCKED
        case.question = replace(case.question, connect_to=("192.0.2.1", 443))
        assert port_address(case) == ("192.0.2.1", port)
