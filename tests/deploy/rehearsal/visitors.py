"""People and scripts that use Jenkins through the ingress meanwhile: each request must be answered.

Owns: what is asked, what the controllers are known to answer, and counting.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from tests.peers.raw_client import RawClient

# Slower is a failure: nobody is to wait for a gateway that is on its way out.
_PATIENCE: Final = 20.0


@dataclass(frozen=True)
class Request:
    """A request line, a body to send, and the answer: its status and what its body has in it."""

    line: str
    body: bytes
    status: int
    says: bytes


@dataclass
class Visitors:
    """Requests through ``address``, each on a connection of its own, so many a second."""

    address: tuple[str, int]
    host: str
    tls: ssl.SSLContext
    requests: Sequence[Request]
    served: int = 0
    failures: list[str] = field(default_factory=list)

    async def run(self, rate: float, stopped: trio.Event) -> None:
        """Come until ``stopped``; return when everybody has been answered."""
        async with trio.open_nursery() as nursery:
            number = 0
            while not stopped.is_set():
                nursery.start_soon(self._one, self.requests[number % len(self.requests)])
                number += 1
                await trio.sleep(1 / rate)

    async def _one(self, request: Request) -> None:
        try:
            with trio.fail_after(_PATIENCE):
                problem = await self._ask(request)
        except Exception as error:  # every way to fail counts
            problem = repr(error)
        if problem is None:
            self.served += 1
        else:
            self.failures.append(f"{request.line}: {problem}")

    async def _ask(self, request: Request) -> str | None:
        plain = await trio.open_tcp_stream(*self.address)
        stream = trio.SSLStream(plain, self.tls, server_hostname=self.host, https_compatible=True)
        async with RawClient(stream) as client:
            answer = await client.ask(
                f"{request.line} HTTP/1.1\r\n"
                f"Host: {self.host}:{self.address[1]}\r\n"
                "User-Agent: Mozilla/5.0\r\n"
                "Connection: close\r\n"
                f"Content-Length: {len(request.body)}\r\n"
                "\r\n".encode()
                + request.body
            )
        if answer.status != request.status or request.says not in answer.body:
            return f"{answer.head!r} {answer.body[:200]!r}"
        return None
