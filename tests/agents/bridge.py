"""The whole bridge for tests: a gateway in this process, agents' requests, what was logged.

Owns: starting ``worker.serve`` on 127.0.0.1 and port 0, and requests as agents write them
(PROTOCOLS A.2), every part of which may be made wrong.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import os
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
import trio.testing
from structlog.testing import LogCapture

from gateway.config.models import GatewayConfig, ListenerConfig
from gateway.server.worker import serve
from gateway.transport.listeners import BoundListener, bind
from tests.peers.raw_client import Answer, RawClient
from tests.peers.scripted_controller import ScriptedController
from tests.peers.ws_agent import AgentFrames, CloseConnection, payload_of

# Made up, and of the form that real ones have.
SECRET: Final = "5ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7"
COOKIE: Final = "a6e27c00c1e0a6e27c00c1e0a6e27c00c1e0a6e27c00c1e0a6e27c00c1e00a0a"
CAPABILITY: Final = (
    "rO0ABXNyABpodWRzb24ucmVtb3RpbmcuQ2FwYWJpbGl0eQAAAAAAAAABAgABSgAEbWFza3hwAAAAAAAAAf4="
)
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FieldValue = str | bytes | None


def make_config(state_dir: Path, url: str | None, **more: Any) -> GatewayConfig:
    """Return a configuration with one controller, ``main``.

    ``agents`` are the controller's, on the way to its agent port unless they say otherwise;
    ``handshake_timeout`` (seconds), ``handshake_rate`` (a second) and ``keepalive`` are the
    gateway's.
    """
    listener = more.pop("listener", {})
    controller: dict[str, Any] = {"agents": {"transport": "jnlp4", **more.pop("agents", {})}}
    if url is not None:
        controller["url"] = url
    if "tcp_discovery" in more:
        controller["tcp_discovery"] = more.pop("tcp_discovery")
    more["agents"] = {
        key: more.pop(key)
        for key in ("handshake_timeout", "handshake_rate", "keepalive")
        if key in more
    }
    return GatewayConfig.model_validate(
        {
            "state_dir": str(state_dir),
            "listeners": [{"address": "127.0.0.1:0", **listener}],
            "controllers": {"main": controller},
            **more,
        }
    )


@asynccontextmanager
async def running_gateway(config: GatewayConfig) -> AsyncIterator[int]:
    """Serve ``config`` inside the block; yield the port of its first listener."""
    listeners = [_bind(listener) for listener in config.listeners]
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, listeners, config)
        yield listeners[0].port
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def bridged(
    state_dir: Path, controller: ScriptedController, **config: Any
) -> AsyncIterator[int]:
    """Run ``controller`` and a gateway in front of it; yield the gateway's port.

    The controller is found by its url unless ``config`` says ``url=None``.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        url = config.pop("url", controller.url)
        async with running_gateway(make_config(state_dir, url, **config)) as port:
            yield port
        nursery.cancel_scope.cancel()


def _bind(config: ListenerConfig) -> BoundListener:
    return BoundListener(config, trio.socket.from_stdlib_socket(bind(config)))


def agent_request(
    changes: Mapping[str, FieldValue] | None = None,
    *,
    target: str = "/wsagents/",
    method: str = "GET",
    version: str = "HTTP/1.1",
    more: bytes = b"",
    colon: bytes = b": ",
) -> bytes:
    """Return an agent's request; ``changes`` replaces, adds or (None) leaves out fields.

    ``more`` are further raw field lines.
    """
    fields: dict[str, FieldValue] = {
        "Host": "gateway.test",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        "Node-Name": "my-agent",
        "Secret-Key": SECRET,
        "X-Remoting-Capability": CAPABILITY,
    }
    fields |= changes or {}
    head = f"{method} {target} {version}\r\n".encode()
    for name, value in fields.items():
        if value is not None:
            raw = value if isinstance(value, bytes) else value.encode("latin-1")
            head += name.encode() + colon + raw + b"\r\n"
    return head + more + b"\r\n"


class Agent:
    """An agent whose WebSocket is open: wsproto's frames on a connection of its own."""

    def __init__(self, client: RawClient) -> None:
        self.frames = AgentFrames()
        self.stream = client.stream
        self.close_code: int | None = None
        self._events = list(self.frames.receive(bytes(client.buffer)))

    async def send(self, payload: bytes, cuts: Sequence[int] = ()) -> None:
        """Send one message, in fragments cut at ``cuts``."""
        for frame in self.frames.message(payload, cuts):
            await self.stream.send_all(frame)

    async def receive(self, size: int) -> bytes:
        """Return ``size`` bytes of payload, or fewer where the session ends before."""
        payload = b""
        while True:
            for event in self._events:
                if isinstance(event, CloseConnection):
                    self.close_code = int(event.code)
                payload += payload_of([event])
            self._events = []
            if len(payload) >= size or self.close_code is not None:
                return payload
            data = await self.stream.receive_some()
            if not data:
                return payload
            self._events = list(self.frames.receive(bytes(data)))

    async def close(self) -> None:
        """Close the session with 1000 and wait for the other end's answer."""
        await self.stream.send_all(self.frames.send(CloseConnection(1000)))
        while await self.stream.receive_some():
            pass


@asynccontextmanager
async def connected(port: int, request: bytes) -> AsyncIterator[tuple[Answer, Agent]]:
    """Open a session with ``request``; the block gets the 101 and the agent."""
    async with await RawClient.connect(port) as client:
        await client.send(request)
        head = await client.read_head()
        assert head.status == 101, head.head
        yield head, Agent(client)


async def ask(port: int, request: bytes) -> Answer:
    """Send one request on a connection of its own and return the answer, a 101's head included."""
    async with await RawClient.connect(port) as client:
        await client.send(request)
        head = await client.read_head()
        if head.status == 101:
            return head
        length = int(head.get(b"content-length") or b"0")
        if request.startswith(b"HEAD "):
            return head
        while len(client.buffer) < length:
            assert await client.receive()
        return Answer(head.head, bytes(client.buffer[:length]))


def probe(path: str = "/login", *more: str) -> bytes:
    """Return the probe of an agent, as recorded from Java (``tests/vectors/ws-reject.json``)."""
    lines = [
        f"GET {path} HTTP/1.1",
        "User-Agent: Java/17.0.15",
        "Host: gateway.test",
        "Accept: text/html, image/gif, image/jpeg, */*; q=0.2",
        "Connection: keep-alive",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def check_refusal(
    answer: Answer,
    log: LogCapture,
    status: int,
    text: str | None,
    *,
    cookie: str | None = None,
) -> None:
    """Check everything that PROTOCOLS K.1 says about a refusal.

    ``text`` None: it says one constant in a field, and nothing in a body.
    """
    assert answer.status == status
    assert answer.get(b"location") is None
    explanation = answer.get(b"x-gateway-error")
    if text is None:
        assert explanation == b"not authorized"
        assert answer.body == b""
    else:
        assert explanation is not None
        assert explanation.decode("latin-1") == text
        assert answer.body.decode("latin-1") == text + "\n"
    echoed = answer.get(b"connection-cookie")
    assert echoed == (None if cookie is None else cookie.encode())
    error_id = answer.get(b"x-gateway-error-id")
    assert error_id is not None
    lines = [entry for entry in log.entries if entry.get("error_id") == error_id.decode()]
    assert len(lines) == 1, "one log line with the id that the agent was told"
    assert lines[0]["status"] == status


def everything_logged(log: LogCapture) -> str:
    """Return all that was logged, unredacted, tracebacks included."""
    text = ""
    for entry in log.entries:
        text += repr(entry)
        error = entry.get("exc_info")
        if isinstance(error, BaseException):
            text += "".join(traceback.format_exception(error))
    return text


@asynccontextmanager
async def leaving_nothing_behind() -> AsyncIterator[None]:
    """Check that as many tasks and descriptors are there after the block as before it."""
    await trio.testing.wait_all_tasks_blocked(0.01)  # everybody has begun
    gc.collect()  # what earlier tests have left behind in cycles may hold descriptors
    before = await _settled()
    yield
    for _ in range(500):
        if in_use() == before:
            return
        await trio.sleep(0.01)
    assert (left := in_use()) == before, (before, left)


async def _settled() -> tuple[int, int]:
    """Return what is in use once that has stayed the same: what came before may still be closing,
    on a busy machine for longer than nobody here has anything to do.
    """
    for _ in range(100):
        found = in_use()
        await trio.sleep(0.02)
        if in_use() == found:
            break
    return in_use()


def in_use() -> tuple[int, int]:
    """Return how many tasks and descriptors there are."""
    return _count_tasks(_main_task()), len(os.listdir("/proc/self/fd"))


def _main_task() -> trio.lowlevel.Task:
    """Return the ancestor of all but trio's system tasks, which come and go by themselves."""
    task = trio.lowlevel.current_task()
    while task.parent_nursery is not None:
        parent = task.parent_nursery.parent_task
        if parent.parent_nursery is None:
            break
        task = parent
    return task


def _count_tasks(task: trio.lowlevel.Task) -> int:
    children = (child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return 1 + sum(_count_tasks(child) for child in children)


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a public key as operators are shown it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
