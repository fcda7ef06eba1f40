"""An admin listener in this process, on a real socket, and a client that says exactly what it is
told to.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from gateway.config.admin import AdminConfig, AdminListen
from gateway.config.values import Address
from gateway.server.admin.binding import AdminSocket
from gateway.server.admin.listener import AdminListener, AdminTerms
from gateway.server.admin.messages import AdminRequest, Answer
from gateway.server.admin.routes import Access, Parameter, Route, Routes
from gateway.server.wishes import Wish

HOST = "127.0.0.1"
LOOPBACK = AdminListen(Address(HOST, 0))


@dataclass(frozen=True)
class Said:
    """An answer as it came."""

    status: int
    head: str
    body: bytes
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """Return the last word of the problem's type."""
        assert self.fields["content-type"] == "application/problem+json", self.head
        assert self.json["status"] == self.status
        return str(self.json["type"]).rpartition(":")[2]


def read_answer(data: bytes) -> Said:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ")[::2] for line in lines[1:]]
    fields = {name.lower(): value for name, value in pairs}
    return Said(int(lines[0].split()[1]), head.decode("latin-1"), body, fields)


async def say(stream: trio.abc.Stream, data: bytes) -> Said:
    """Send ``data``, and return what comes until the end."""
    found = b""
    async with stream:
        await stream.send_all(data)
        with trio.fail_after(10):
            while piece := await stream.receive_some(65536):
                found += piece
    return read_answer(found)


def request(
    method: str = "GET",
    target: str = "/open",
    *,
    host: str | None = "localhost",
    body: bytes = b"",
    fields: Iterable[str] = (),
) -> bytes:
    """Return a request that ends its connection."""
    lines = [f"{method} {target} HTTP/1.1" if host else f"{method} {target} HTTP/1.0"]
    lines += [f"Host: {host}"] if host else []
    lines += ["Connection: close", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Word(Wish):
    word: str
    number: int = 1


async def _tell(request: AdminRequest) -> Answer:
    return Answer.json(
        {
            "path": dict(request.path),
            "query": dict(request.query),
            "body": None if request.body is None else request.body.model_dump(),
            "caller": request.caller,
        }
    )


NODE = Parameter("node", "A node.", in_path=True)
ROUTES = (
    Route("GET", "/open", "getOpen", "Open", _tell, access=Access.PUBLIC),
    Route("GET", "/closed", "getClosed", "Closed", _tell),
    Route(
        "GET",
        "/nodes/{node}/past",
        "getPast",
        "With parameters",
        _tell,
        parameters=(
            NODE,
            Parameter("limit", "", {"type": "integer", "minimum": 1, "maximum": 9}),
            Parameter("word", "", {"type": "string", "enum": ["a", "b"]}),
            Parameter("name", ""),
            Parameter("is", "", {"type": "boolean"}),
        ),
    ),
    Route("POST", "/do", "do", "Do", _tell, body=Word),
)


class Admin:
    """A listener that runs."""

    def __init__(self, listener: AdminListener, sock: socket.socket) -> None:
        self.listener = listener
        self.port = sock.getsockname()[1]

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(HOST, self.port)

    async def ask(self, method: str = "GET", target: str = "/open", **more: Any) -> Said:
        return await say(await self.connect(), request(method, target, **more))

    def follow(self, config: AdminConfig) -> None:
        self.listener.follow(AdminTerms.read(config))


@asynccontextmanager
async def serving(
    config: AdminConfig | None = None, routes: Iterable[Route] = ROUTES
) -> AsyncIterator[Admin]:
    config = config or AdminConfig(listen=LOOPBACK)
    with socket.create_server((HOST, 0)) as sock:
        sock.setblocking(False)
        found = AdminListener(
            AdminSocket(f"{HOST}:0", sock), AdminTerms.read(config), Routes(routes)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.run)
            yield Admin(found, sock)
            nursery.cancel_scope.cancel()
        assert sock.fileno() != -1  # the next program will want it
