"""Request heads and bodies that nobody should send: each gets a status, and a line with its id.

What the gate thinks of each byte is tested in ``tests/protocol``; here it is what such clients cost
the worker.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.hostile.site import (
    Attack,
    Site,
    address_of,
    at_once,
    read_to_end,
    request_for,
    reset,
    running_site,
)

pytestmark = pytest.mark.e2e

ROUNDS: Final = 5
_numbers = itertools.count()
_HOST: Final = b"Host: gateway.test\r\n"


@dataclass(frozen=True)
class Request:
    """What a client sends, and the statuses of which it gets one."""

    name: str
    data: bytes = field(repr=False)
    statuses: tuple[int, ...] = (400,)


def requests() -> Iterator[Request]:
    """Yield requests that end their connection."""
    rng = random.Random(7)
    get = b"GET /login HTTP/1.1\r\n"
    yield Request("a line of 8 MiB", b"GET /" + b"a" * (8 << 20), (414,))
    yield Request("a line without end", b"G" * 9000, (414,))
    yield Request("a head of 8 MiB", get + _HOST + b"X: " + b"x" * (8 << 20), (431,))
    yield Request("100,000 fields", get + _HOST + b"a:\r\n" * 100_000 + b"\r\n", (431,))
    yield Request("101 fields", get + _HOST + b"a:\r\n" * 101 + b"\r\n", (431,))
    yield Request("line feeds", b"\n" * 40_000)
    yield Request("empty lines", b"\r\n" * 40_000)
    yield Request("NUL", get + b"Host: a\0b\r\n\r\n")
    yield Request("a bare LF", get + b"Host: a\nX: y\r\n\r\n")
    yield Request("a folded field", get + _HOST + b"X: a\r\n b\r\n\r\n")
    yield Request("no host", get + b"\r\n")
    yield Request("two hosts", get + _HOST * 2 + b"\r\n")
    yield Request("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 405, 505))
    yield Request("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(8000) + b"\r\n" * 3)
    yield Request("the agent port's preamble", b"\0\x16Protocol:JNLP4-connect\r\n\r\n")
    post = b"POST / HTTP/1.1\r\n" + _HOST
    yield Request("two lengths", post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n")
    yield Request(
        "length and chunks",
        post + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    yield Request("absurd length", post + b"Content-Length: 99999999999999999999\r\n\r\n")
    yield Request("unknown coding", post + b"Transfer-Encoding: gzip\r\n\r\n", (400, 501))
    agents = request_for("nobody", "5ec7e7")
    yield Request(
        "an agent with an endless body",
        agents.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        + b"8000\r\n"
        + b"b" * 0x8000,
    )
    for number in range(20):
        noise = rng.randbytes(rng.choice((20, 500, 9000, 100_000)))
        yield Request(f"noise {number}", noise + b"\r\n\r\n", (400, 405, 414, 431, 501, 505))
        spoilt = bytearray(agents)
        for _ in range(3):
            spoilt[rng.randrange(len(spoilt))] = rng.choice(b"\0\r\n\x7f")
        yield Request(f"an agent's request, spoilt {number}", bytes(spoilt), (400, 405, 501, 505))


async def _ask_badly(site: Site, request: Request) -> None:
    log = site.gateway.log
    mark = log.mark()
    async with await site.connect(site.plain_port) as stream:
        client = address_of(stream)
        answer = await _send_and_read(stream, request.data)
    assert answer.startswith(b"HTTP/1.1 "), f"{request.name}: {answer[:80]!r}"
    assert int(answer[9:12]) in request.statuses, f"{request.name}: {answer[:200]!r}"
    (error_id,) = [
        line.partition(b":")[2].strip().decode()
        for line in answer.split(b"\r\n\r\n")[0].split(b"\r\n")
        if line.startswith(b"X-Gateway-Error-Id:")
    ]
    (line,) = await log.wait_for("request refused", since=mark, error_id=error_id)
    assert line["client"] == client["client"]
    assert line["reason"]


async def _send_and_read(stream: trio.SocketStream, data: bytes, *, eof: bool = False) -> bytes:
    """Send for as long as the other end listens, and read what it says meanwhile.

    ``eof``: send the end, too.
    """
    answer = b""

    async def read() -> None:
        nonlocal answer
        answer = await read_to_end(stream)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with suppress(trio.BrokenResourceError):  # its answer may still have come
            await stream.send_all(data)
            if eof:
                await stream.send_eof()
    return answer


async def _leave(site: Site, data: bytes, *, by_reset: bool) -> None:
    """Break off in the middle of a head."""
    log = site.gateway.log
    mark = log.mark()
    async with await site.connect(site.plain_port) as stream:
        client = address_of(stream)
        await stream.send_all(data)
        if by_reset:
            await trio.sleep(0.02)
            reset(stream)
            return  # whether the gateway has read anything before the reset is the kernel's matter
        await stream.send_eof()
        await read_to_end(stream)
    (line,) = await log.wait_for("connection broken", since=mark, **client)
    assert line["reason"] == "it ended in the middle of a head"


@dataclass(frozen=True)
class Chunk:
    """The first line of a chunk, and what becomes of the request that has it."""

    size: bytes
    status: int
    reason: str


CHUNKS: Final = (
    Chunk(b"ffff", 499, "the connection ended in the middle of a request body"),
    Chunk(b"f" * 17, 400, "malformed chunk size"),
    Chunk(b"-1", 400, "malformed chunk size"),
    Chunk(b"7;" + b"x" * 20_000, 400, "line too long in a chunked body"),
    Chunk(b"\0", 400, "malformed chunk size"),
)


async def _chunk_that_never_ends(site: Site, chunk: Chunk) -> None:
    """Upload through the proxy in a chunk that is broken off, or whose size is absurd."""
    log = site.gateway.log
    mark = log.mark()
    path = f"/upload/{next(_numbers)}"
    head = b"POST %s HTTP/1.1\r\n" % path.encode() + _HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    async with await site.connect(site.plain_port) as stream:
        data = head + chunk.size + b"\r\n" + b"u" * 30_000
        answer = await _send_and_read(stream, data, eof=True)
    (line,) = await log.wait_for("request refused", since=mark, path=path)
    assert (line["status"], line["client"]) == (chunk.status, "127.0.0.1")
    assert line["reason"].endswith(chunk.reason), line
    if chunk.status == 499:  # there is nobody to answer
        assert answer == b"", answer[:200]
        return
    # One answer, the gateway's own: what looks like more of the body is not read as a request.
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"X-Gateway-Error-Id: %s\r\n" % line["error_id"].encode() in answer


def attacks(site: Site) -> list[Attack]:
    """Return one round."""
    found: list[Attack] = [partial(_ask_badly, site, request) for request in requests()]
    agents = request_for("nobody", "5ec7e7")
    found += [
        partial(_leave, site, agents[:size], by_reset=by_reset)
        for size in (1, 100, len(agents) - 1)
        for by_reset in (False, True)
    ]
    return found + [partial(_chunk_that_never_ends, site, chunk) for chunk in CHUNKS]


async def test_requests_that_nobody_should_send(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:

        async def one_round() -> None:
            await at_once(attacks(site))

        await site.endure(one_round, rounds=ROUNDS)
