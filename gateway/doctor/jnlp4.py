"""The doctor at the TCP agent port: Ping, whose key it shows, and whether a secret is right.

Owns: what an agent says there up to the verdict, once more and by itself (PROTOCOLS B.3 and C).

Must not know: what an answer means. A session is never opened: after the controller's verdict the
doctor refuses the controller's headers, as an agent may, and the controller closes. So a secret is
judged, by who judges agents' secrets, without anybody being connected.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.doctor.client import CONNECT_TIMEOUT, Address, Unanswered, os_words

_WITHIN: Final = 10.0  # seconds, ProtocolStack.handshakingTimeout
_ACK: Final = b"\x00\x03ACK"
_REFUSAL: Final = "ERROR: only a look, no session"
_LONGEST_LINE: Final = 256


async def ping(address: Address, *, within: float = CONNECT_TIMEOUT) -> bytes:
    """Return the answer to ``Protocol:Ping``, ``Ping`` if all is well. Raises Unanswered."""
    async with _stream(address, within) as stream:
        with _said_in_words(within):
            await stream.send_all(_string("Protocol:Ping"))
            answer = b""
            while b"\n" not in answer and len(answer) < _LONGEST_LINE:
                piece = bytes(await stream.receive_some(_LONGEST_LINE))
                if not piece:
                    break
                answer += piece
            return answer


async def identity(address: Address, *, within: float = _WITHIN) -> bytes:
    """Return the public key that the port shows, as DER SubjectPublicKeyInfo. Raises Unanswered."""
    async with _tls(address, within) as (_, key):
        return key


async def judge(
    address: Address, expected: bytes, node: str, secret: str, *, within: float = _WITHIN
) -> str:
    """Return the verdict on a node's secret, ``OK`` or ``ERROR: reason``; no session comes of it.

    Raises Unanswered, also where the port's key is not ``expected``: then nothing was said.
    """
    async with _tls(address, within) as (stream, key):
        if key != expected:
            raise Unanswered("the port shows another key than the published one")
        with _said_in_words(within):
            headers = json.dumps({"Node-Name": node, "Secret-Key": secret}, ensure_ascii=False)
            await stream.send_all(_string(headers))
            reader = _Reader(stream)
            await reader.string()  # the controller's headers: a cookie
            verdict = (await reader.string()).decode("utf-8", "replace")
            await stream.send_all(_string(_REFUSAL if verdict == "OK" else "BYE"))
            if verdict == "OK":
                with trio.move_on_after(2):
                    await reader.string()  # BYE
            return verdict


def _string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2) + data


class _Reader:
    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = b""

    async def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = bytes(await self._stream.receive_some(65536))
            if not piece:
                raise Unanswered("the port closed the connection")
            self._buffer += piece
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    async def string(self) -> bytes:
        return await self.exactly(int.from_bytes(await self.exactly(2)))


@asynccontextmanager
async def _stream(address: Address, within: float) -> AsyncIterator[trio.SocketStream]:
    with _said_in_words(within):
        with trio.fail_after(min(within, CONNECT_TIMEOUT)):
            stream = await trio.open_tcp_stream(*address)
    try:
        yield stream
    finally:
        stream.socket.close()


@asynccontextmanager
async def _tls(
    address: Address, within: float
) -> AsyncIterator[tuple[trio.SSLStream[trio.SocketStream], bytes]]:
    """Give the TLS connection of a JNLP4 handshake, and the key of the other side."""
    async with _stream(address, within) as plain:
        with _said_in_words(within):
            await plain.send_all(_string("Protocol:JNLP4-connect") + _ACK)
            answer = b""
            while len(answer) < len(_ACK) and (
                piece := bytes(await plain.receive_some(len(_ACK) - len(answer)))
            ):
                answer += piece
            if answer != _ACK:
                raise Unanswered(f"the port does not speak JNLP4-connect (it said {answer!r})")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False  # the key counts, as for agents, and nothing else
            context.verify_mode = ssl.CERT_NONE
            stream = trio.SSLStream(plain, context, https_compatible=True)
            await stream.do_handshake()
            certificate = stream.getpeercert(binary_form=True)
            key = x509.load_der_x509_certificate(certificate).public_key()
        yield stream, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextmanager
def _said_in_words(within: float) -> Iterator[None]:
    """Bound a part of the conversation, and turn its failures into Unanswered."""
    try:
        with trio.fail_after(within):
            yield
    except trio.TooSlowError:
        raise Unanswered("no answer in time", late=True) from None
    except trio.BrokenResourceError as error:
        raise Unanswered(f"the connection broke: {error.__cause__ or 'reset'}") from None
    except ValueError as error:
        raise Unanswered(f"the port's certificate cannot be read: {error}") from None
    except OSError as error:
        raise Unanswered(os_words(error)) from None
