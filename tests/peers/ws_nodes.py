"""A controller that speaks WebSocket and holds a channel for each node, as Jenkins does.

Owns: which node is connected, with which cookie, and who is refused or makes room for whom
(PROTOCOLS A.3 row 6, A.7): the presented cookie is kept, the old channel of a known cookie has 15 s
to end, everybody else is already connected.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from html import escape

import trio

from tests.peers.raw_origin import OriginConnection, Recorded
from tests.peers.ws_controller import (
    CAPABILITY,
    MINIMUM_VERSION,
    WebSocketController,
    accepting,
    answer,
)
from tests.peers.ws_end import End

_PAGE = (
    b"<html><head><title>Error 400</title></head><body><h2>HTTP ERROR 400 %b</h2>"
    b"<table><tr><th>URI:</th><td>/wsagents/</td></tr></table>"
    + b"<!-- padding -->" * 500
    + b"</body></html>"
)


class NodesController(WebSocketController):
    """``live``: the channel of each node, and its cookie. ``disconnects``: whether it can end one.

    ``refusal_status``: 400, or 500 as cores before 2.511 answered.
    """

    def __init__(self, nodes: dict[str, str]) -> None:
        super().__init__(nodes)
        self.live: dict[str, tuple[End, str]] = {}
        self.disconnects = True
        self.refusal_status = b"400 Bad Request"

    async def _upgrade(
        self, connection: OriginConnection, request: Recorded, *, agent: bool
    ) -> None:
        assert agent
        node = (request.get(b"node-name") or b"").decode("latin-1")
        if node not in self.secrets:
            await connection.send(answer(b"400 Bad Request", _PAGE % b"no such agent"))
            return
        if request.get(b"secret-key") != self.secrets[node].encode():
            await connection.send(answer(b"403 Forbidden"))
            return
        presented = (request.get(b"connection-cookie") or b"").decode()
        said = await self._make_room(node, presented)
        if said is not None:
            page = _PAGE % escape(said).encode()
            await connection.send(answer(self.refusal_status, page, b"Content-Type: text/html"))
            return
        cookie = presented or secrets.token_hex(32)
        fields = (
            b"X-Remoting-Capability: " + CAPABILITY.encode(),
            b"X-Remoting-Minimum-Version: " + MINIMUM_VERSION.encode(),
            b"Connection-Cookie: " + cookie.encode(),
        )
        end = End(connection.stream, None, bytes(connection.buffer))
        self.live[node] = end, cookie
        try:
            await connection.send(accepting(request, *fields))
            self.ends.append(end)
            await end.serve()
        finally:
            if self.live.get(node, (None,))[0] is end:
                del self.live[node]
            end.over.set()

    async def _make_room(self, node: str, presented: str) -> str | None:
        """Return why a newcomer is refused, or None."""
        if node not in self.live:
            return None
        end, cookie = self.live[node]
        if presented != cookie:
            return f"{node} is already connected to this controller. Rejecting this connection."
        if self.disconnects:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await end.close()
        with trio.move_on_after(15):
            await end.over.wait()
            return None
        return "Failed to disconnect the current client"
