"""Relayed WebSockets before an outside judge: kosoku, with the gateway in between and without.

The ends are the ``websockets`` library's, whose own verdicts are not our matter: what must hold is
that no case comes out worse through the gateway than it does directly, in either role.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

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


def verdicts_in(report: Path) -> dict[str, Verdicts]:
    """Return what the report says of each agent: behaviour and closing of each case."""
    index = json.loads((report / "index.json").read_text("utf-8"))
    return {
        agent: {case: (each["behavior"], each["behaviorClose"]) for case, each in cases.items()}
        for agent, cases in index.items()
    }


def worse(through: Verdicts, direct: Verdicts) -> dict[str, tuple[tuple[str, str], ...]]:
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
async def gateway_to(port: int, folder: Path) -> AsyncIterator[int]:
    """Run a gateway in front of ``port``; yield its own."""
    url = f"http://127.0.0.1:{port}/"
    async with running_gateway(make_config(folder, url, access_log="off")) as own:
        yield own


async def run(command: list[str]) -> None:
    await trio.run_process(command, check=False, capture_stdout=True, stderr=subprocess.STDOUT)


# -- a server behind the gateway -------------------------------------------------------------------


async def judge_server(folder: Path, *options: str) -> tuple[Verdicts, Verdicts]:
    """Return the verdicts on an echo server: through the gateway, and directly."""
    found = []
    async with started([*PEER, "server"]) as process:
        assert process.stdout is not None
        port = int(await trio.to_thread.run_sync(process.stdout.readline))
        async with gateway_to(port, folder) as own:
            for name, address in (("through", own), ("direct", port)):
                report = folder / name
                command = [KOSOKU, "-m", "fuzzingclient", "-p", "4", *options, "-o", str(report)]
                await run([*command, f"127.0.0.1:{address}"])
                (verdicts,) = verdicts_in(report).values()
                found.append(verdicts)
    return found[0], found[1]


async def test_a_server_behind_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_server(tmp_path, *PROTOCOL)
    assert len(through) == 247
    assert worse(through, direct) == {}


async def test_compression_with_a_server_behind_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_server(tmp_path, *DEFLATE)
    assert set(through.values()) == {("OK", "OK")}
    assert len(through) == 5
    assert worse(through, direct) == {}


@pytest.mark.slow
async def test_long_messages_to_a_server_behind_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_server(tmp_path, "-i", "9.*")
    assert len(through) == 54
    assert worse(through, direct) == {}


# -- a client in front of the gateway --------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def judge_client(folder: Path, *options: str) -> tuple[Verdicts, Verdicts]:
    """Return the verdicts on an echo client: through the gateway, and directly."""
    through = await judge_one_client(folder, "through", *options)
    return through, await judge_one_client(folder, "direct", *options)


async def judge_one_client(folder: Path, name: str, *options: str) -> Verdicts:
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
    through, direct = await judge_client(tmp_path, *PROTOCOL)
    assert len(through) == 247
    assert worse(through, direct) == {}


async def test_compression_with_a_client_in_front_of_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_client(tmp_path, *DEFLATE)
    assert len(through) == 5
    assert worse(through, direct) == {}


@pytest.mark.slow
async def test_long_messages_to_a_client_in_front_of_the_gateway(tmp_path: Path) -> None:
    through, direct = await judge_client(tmp_path, "-i", "9.*")
    assert len(through) == 54
    assert worse(through, direct) == {}
