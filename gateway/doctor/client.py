"""The doctor's HTTP: one connection a request, heads written by hand, answers read with h11.

Owns: where to connect, TLS with what agents trust, the limit on time, and the words for what
prevented an answer.

Must not know: what an answer means.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import h11
import trio

from gateway.demo.agent_http import Answer, BodyTooLong, exchange
from gateway.demo.stream import ConnectionEnded, End, Wire
from gateway.doctor.question import MASK, Question, basic_token

CONNECT_TIMEOUT: Final = 5.0  # seconds
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64) remoting-gateway-doctor"

# What h11 says of a server that leaves before the end of its answer.
_LEFT_EARLY: Final = ("ConnectionClosed", "closed connection")

Address = tuple[str, int]
Headers = Iterable[tuple[str, str]]


class Unanswered(Exception):
    """No HTTP answer: the text says why, for people. ``tls``: TLS failed; ``late``: time ran out;
    ``http``: False if what came is no HTTP.
    """

    def __init__(
        self, reason: str, *, tls: bool = False, late: bool = False, http: bool = True
    ) -> None:
        super().__init__(reason)
        self.tls = tls
        self.late = late
        self.http = http


# Loading the system's authorities takes tens of milliseconds.
@functools.lru_cache(maxsize=8)
def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies as Java does: the system's authorities, those of ``ca_file``,
    no fetching of what the server forgot to send.

    Raises ssl.SSLError or OSError when the file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def address_of(question: Question) -> Address:
    """Return host and port to connect to."""
    return question.connect_to or (question.target.host, question.target.port)


def get_request(
    question: Question, path: str, headers: Headers = (), *, method: str = "GET"
) -> bytes:
    """Write a request as a browser, or what sends ``headers``, would: they replace and add."""
    fields = {
        "Host": question.target.host_header,
        "User-Agent": BROWSER,
        "Accept": "*/*",
        "Connection": "close",
    }
    fields.update(headers)
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def basic(question: Question) -> list[tuple[str, str]]:
    """Return the ``Authorization`` of who asks, if there is one."""
    if question.authorization is None:
        return []
    return [("Authorization", f"Basic {basic_token(question.authorization)}")]


async def dial(question: Question, address: Address | None) -> Wire:
    """Return a connection to the target, with TLS verified where it is https. Raises Unanswered.

    The caller abandons it.
    """
    wire: Wire | None = None
    try:
        with translated(), trio.fail_after(question.timeout):
            with trio.fail_after(CONNECT_TIMEOUT):
                stream = await trio.open_tcp_stream(*(address or address_of(question)))
            wire = Wire(stream)
            if question.is_https:
                await wire.start_tls(trust(question.ca_file), server_name=question.target.host)
    except BaseException:
        if wire is not None:
            wire.abandon()
        raise
    return wire


@asynccontextmanager
async def connected(question: Question, address: Address | None) -> AsyncIterator[Wire]:
    """Give a connection for the time of the block. Raises Unanswered."""
    wire = await dial(question, address)
    try:
        yield wire
    finally:
        wire.abandon()


async def send(
    question: Question, request: bytes, address: Address | None = None, *, upgrade: bool = False
) -> Answer:
    """Send one request and return its answer, a long body cut short. Raises Unanswered."""
    async with connected(question, address) as wire:
        return await ask(question, wire, request, upgrade=upgrade, within=question.timeout)


async def ask(
    question: Question, wire: Wire, request: bytes, *, upgrade: bool, within: float
) -> Answer:
    """Send a request over ``wire`` and return what came: without our secrets, should they be in it.

    Of a body, 1 MiB is read. Raises Unanswered.
    """
    with translated(), trio.fail_after(within):
        try:
            answer = await exchange(wire, request, upgrade=upgrade)
        except BodyTooLong as cut:
            answer = cut.answer
    return _without_secrets(question, answer)


def _without_secrets(question: Question, answer: Answer) -> Answer:
    body = answer.body
    for secret in question.secrets:
        body = body.replace(secret.encode(), MASK.encode())
    hide = question.without_secrets
    headers = tuple((hide(name), hide(value)) for name, value in answer.headers)
    return replace(answer, reason=hide(answer.reason), headers=headers, body=body)


async def get(
    question: Question, path: str, headers: Headers = (), address: Address | None = None
) -> Answer:
    """Ask for ``path``, which is sent as it is. Raises Unanswered."""
    return await send(question, get_request(question, path, headers), address)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what streams, h11 and deadlines raise into Unanswered."""
    try:
        yield
    except trio.TooSlowError:
        raise Unanswered("no answer in time", late=True) from None
    except ConnectionEnded as error:
        reason, tls = _words(error)
        raise Unanswered(reason, tls=tls) from None
    except (h11.RemoteProtocolError, ValueError) as error:
        if any(each in str(error) for each in _LEFT_EARLY):
            raise Unanswered("the connection was closed without an answer") from None
        raise Unanswered(f"what came is no HTTP: {error}", http=False) from None
    except OSError as error:
        raise Unanswered(os_words(error)) from None


def _words(error: ConnectionEnded) -> tuple[str, bool]:
    if error.end is End.TLS_FAILURE:
        return str(error), True
    if error.end in (End.BARE_EOF, End.CLOSE_NOTIFY):
        return "the connection was closed without an answer", False
    return f"the connection was {error}", False


def os_words(error: OSError) -> str:
    """Return what an operating system's error comes to, in a few words."""
    cause = error.__cause__
    if isinstance(cause, ExceptionGroup):  # trio's, of all the addresses of a name
        cause = cause.exceptions[0]
    if isinstance(cause, OSError):
        return os_words(cause)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return (error.strerror or str(error) or type(error).__name__).lower()
