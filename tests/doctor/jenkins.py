"""A stand-in Jenkins with everything that the doctor looks at: pages, agents both ways, the CLI.

Owns: /login, the discovery document and its redirect, /wsagents/, /cli/ws, POST /cli, the reverse
proxy self-test, Jenkins' limit on heads, and the page for while it starts (PROTOCOLS A, B, E, I).
The TCP agent port is the demonstration's.

    jenkins = Jenkins()
    await nursery.start(jenkins.run)
    ... jenkins.url, jenkins.secret("a") ...
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

import trio

from gateway.demo.controller import INBOUND, StandInController
from gateway.demo.faults import Faults
from gateway.demo.identity import InstanceIdentity
from tests.peers.raw_origin import OriginConnection, RawOrigin, Recorded
from tests.peers.ws_controller import CAPABILITY, COOKIE, accepting
from tests.peers.ws_end import End

NODE: Final = "a"
IDENTITY: Final = InstanceIdentity()  # one for all tests: making a key takes long
_HEADER_LIMIT: Final = 8192
_MONITOR: Final = "administrativeMonitor/hudson.diagnosis.ReverseProxySetupMonitor"
_STARTING: Final = "Please wait while Jenkins is getting ready to work ..."
_ONLY_WS: Final = "only WS connections accepted here"
_NOT_AN_AGENT: Final = "This endpoint is only for use from agent.jar in WebSocket mode"
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class Jenkins:
    """``websocket``: /wsagents/ is there. ``tcp``: the agent port is. ``root``: the configured URL,
    with which the CLI's Origin is compared; None: with what the request says. ``starting``: 503.
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        websocket: bool = False,
        tcp: bool = True,
        root: str | None = None,
        starting: bool = False,
        faults: Faults | None = None,
        advertised: int | None = None,
    ) -> None:
        self.prefix = prefix
        self.websocket = websocket
        self.tcp = tcp
        self.root = root
        self.starting = starting
        self.advertised = advertised
        self.agents = StandInController({NODE: INBOUND}, identity=IDENTITY, faults=faults)
        self.uploads: dict[str, trio.Event] = {}
        self._origin = RawOrigin(self._serve)

    @property
    def port(self) -> int:
        return self._origin.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}/"

    @property
    def requests(self) -> list[Recorded]:
        return self._origin.requests

    def secret(self, node: str) -> str:
        return self.agents.secret(node)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.agents.run)
            await nursery.start(self._origin.run)
            task_status.started()

    async def _serve(self, connection: OriginConnection) -> None:
        with suppress(AssertionError):  # whoever connects and leaves has asked nothing
            request = await connection.read_head()
            await self._answer(connection, request)

    async def _answer(self, connection: OriginConnection, request: Recorded) -> None:
        method, target, _ = request.line.decode().split(" ")
        if len(request.head) > _HEADER_LIMIT:
            await connection.send(_page(431))
        elif self.starting:
            await connection.send(_page(503, _STARTING))
        elif not target.startswith(f"{self.prefix}/"):
            await connection.send(_page(404, by_jenkins=False))
        elif method == "POST" and target == f"{self.prefix}/cli?remoting=false":
            await self._duplex(connection, request)
        else:
            path = target.removeprefix(f"{self.prefix}/").partition("?")[0]
            await self._get(connection, request, path)

    async def _get(self, connection: OriginConnection, request: Recorded, path: str) -> None:
        test = f"{_MONITOR}/testForReverseProxySetup/"
        if path == "wsagents/" and self.websocket:
            await self._agent(connection, request)
        elif path == "cli/ws":
            await self._cli(connection, request)
        elif path in ("login", "login/"):
            await connection.send(_page(200, "<title>Sign in - Jenkins</title>"))
        elif path == "tcpSlaveAgentListener" and self.tcp:
            where = f"Location: {self._seen(request)}tcpSlaveAgentListener/"
            await connection.send(_page(302, "", where))
        elif path == "tcpSlaveAgentListener/" and self.tcp:
            await connection.send(_page(200, "Jenkins", *self._discovery()))
        elif path.startswith(test):
            await connection.send(self._self_test(request, path.removeprefix(test)))
        else:
            await connection.send(_page(404))

    def _discovery(self) -> list[str]:
        port = self.advertised or self.agents.agent_address[1]
        return [
            f"X-Hudson-JNLP-Port: {port}",
            f"X-Jenkins-JNLP-Port: {port}",
            f"X-Instance-Identity: {IDENTITY.header}",
            "X-Jenkins-Agent-Protocols: JNLP4-connect, Ping",
            "X-Remoting-Minimum-Version: 3107.v665000b_51092",
        ]

    def _self_test(self, request: Recorded, rest: str) -> bytes:
        page = unquote(rest.split("/")[0])
        inferred = f"{self._seen(request)}manage"
        if page.startswith(inferred):
            return _page(200)
        return _page(404, f"<html>{inferred} vs. {page}</html>")

    def _seen(self, request: Recorded) -> str:
        """Return the root URL that the request comes to, as ``getRootUrlFromRequest`` does."""
        scheme = _first(request, "X-Forwarded-Proto") or "http"
        host = _first(request, "X-Forwarded-Host") or _first(request, "Host")
        host, _, port = host.partition(":")
        port = _first(request, "X-Forwarded-Port") or port
        default = _DEFAULT_PORTS.get(scheme, "")
        authority = host if (port or default) == default else f"{host}:{port}"
        return f"{scheme}://{authority}{self.prefix}/"

    async def _agent(self, connection: OriginConnection, request: Recorded) -> None:
        """/wsagents/, in Jenkins' order: headers, name, secret, connected already, upgrade."""
        node, secret = _first(request, "Node-Name"), _first(request, "Secret-Key")
        if not node or not secret or not _first(request, "X-Remoting-Capability"):
            await connection.send(_page(400, _NOT_AN_AGENT))
        elif node not in self.agents.nodes:
            await connection.send(_page(400, "no such agent"))
        elif secret != self.secret(node):
            await connection.send(_page(403))
        elif not _is_upgrade(request):
            await connection.send(_page(400, _ONLY_WS))
        else:
            fields = (
                b"X-Remoting-Capability: " + CAPABILITY.encode(),
                b"Connection-Cookie: " + COOKIE.encode(),
            )
            await connection.send(accepting(request, *fields))
            await End(connection.stream, None, bytes(connection.buffer)).serve()

    async def _cli(self, connection: OriginConnection, request: Recorded) -> None:
        wanted = (self.root or self._seen(request)).removesuffix("/").removesuffix(self.prefix)
        if _first(request, "Origin") != wanted:
            reason = "X-CLI-Error: Unexpected request origin (check your reverse proxy settings)"
            await connection.send(_page(403, "", reason))
        elif not _is_upgrade(request):
            await connection.send(_page(400, _ONLY_WS))
        else:
            await connection.send(accepting(request))
            await End(connection.stream, None, bytes(connection.buffer)).serve()

    async def _duplex(self, connection: OriginConnection, request: Recorded) -> None:
        session = _first(request, "Session")
        if _first(request, "Side") == "upload":
            if _first(request, "Content-Length"):
                await connection.read_body()
            else:
                body = b""
                while not body.endswith(b"\0\0\0\0\x03"):  # START
                    body += await connection.read_chunk()
            self.uploads[session].set()
            await connection.send(_page(200))
            return
        self.uploads[session] = trio.Event()
        await connection.send(
            b"HTTP/1.1 200 OK\r\nX-Jenkins: 2.516\r\nHudson-Duplex: true\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n"
        )
        with trio.move_on_after(15):
            await self.uploads[session].wait()
            frames = b"\0\0\0\x0a\x07anonymous\n\0\0\0\x04\x04\0\0\0\0"
            await connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(frames), frames))


def _is_upgrade(request: Recorded) -> bool:
    """Say whether Jetty takes it for one: over HTTP/1.1 only."""
    wanted = _first(request, "Upgrade").lower() == "websocket"
    return wanted and request.line.endswith(b" HTTP/1.1")


def _first(request: Recorded, name: str) -> str:
    """Return the first of a list, in the first of several fields, as Jenkins reads them."""
    wanted = name.lower().encode()
    for key, value in request.fields:
        if key.lower() == wanted:
            return value.decode("latin-1").partition(",")[0].strip()
    return ""


def _page(status: int, body: str = "", *fields: str, by_jenkins: bool = True) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *fields,
        *(["X-Jenkins: 2.516"] if by_jenkins else []),
        *(["Content-Type: text/html;charset=utf-8"] if body else []),
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body.encode()
