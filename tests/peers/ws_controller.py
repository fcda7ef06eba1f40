"""A controller that speaks WebSocket: ``/wsagents/`` as Jenkins has it (PROTOCOLS A.3, A.4), other
WebSockets besides, and no usable TCP agent port unless a test gives it one.

Owns: its answers, each of which a test may replace, and what it was asked, byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from tests.peers.raw_origin import OriginConnection, RawOrigin, Recorded
from tests.peers.ws_end import End

CAPABILITY: Final = (
    "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAP4="
)
COOKIE: Final = "c0" * 32
MINIMUM_VERSION: Final = "3107.v665000b_51092"
NOT_AN_AGENT: Final = b"This endpoint is only for use from agent.jar in WebSocket mode"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Serve = Callable[[End], Awaitable[None]]


def answer(status: bytes, body: bytes = b"", *fields: bytes) -> bytes:
    """Return a whole answer."""
    lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class WebSocketController:
    """Listens on 127.0.0.1. ``secrets``: node -> secret.

    ``discovery``: the answer to the discovery document. ``refusal``: what every upgrade is answered
    with, if set. ``serve``: what is done with each WebSocket; by default a test does it with its
    ``ends``, the WebSockets so far.
    """

    def __init__(self, secrets: dict[str, str], serve: Serve | None = None) -> None:
        self.secrets = secrets
        self.discovery = answer(b"404 Not Found")
        self.endpoint = answer(b"400 Bad Request", NOT_AN_AGENT, b"Content-Type: text/plain")
        self.refusal: bytes | None = None
        self.extensions = b""
        self.ends: list[End] = []
        self._serve = serve
        self._changed = trio.Event()
        self._origin = RawOrigin(self._script)

    @property
    def port(self) -> int:
        return self._origin.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def requests(self) -> list[Recorded]:
        """What was asked, in order."""
        return self._origin.requests

    @property
    def upgrades(self) -> list[Recorded]:
        """What was asked to become a WebSocket."""
        return [each for each in self.requests if each.get(b"upgrade") is not None]

    async def run(self, *, task_status: trio.TaskStatus[object]) -> None:
        """Serve until cancelled."""
        await self._origin.run(task_status=task_status)

    async def wait_for_end(self, number: int = 1) -> End:
        """Return the WebSocket that was opened as ``number``."""
        while len(self.ends) < number:
            await self._changed.wait()
        return self.ends[number - 1]

    async def _script(self, connection: OriginConnection) -> None:
        while True:
            while not connection.buffer:
                if not await connection.receive():
                    return
            request = await connection.read_request()
            path = request.line.split(b" ")[1].partition(b"?")[0]
            if request.get(b"upgrade") is not None:
                await self._upgrade(connection, request, agent=path.endswith(b"/wsagents/"))
                return
            if path.endswith(b"/wsagents/"):
                await connection.send(self.endpoint)
            elif path.endswith(b"/tcpSlaveAgentListener/"):
                await connection.send(self.discovery)
            else:
                await connection.send(answer(b"200 OK", b"hi"))

    async def _upgrade(
        self, connection: OriginConnection, request: Recorded, *, agent: bool
    ) -> None:
        if self.refusal is not None:
            await connection.send(self.refusal)
            return
        fields = [b"X-Content-Type-Options: nosniff"]
        if agent:
            node = (request.get(b"node-name") or b"").decode("latin-1")
            if node not in self.secrets:
                await connection.send(answer(b"400 Bad Request", b"no such agent"))
                return
            if request.get(b"secret-key") != self.secrets[node].encode():
                await connection.send(answer(b"403 Forbidden"))
                return
            fields += [
                b"X-Remoting-Capability: " + CAPABILITY.encode(),
                b"X-Remoting-Minimum-Version: " + MINIMUM_VERSION.encode(),
                b"Connection-Cookie: " + (request.get(b"connection-cookie") or COOKIE.encode()),
            ]
        if self.extensions:
            fields.append(b"Sec-WebSocket-Extensions: " + self.extensions)
        await connection.send(accepting(request, *fields))
        end = End(connection.stream, None, bytes(connection.buffer))
        self.ends.append(end)
        self._changed.set()
        self._changed = trio.Event()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if self._serve is None:
                await end.over.wait()
            else:
                await self._serve(end)


def accepting(request: Recorded, *fields: bytes) -> bytes:
    """Return a 101 for ``request``, written as Jetty does."""
    key = request.get(b"sec-websocket-key") or b""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Date: Fri, 20 Nov 2026 12:00:00 GMT",
        *fields,
        b"connection: Upgrade",
        b"sec-websocket-ACCEPT: " + accept,
        b"Upgrade: WebSocket",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"
