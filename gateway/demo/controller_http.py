"""The stand-in controller's HTTP port: the login page, the discovery document, 404 for the rest.

Owns: HTTP/1.1 with h11, keep-alive included, and the two pages (PROTOCOLS A.5 and B.1).

Must not know: ``gateway.http``; nodes, secrets.
"""

from __future__ import annotations

from collections import deque
from http import HTTPStatus
from typing import Final, Protocol

import h11

from gateway.demo.faults import Faults, Stage
from gateway.demo.identity import InstanceIdentity
from gateway.demo.stream import ConnectionEnded, Wire

_VERSION: Final = "2.stand-in"
_LOGIN_PAGE: Final = b"<!DOCTYPE html><title>Sign in - Jenkins</title><p>A stand-in for Jenkins.\n"
_Page = tuple[int, list[tuple[str, str]], bytes]


class About(Protocol):
    """What the pages show of the controller."""

    faults: Faults
    identity: InstanceIdentity
    prefix: str
    protocols: tuple[str, ...]
    advertise_agent_port: bool
    advertised_host: str | None
    minimum_version: str | None
    session_id: str
    requests: deque[str]


class Site:
    """The pages of one controller."""

    def __init__(self, controller: About, agent_port: int) -> None:
        self.controller = controller
        self._agent_port = agent_port

    def page(self, method: bytes, target: str) -> _Page:
        """Return status, headers and body for a request."""
        path = target.partition("?")[0]
        prefix = self.controller.prefix
        if method in (b"GET", b"HEAD"):
            if path in (f"{prefix}/login", f"{prefix}/login/"):
                return self._login()
            if path == f"{prefix}/tcpSlaveAgentListener/":
                return self._discovery()
        return 404, [("Content-Type", "text/plain;charset=UTF-8")], b"Not Found\n"

    def _login(self) -> _Page:
        headers = [
            ("X-Content-Type-Options", "nosniff"),
            ("X-Hudson", "1.395"),
            ("X-Jenkins", _VERSION),
            ("X-Jenkins-Session", self.controller.session_id),
            ("X-Instance-Identity", self.controller.identity.header),
            ("Content-Type", "text/html;charset=utf-8"),
        ]
        return 200, headers, _LOGIN_PAGE

    def _discovery(self) -> _Page:
        controller = self.controller
        if not controller.advertise_agent_port:
            return 404, [("Content-Type", "text/plain;charset=UTF-8")], b"Not Found\n"
        port = str(self._agent_port)
        headers = [
            ("Content-Type", "text/plain;charset=UTF-8"),
            ("X-Hudson-JNLP-Port", port),
            ("X-Jenkins-JNLP-Port", port),
        ]
        if controller.advertised_host is not None:
            headers.append(("X-Jenkins-JNLP-Host", controller.advertised_host))
        headers.append(("X-Instance-Identity", controller.identity.header))
        headers.append(("X-Jenkins-Agent-Protocols", ", ".join((*controller.protocols, "Ping"))))
        if controller.minimum_version is not None:
            headers.append(("X-Remoting-Minimum-Version", controller.minimum_version))
        return 200, headers, b"\n\n  Jenkins\n"


async def serve_http(wire: Wire, site: Site) -> None:
    """Answer requests on one connection until the client is done with it.

    Raises ConnectionEnded when the client leaves without being done.
    """
    connection = h11.Connection(h11.SERVER)
    while True:
        try:
            request = await _read_request(connection, wire)
        except h11.RemoteProtocolError:
            await wire.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            break
        if request is None:
            break
        target = request.target.decode("latin-1")
        site.controller.requests.append(f"{request.method.decode('latin-1')} {target}")
        status, headers, body = site.page(request.method, target)
        answer = _render(connection, status, headers, body, head_only=request.method == b"HEAD")
        await site.controller.faults.perform(Stage.HTTP, wire, answer)
        if connection.our_state is h11.MUST_CLOSE:
            break
        connection.start_next_cycle()
    await wire.drop()


async def _read_request(connection: h11.Connection, wire: Wire) -> h11.Request | None:
    """Return the next request after its body, which is thrown away; None when there is no more."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await wire.read_some())
            except ConnectionEnded:
                connection.receive_data(b"")
        elif isinstance(event, h11.Request):
            request = event
            if connection.they_are_waiting_for_100_continue:
                await wire.send(
                    _send(connection, h11.InformationalResponse(status_code=100, headers=[]))
                )
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            return request


def _render(
    connection: h11.Connection,
    status: int,
    headers: list[tuple[str, str]],
    body: bytes,
    *,
    head_only: bool,
) -> bytes:
    response = h11.Response(
        status_code=status,
        reason=HTTPStatus(status).phrase,
        headers=[*headers, ("Content-Length", str(len(body)))],
    )
    answer = _send(connection, response)
    if not head_only:
        answer += _send(connection, h11.Data(data=body))
    return answer + _send(connection, h11.EndOfMessage())


def _send(connection: h11.Connection, event: h11.Event) -> bytes:
    return connection.send(event) or b""
