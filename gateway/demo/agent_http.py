"""What a simulated agent says in HTTP, byte for byte as recorded, and how it reads the answer.

Owns: the two request heads (Java's ``HttpURLConnection`` for ``/login``, Tyrus for the upgrade),
the reading of one answer with h11, the comparison of remoting versions.

Must not know: retries, the fate of cookies, WebSocket frames. Sources: PROTOCOLS A.2, A.5, L and
the recordings of WebSocket agents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final
from urllib.parse import urlsplit

import h11

from gateway.demo.stream import ConnectionEnded, End, Wire

_MAX_BODY: Final = 1024 * 1024
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: header names as received; ``rest`` is what followed a 101."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    rest: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever the case of its name, or None."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


class BodyTooLong(ValueError):
    """An answer whose body is above 1 MiB; ``answer`` has the beginning of it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("the answer's body is above 1 MiB")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Target:
    """An agent's ``-url``, taken apart; ``path`` ends with a slash."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Take ``http[s]://host[:port][/prefix]`` apart; ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or parts.hostname is None:
            raise ValueError(f"not an http or https URL: {url}")
        path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
        return cls(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme], path)

    @property
    def host_header(self) -> str:
        """Return the ``Host`` value: no default port, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def login_request(target: Target) -> bytes:
    """Write the readiness probe of Java 17's ``HttpURLConnection``."""
    return _head(
        f"GET {target.path}login HTTP/1.1",
        [
            ("User-Agent", "Java/17.0.15"),
            ("Host", target.host_header),
            ("Accept", "text/html, image/gif, image/jpeg, */*; q=0.2"),
            ("Connection", "keep-alive"),
        ],
    )


def upgrade_request(
    target: Target,
    *,
    key: str,
    node: str,
    secret: str,
    capability: str,
    cookie: str | None,
    extra: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Write Tyrus' upgrade request; ``extra`` overwrites or adds headers (``-webSocketHeader``).

    Values go out as ISO-8859-1, and what does not fit as a question mark, as Tyrus does.
    """
    headers = {
        "Sec-WebSocket-Key": key,
        "Node-Name": node,
        "Connection": "upgrade",
        "Sec-WebSocket-Version": "13",
        "Secret-Key": secret,
        "X-Remoting-Capability": capability,
        "Host": target.host_header,
    }
    if cookie is not None:
        headers["Connection-Cookie"] = cookie
    headers["Upgrade"] = "websocket"
    headers.update(extra)
    return _head(f"GET {target.path}wsagents/ HTTP/1.1", headers.items())


def _head(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


async def exchange(wire: Wire, request: bytes, *, upgrade: bool = False) -> Answer:
    """Send a request head and return the whole answer, or the 101 and what follows it.

    h11 reads; it is told of an equivalent request, since it would not write ours byte for byte.
    Raises ConnectionEnded, h11.RemoteProtocolError, BodyTooLong.
    """
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "gateway")]
    if upgrade:
        headers += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    connection.send(h11.Request(method="GET", target="/", headers=headers))
    connection.send(h11.EndOfMessage())
    await wire.send(request)
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await wire.read_some())
            except ConnectionEnded as exc:
                if exc.end not in (End.BARE_EOF, End.CLOSE_NOTIFY):
                    raise
                connection.receive_data(b"")
        elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return _answer(event, rest=connection.trailing_data[0])
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_BODY and head is not None:
                raise BodyTooLong(_answer(head, body=bytes(body[:_MAX_BODY])))
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _answer(head, body=bytes(body))
        elif not isinstance(event, h11.InformationalResponse):  # 100 and the like say nothing
            raise h11.RemoteProtocolError(f"unexpected {event!r}")


def _answer(
    head: h11.Response | h11.InformationalResponse, *, body: bytes = b"", rest: bytes = b""
) -> Answer:
    headers = tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in head.headers.raw_items()
    )
    return Answer(head.status_code, head.reason.decode("latin-1"), headers, body, rest)


def is_newer(version: str, than: str) -> bool:
    """Compare remoting versions by their dotted numbers (PROTOCOLS L): ``3176.v2..`` by 3176."""
    ours, theirs = (
        [int(part) for part in takewhile(str.isdecimal, re.split(r"[.-]", text))]
        for text in (than, version)
    )
    width = max(len(ours), len(theirs))
    return [*theirs, *[0] * (width - len(theirs))] > [*ours, *[0] * (width - len(ours))]
