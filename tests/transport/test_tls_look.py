from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from gateway.transport.tls_look import TlsLookFailed, look
from tests import certificates


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[trio.abc.Stream]:
    """Give the client's end of a pair at whose other end TLS is spoken."""
    near, far = trio.testing.memory_stream_pair()

    async def serve() -> None:
        stream = trio.SSLStream(far, context, server_side=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            await far.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield near
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_what_a_server_shows_is_seen_and_not_believed(version: ssl.TLSVersion) -> None:
    async with serving(certificates.server_context(version)) as stream:
        seen = await look(stream, "another.example.com")
    assert seen.version == version.name.replace("_", ".")
    leaf = certificates.issue("localhost").cert_chain_pems[0].bytes().decode()
    assert seen.chain == (ssl.PEM_cert_to_DER_cert(leaf),)
    assert seen.cipher != "none"


async def test_what_is_no_tls_is_said_so() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(TlsLookFailed, match=r"wrong version number|packet length|record layer"):
        await look(near, None)


async def test_a_server_that_leaves() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.send_eof()
    with pytest.raises(TlsLookFailed, match="closed"):
        await look(near, None)
