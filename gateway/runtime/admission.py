"""Places: how many connections there may be, and how many handshakes a controller gets at once.

Owns: the limits and the queues in front of them. A place is a context manager, so that no path
forgets to give it back.

Must not know: what a place is used for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Final

import trio

from gateway.errors import LimitExceeded

# Waiting longer than this for a place leaves too little of the 25 s that a handshake has.
HANDSHAKE_WAIT: Final = 10.0
# Who would have to wait behind this many others is told at once.
HANDSHAKE_QUEUE: Final = 2048
# Who has an IPv6 address usually has all of its /64 (RFC 6177), so that is what counts as one.
_IPV6_SITE: Final = 64


# Hosts whose site is remembered, so that not every request has its address parsed.
_REMEMBERED: Final = 4096


def _is_nobody(host: str) -> bool:
    return False


class HandshakePlaces:
    """The handshake budget of one controller."""

    def __init__(
        self,
        places: int,
        *,
        wait: float = HANDSHAKE_WAIT,
        queue: int = HANDSHAKE_QUEUE,
    ) -> None:
        self._places = trio.Semaphore(places)
        self._wait = wait
        self._queue = queue

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place. Raises LimitExceeded after ``wait`` seconds, or at once if the queue is
        full.
        """
        places = self._places
        if not places.value and places.statistics().tasks_waiting >= self._queue:
            raise LimitExceeded(detail="the controller's handshake queue is full")
        try:
            with trio.fail_after(self._wait):
                await self._places.acquire()
        except trio.TooSlowError:
            raise LimitExceeded(detail="no place in the controller's handshake budget") from None
        try:
            yield
        finally:
            self._places.release()


class ConnectionPlaces:
    """How many connections one worker holds at a time, in all and from one address."""

    def __init__(
        self, limit: int, *, per_address: int, is_exempt: Callable[[str], bool] = _is_nobody
    ) -> None:
        """``is_exempt`` says of a host that it may use all places, as a proxy in front of us."""
        self._limit = limit
        self._per_address = per_address
        self._is_exempt = is_exempt
        self._by_address: dict[str, int] = {}
        self.held = 0
        self.most_held = 0  # since ``runtime/memory`` last looked

    @contextmanager
    def place(self, host: str) -> Iterator[None]:
        """Hold a place for ``host``: an IP address, or ``unix``. Raises LimitExceeded."""
        if self.held >= self._limit:
            raise LimitExceeded(detail=f"{self._limit} connections are open (limits.connections)")
        address = None if self._is_exempt(host) else site_of(host)
        if address is not None:
            held = self._by_address.get(address, 0)
            if held >= self._per_address:
                raise LimitExceeded(
                    detail=f"{held} connections from {address} are open"
                    " (limits.connections_per_address; trusted_proxies are exempt)"
                )
            self._by_address[address] = held + 1
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        try:
            yield
        finally:
            self.held -= 1
            if address is not None:
                self._give_back(address)

    def _give_back(self, address: str) -> None:
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]


def counted_sites(is_exempt: Callable[[str], bool] = _is_nobody) -> Callable[[str], str | None]:
    """Return what says which address a host counts as; None for one that is not counted."""

    @lru_cache(maxsize=_REMEMBERED)
    def site(host: str) -> str | None:
        return None if is_exempt(host) else site_of(host)

    return site


def site_of(host: str) -> str | None:
    """Return what counts as one address: an IPv4 address, an IPv6 /64; None for a Unix peer."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _IPV6_SITE), strict=False))
