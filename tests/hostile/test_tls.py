"""TLS garbage: before the handshake, in the middle of it, behind it and inside a session."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from tests import certificates
from tests.hostile.site import (
    Attack,
    Site,
    address_of,
    at_once,
    client_hello,
    read_to_end,
    request_for,
    reset,
    running_site,
)
from tests.peers.tls_peer import TlsPeer

pytestmark = pytest.mark.e2e

ROUNDS: Final = 6
_HANDSHAKE: Final = b"\x16\x03\x01"
_NO_HANDSHAKE: Final = "connection closed during the TLS handshake"


@dataclass(frozen=True)
class Opening:
    """Bytes on a new connection, and what the log says of it. ``reason`` is a part of that."""

    name: str
    data: bytes = field(repr=False)
    reason: str
    leave: str = "fin"  # or "rst", or "stay" until the gateway has had enough


def openings() -> Iterator[Opening]:
    """Yield what comes in place of a handshake, or breaks one off."""
    hello = client_hello()
    rng = random.Random(3)
    yield Opening("nothing, FIN", b"", _NO_HANDSHAKE)
    yield Opening("nothing, RST", b"", "connection reset by peer", "rst")
    yield Opening("one byte, FIN", b"\x16", _NO_HANDSHAKE)
    yield Opening("plain HTTP", b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n", "http request", "stay")
    yield Opening("CONNECT", b"CONNECT x:443 HTTP/1.1\r\n\r\n", "https proxy request", "stay")
    yield Opening("the agent port's preamble", b"\x00\x16Protocol:JNLP4-connect", "TLS: ", "stay")
    yield Opening("absurd record", _HANDSHAKE + b"\xff\xff" + bytes(70_000), "TLS: ", "stay")
    yield Opening("empty records", (_HANDSHAKE + b"\0\0") * 1000, "TLS: ", "stay")
    yield Opening("an alert", b"\x15\x03\x01\x00\x02\x02\x28", "TLS: ", "stay")
    yield Opening("application data", b"\x17\x03\x03\x00\x20" + bytes(32), "TLS: ", "stay")
    yield Opening("SSL 2", b"\x80\x2e\x01\x00\x02" + bytes(42), "TLS: ", "stay")
    yield Opening(
        "a ClientHello of 16 MiB",
        (_HANDSHAKE + b"\x40\x00\x01\xff\xff\xff" + bytes(0x3FFC)) + 8 * _record(bytes(0x4000)),
        "TLS: ",
        "stay",
    )
    yield Opening("half a ClientHello, FIN", hello[: len(hello) // 2], _NO_HANDSHAKE)
    yield Opening("half a ClientHello, RST", hello[: len(hello) // 2], "reset", "rst")
    yield Opening("ClientHello, FIN", hello, _NO_HANDSHAKE)
    yield Opening("ClientHello, RST", hello, "reset", "rst")
    yield Opening("ClientHello twice", hello * 2, "TLS: ", "stay")
    yield Opening("ClientHello, then zeros", hello + bytes(4096), "TLS: ", "stay")
    for number in range(20):
        noise = rng.randbytes(rng.choice((6, 50, 1000, 40_000)))
        if noise[:3] != _HANDSHAKE:
            yield Opening(f"noise {number}", noise, "TLS: ", "stay")
        yield Opening(f"ClientHello, then noise {number}", hello + noise, "TLS: ", "stay")


def _record(body: bytes) -> bytes:
    return _HANDSHAKE + len(body).to_bytes(2, "big") + body


async def _open_badly(site: Site, opening: Opening) -> None:
    mark = site.gateway.log.mark()
    async with await site.connect(site.tls_port) as stream:
        client = address_of(stream)
        try:
            await stream.send_all(opening.data)
        except trio.BrokenResourceError:
            assert opening.leave == "stay"  # it had enough before the last byte
        if opening.leave == "rst":
            await trio.sleep(0.02)  # a reset may overtake what was sent before it
            reset(stream)
        elif opening.leave == "fin":
            await _send_eof(stream)
            await read_to_end(stream)
        else:
            await read_to_end(stream)
    log = site.gateway.log
    if opening.leave == "rst":
        # The kernel hands nobody a connection that was reset before it could be accepted.
        lines = log.find("tls handshake failed", since=mark, **client)
        assert all(opening.reason in line["reason"] for line in lines), opening.name
        return
    (line,) = await log.wait_for("tls handshake failed", since=mark, **client)
    assert opening.reason in line["reason"], opening.name


async def _send_eof(stream: trio.SocketStream) -> None:
    try:
        await stream.send_eof()
    except trio.BrokenResourceError:
        return


async def _break_the_last_flight(site: Site, version: ssl.TLSVersion) -> None:
    """Answer the server's flight with noise in a record that looks right."""
    peer = TlsPeer(certificates.client_context(version), server_side=False, server_name="localhost")
    mark = site.gateway.log.mark()
    async with await site.connect(site.tls_port) as stream:
        client = address_of(stream)
        await stream.send_all(peer.handshake())
        await stream.receive_some(65536)
        kind = b"\x17\x03\x03" if version is ssl.TLSVersion.TLSv1_3 else b"\x16\x03\x03"
        await stream.send_all(kind + b"\x00\x40" + random.Random(4).randbytes(64))
        await read_to_end(stream)
    (line,) = await site.gateway.log.wait_for("tls handshake failed", since=mark, **client)
    assert line["reason"].startswith("TLS: ")


async def _break_after_the_handshake(site: Site, before: bytes, noise: bytes) -> None:
    """Send noise in place of a record, ``before`` having been sent in order."""
    mark = site.gateway.log.mark()
    stream = await site.connect_tls()
    sock = stream.transport_stream
    client = address_of(sock)
    async with sock:
        if before:
            await stream.send_all(before)
        await sock.send_all(noise)
        await read_to_end(sock)
    # The noise may still have arrived together with the last message of the handshake.
    events = ("connection broken", "tls handshake failed")
    (line,) = await site.gateway.log.wait_for(*events, since=mark, **client)
    assert line["reason"].startswith("TLS: ")


async def _break_a_session(site: Site, noise: bytes) -> None:
    async with site.hostile_session() as (node, client):
        assert isinstance(client.stream, trio.SSLStream)
        sock = client.stream.transport_stream
        await sock.send_all(noise)
        await read_to_end(sock)
    (line,) = await site.gateway.log.wait_for("session ended", node=node)
    assert line["by"] == "agent"
    assert "TLS: " in line["reason"]


def attacks(site: Site) -> list[Attack]:
    """Return one round."""
    rng = random.Random(5)
    found: list[Attack] = [partial(_open_badly, site, opening) for opening in openings()]
    versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    found += [partial(_break_the_last_flight, site, version) for version in versions]
    request = request_for("nobody", "5ec7e7")
    for noise in (b"\x17\x03\x03\x00\x40" + rng.randbytes(64), rng.randbytes(5000), b"GET / HTTP"):
        found += [
            partial(_break_after_the_handshake, site, before, noise)
            for before in (b"", request[:1], request[:-2])
        ]
        found.append(partial(_break_a_session, site, noise))
    return found


async def test_garbage_in_and_around_tls(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:

        async def one_round() -> None:
            await at_once(attacks(site))

        await site.endure(one_round, rounds=ROUNDS)
