"""Places: how many connections there may be.

Owns: the limits, in all and of one address, and what counts as one address. A place is a context
manager, so that no path forgets to give it back.

Must not know: what a connection is used for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from gateway.config.networks import site_of
from gateway.errors import LimitExceeded

# Hosts whose site is remembered, so that not every request has its address parsed.
_REMEMBERED: Final = 4096


def _is_nobody(host: str) -> bool:
    return False


class ConnectionPlaces:
    """How many connections one worker holds at a time, in all and from one address."""

    def __init__(
        self, limit: int, *, per_address: int, is_exempt: Callable[[str], bool] = _is_nobody
    ) -> None:
        """``is_exempt`` says of a host that it may use all places, as a proxy in front of us."""
        self._by_address: dict[str, int] = {}
        self.held = 0
        self.most_held = 0  # since ``runtime/memory`` last looked
        self.change(limit, per_address=per_address, is_exempt=is_exempt)

    @property
    def limit(self) -> int:
        """How many there may be."""
        return self._limit

    def change(
        self, limit: int, *, per_address: int, is_exempt: Callable[[str], bool] = _is_nobody
    ) -> None:
        """Set other limits; who holds a place keeps it."""
        self._limit = limit
        self._per_address = per_address
        self._is_exempt = is_exempt

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
