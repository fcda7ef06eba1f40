"""Relayed WebSockets before an outside judge: kosoku, with the gateway in between and without.

The ends are the ``websockets`` library's, whose own verdicts are not our matter: what must hold is
that no case comes out worse through the gateway than it does directly, in either role.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from websockets.sync.client import connect

from gateway.protocol.websocket import Opcode, control_frame
from tests.agents.bridge import make_config, running_gateway

KOSOKU: Final = str(Path(sysconfig.get_path("scripts")) / "kosoku")
PEER: Final = [sys.executable, "-m", "tests.peers.websockets_peer"]
# Group 9: long messages; 12 and 13: permessage-deflate, of which one case of each kind is enough to
# show that it passes, since each is a thousand messages.
PROTOCOL: Final = ("-x", "9.*", "-x", "12.*", "-x", "13.*")
DEFLATE: Final = ("-i", "12.1.1", "-i", "12.2.4", "-i", "12.3.1", "-i", "13.1.1", "-i", "13.3.2")
# Worse to the right.
RANKS: Final = (
    "OK",
    "INFORMATIONAL",
    "NON-STRICT",
    "UNIMPLEMENTED",
    "UNCLEAN",
    "WRONG CODE",
    "FAILED",
)

Verdicts = dict[str, tuple[str, str]]
Judge = Callable[..., Awaitable[Verdicts]]


def verdicts_in(report: Path) -> dict[str, Verdicts]:
    """Return what the report says of each agent: behaviour and closing of each case."""
    index = json.loads((report / "index.json").read_text("utf-8"))
    return {
        agent: {case: (each["behavior"], each["behaviorClose"]) for case, each in cases.items()}
        for agent, cases in index.items()
    }


def worse(
    through: Verdicts, direct: Verdicts
) -> dict[str, tuple[tuple[str, str], tuple[str, str]]]:
    """Return the cases in which the gateway did harm."""
    assert through.keys() == direct.keys()
    return {
        case: (through[case], direct[case])
        for case in direct
        if any(
            RANKS.index(a) > RANKS.index(b)
            for a, b in zip(through[case], direct[case], strict=True)
        )
    }


async def judge_both(judge: Judge, folder: Path, *options: str) -> tuple[Verdicts, Verdicts]:
    """Return the verdicts through the gateway, and directly.

    Whether the library still echoes what came before a bad frame is a race between its own threads,
    lost nearly always ("NON-STRICT"). Where it was won directly and only there, the direct verdict
    is given once more.
    """
    through = await judge(folder, "through", *options)
    direct = await judge(folder, "direct", *options)
    lucky = [
        case
        for case, ((behavior, close), (_, direct_close)) in worse(through, direct).items()
        if behavior == "NON-STRICT" and close == direct_close
    ]
    if lucky:
        again = [each for case in lucky for each in ("-i", case)]
        direct |= await judge(folder, "again", *again)
    return through, direct


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@asynccontextmanager
async def started(command: list[str]) -> AsyncIterator[subprocess.Popen[bytes]]:
    process = start(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@asynccontextmanager
async def gateway_to(port: int, folder: Path, interval: str = "20s") -> AsyncIterator[int]:
    """Run a gateway in front of ``port``, which pings every ``interval``; yield its own."""
    url = f"http://127.0.0.1:{port}/"
    made = make_config(folder, url, log={"access": {"to": "off"}}, keepalive={"interval": interval})
    async with running_gateway(made) as own:
        yield own


async def run(command: list[str]) -> None:
    await trio.run_process(command, check=False, capture_stdout=True, stderr=subprocess.STDOUT)


# -- a server behind the gateway -------------------------------------------------------------------


async def judge_server(folder: Path, name: str, *options: str) -> Verdicts:
    """Return the verdicts on an echo server, through the gateway if that is the ``name``."""
    report = folder / name
    async with started([*PEER, "server"]) as process:
        assert process.stdout is not None
        port = int(await trio.to_thread.run_sync(process.stdout.readline))
        async with gateway_to(port, folder) as own:
            address = own if name == "through" else port
            command = [KOSOKU, "-m", "fuzzingclient", "-p", "4", *options, "-o", str(report)]
            await run([*command, f"127.0.0.1:{address}"])
    (verdicts,) = verdicts_in(report).values()
    return verdicts


async def test_a_server_behind_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_both(judge_server, tmp_path, *PROTOCOL)
    assert len(through) == 247
    assert worse(through, direct) == {}


async def test_compression_with_a_server_behind_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_both(judge_server, tmp_path, *DEFLATE)
    assert set(through.values()) == {("OK", "OK")}
    assert len(through) == 5
    assert worse(through, direct) == {}


@pytest.mark.slow
async def test_long_messages_to_a_server_behind_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_both(judge_server, tmp_path, "-i", "9.*")
    assert len(through) == 54
    assert worse(through, direct) == {}


# -- a client in front of the gateway --------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def judge_client(folder: Path, name: str, *options: str) -> Verdicts:
    """Return the verdicts on an echo client, through the gateway if that is the ``name``."""
    port = free_port()
    report = folder / name
    command = [KOSOKU, "-m", "fuzzingserver", *options, "-o", str(report), f"127.0.0.1:{port}"]
    async with started(command) as process, gateway_to(port, folder) as own:
        assert process.stdout is not None
        await trio.to_thread.run_sync(process.stdout.readline)  # it listens
        address = own if name == "through" else port
        await run([*PEER, "client", f"ws://127.0.0.1:{address}", name])
        # Once the client has asked for its report the suite writes it, and ends.
        await trio.to_thread.run_sync(process.stdout.read)
    return verdicts_in(report)[name]


async def test_a_client_in_front_of_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_both(judge_client, tmp_path, *PROTOCOL)
    assert len(through) == 247
    assert worse(through, direct) == {}


async def test_compression_with_a_client_in_front_of_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_both(judge_client, tmp_path, *DEFLATE)
    assert set(through.values()) == {("OK", "OK")}
    assert len(through) == 5
    assert worse(through, direct) == {}


@pytest.mark.slow
async def test_long_messages_to_a_client_in_front_of_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_both(judge_client, tmp_path, "-i", "9.*")
    assert len(through) == 54
    assert worse(through, direct) == {}


# -- pings of ours between all of it ---------------------------------------------------------------


@pytest.fixture
def pings(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what is filled with the payloads of the gateway's own pings."""
    sent: list[bytes] = []

    def recording(opcode: Opcode, payload: bytes) -> bytes:
        sent.append(payload)
        return control_frame(opcode, payload)

    monkeypatch.setattr("gateway.http.websocket_relay.control_frame", recording)
    return sent


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_both_ends_of_the_library_while_the_gateway_pings_all_the_time(
    compression: str | None, tmp_path: Path, pings: list[bytes]
) -> None:
    """The fuzzing suites are no judges of that: to them a ping is an event that no case expects."""
    sizes = random.Random(4)
    messages: list[list[bytes]] = [
        [sizes.randbytes(sizes.choice((0, 1, 125, 126, 5000, 70_000))) * 2 for _ in range(parts)]
        for parts in (1, 2, 5) * 20
    ]

    def play(port: int) -> list[bytes]:
        url = f"ws://127.0.0.1:{port}"
        with connect(url, compression=compression, max_size=None) as websocket:
            echoed = []
            for parts in messages:
                websocket.send(iter(parts))
                echoed.append(websocket.recv())
                time.sleep(0.003)
            return [bytes(each) for each in echoed if not isinstance(each, str)]

    async with started([*PEER, "server"]) as process:
        assert process.stdout is not None
        port = int(await trio.to_thread.run_sync(process.stdout.readline))
        async with gateway_to(port, tmp_path, "1ms") as own:
            echoed = await trio.to_thread.run_sync(play, own)
    assert echoed == [b"".join(parts) for parts in messages]
    assert len(pings) > 50
