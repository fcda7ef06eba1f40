"""Sessions over WebSocket through a whole gateway: supervisor, worker, TLS, signals."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from tests.agents.bridge import COOKIE, SECRET, agent_request
from tests.certificates import client_context
from tests.peers.raw_frames import BINARY, CLOSE, MASK
from tests.peers.ws_controller import WebSocketController
from tests.peers.ws_end import End
from tests.server.processes import HOST, Gateway, running_gateway


async def connect(gateway: Gateway) -> tuple[bytes, End]:
    """Connect as an agent over TLS; return the 101 and the agent's end."""
    raw = await trio.open_tcp_stream(HOST, gateway.tls)
    stream = trio.SSLStream(raw, client_context(), server_hostname=HOST, https_compatible=True)
    await stream.send_all(agent_request({"Connection-Cookie": COOKIE}))
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        assert data, head
        head += data
    head, _, early = head.partition(b"\r\n\r\n")
    return head, End(stream, MASK, early)


@pytest.mark.parametrize("transport", ["websocket", "auto"])
async def test_a_session_and_sigterm_in_the_middle_of_a_frame(
    transport: str, tmp_path: Path
) -> None:
    controller = WebSocketController({"my-agent": SECRET})
    async with trio.open_nursery() as nursery:
        await nursery.start(controller.run)
        async with running_gateway(
            tmp_path, controller.url, agents=f"{{transport: {transport}}}"
        ) as gateway:
            head, agent = await connect(gateway)
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"Connection-Cookie: " + COOKIE.encode() in head
            far = await controller.wait_for_end()
            sent = bytes(range(256)) * 300
            await agent.send(BINARY, sent)
            assert await far.read_until(BINARY) == (BINARY, sent)
            whole = far.frame(BINARY, sent)
            await far.stream.send_all(whole[:40_000])
            while len(agent.raw) < 40_000:
                assert await agent.receive()
            gateway.signal(signal.SIGTERM)
            _, said = await far.read_until(CLOSE)
            assert int.from_bytes(said[:2], "big") == 1001
            await far.stream.send_all(whole[40_000:] + far.frame(CLOSE, said[:2]))
            assert await agent.read_until(BINARY) == (BINARY, sent)
            _, said = (
                agent.frames[-1] if agent.frames[-1][0] == CLOSE else await agent.read_until(CLOSE)
            )
            assert int.from_bytes(said[:2], "big") == 1012
            await far.stream.aclose()
            await agent.close(1012)
            await agent.stream.aclose()
            assert await gateway.running.wait() == 0
        nursery.cancel_scope.cancel()
    lines = gateway.running.lines
    (started,) = [line for line in lines if line["event"] == "session started"]
    assert started["transport"] == "websocket"
    (ended,) = [line for line in lines if line["event"] == "session ended"]
    assert started["trace_id"] == ended["trace_id"] != "0" * 32
    assert (ended["by"], ended["close_code"]) == ("gateway", 1012)
    assert ended["bytes_from_agent"] == len(agent.frame(BINARY, sent))
    assert all(secret not in repr(lines) for secret in (SECRET, COOKIE))
