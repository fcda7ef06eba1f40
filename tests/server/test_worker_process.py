"""A worker's main program: what it takes over, what it ignores, how its death is told."""

from __future__ import annotations

import base64
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.config.models import GatewayConfig
from gateway.errors import ConfigError
from gateway.server import worker_process
from gateway.server.control import ControlStream, Message
from gateway.server.worker_process import CANNOT_START
from gateway.transport.listeners import BoundListener, bind
from tests.server.processes import HOST, running_worker
from tests.server.workers import make_config


def public_key() -> str:
    """Return a public key of nobody as a configuration file has it."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as sock:
        yield sock


async def run_in_process(*messages: Message) -> None:
    """Run the program's loop here on what the supervisor says; then the supervisor is gone."""
    ours, theirs = socket.socketpair()
    control = ControlStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    for message in messages:
        await control.send(message)
    await control.aclose()
    await worker_process._run(theirs.detach())


async def test_a_supervisor_that_is_gone_already() -> None:
    await run_in_process()


async def test_the_word_to_stop_may_come_first() -> None:
    await run_in_process({"type": "stop"}, {"type": "start", "snapshot": {}, "listeners": []})


async def test_the_whole_configuration_arrives(
    tmp_path: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[GatewayConfig] = []
    ports: list[int] = []
    ports_of = [listening.getsockname()[1]] * 2

    async def serve(
        listeners: list[BoundListener], snapshot: GatewayConfig, _: Any, **numbers: Any
    ) -> None:
        served.append(snapshot)
        (other,) = numbers.pop("others")[3].items()
        assert (other[0], other[1].config, other[1].port) == (1, listeners[1].config, ports_of[1])
        other[1].socket.close()
        assert numbers == {"workers": 4, "generation": 7, "settings": {"log_level": "debug"}}
        assert [each.config for each in listeners] == list(snapshot.listeners)
        for listener in listeners:
            ports.append(listener.port)
            listener.socket.close()

    monkeypatch.setattr(worker_process, "serve", serve)
    plain = {"address": "[::1]:0", "plain_agents": True}
    secure = make_config(tmp_path).listeners[1].model_dump(mode="json")
    config = GatewayConfig.model_validate(
        {
            "state_dir": str(tmp_path),
            "listeners": [plain, secure],
            "trusted_proxies": ["10.0.0.0/8", "fd00::/8"],
            "controllers": {
                "a": {"url": "https://jenkins.test/ci/", "tcp_discovery": "hide"},
                "b": {
                    "url": "http://[::1]:8080/",
                    "tcp_discovery": {"host": "edge.test", "port": 50000},
                },
                "c": {
                    "agents": {
                        "address": "10.1.2.3:50000",
                        "identity": public_key(),
                        "protocol": "JNLP4-plaintext",
                        "allow_plaintext": True,
                        "chunks_per_message": "one",
                    }
                },
            },
            "routes": [
                {"id": "a", "host": "a.test", "path": "/", "controller": "a"},
                {"id": "b", "controller": "b"},
                {"id": "c", "host": "c.test", "controller": "c"},
            ],
            "agents": {
                "keepalive": {"interval": "100ms", "suspect_after": "1.5s", "dead_after": "1m"},
                "handshake_timeout": "0.3s",
            },
        }
    )
    fds = [listening.dup().detach(), listening.dup().detach()]
    snapshot = config.model_dump(mode="json")
    numbers = {"workers": 4, "generation": 7, "settings": {"log_level": "debug"}}
    others = {"3": {"1": listening.dup().detach()}}
    await run_in_process(
        {"type": "start", "snapshot": snapshot, "listeners": fds, "others": others, **numbers}
    )
    assert served == [config]
    assert ports == [listening.getsockname()[1]] * 2


async def test_a_configuration_of_another_version_is_named_without_its_values() -> None:
    snapshot = {"controllers": {"main": {"url": "hunter2", "token": "hunter3"}}}
    with pytest.raises(ConfigError) as caught:
        await run_in_process({"type": "start", "snapshot": snapshot, "listeners": []})
    text = str(caught.value)
    assert "controllers.main.token" in text
    assert "was the program replaced while it ran?" in text
    assert "hunter" not in text
    assert caught.value.__suppress_context__


@pytest.mark.e2e
async def test_signals_are_the_supervisors_matter(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    sockets = [bind(each) for each in config.listeners]
    try:
        async with running_worker(config, sockets, tmp_path) as (worker, control):
            assert await control.receive() == {"type": "ready"}
            for name in ("INT", "TERM", "QUIT", "HUP", "USR1", "USR2", "TTOU"):
                worker.process.send_signal(signal.Signals[f"SIG{name}"])
            stream = await trio.open_tcp_stream(HOST, sockets[0].getsockname()[1])
            await stream.send_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 502 ")
            await stream.aclose()
            await control.send({"type": "stop"})
            assert await worker.wait() == 0
    finally:
        for sock in sockets:
            sock.close()


@pytest.mark.e2e
async def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    (tmp_path / f"{HOST}.key").unlink()
    sockets = [bind(each) for each in config.listeners]
    try:
        async with running_worker(config, sockets, tmp_path) as (worker, control):
            assert await control.receive() is None
            assert await worker.wait() == CANNOT_START
    finally:
        for sock in sockets:
            sock.close()
    (line,) = worker.lines
    assert (line["level"], line["event"]) == ("error", "worker cannot start")
    assert f"{HOST}.key" in line["reason"]


@pytest.mark.e2e
async def test_a_crash_is_logged_with_its_traceback(tmp_path: Path) -> None:
    async with running_worker(make_config(tmp_path), [], tmp_path) as (worker, _):
        assert await worker.wait() == 1
    (line,) = worker.lines
    assert (line["level"], line["event"]) == ("error", "worker crashed")
    assert "Traceback (most recent call last)" in line["exception"]
    assert "ValueError: zip() argument 2 is shorter" in line["exception"]
