"""Who is expected: numbers in a line that were drawn for those who are still absent.

Owns: which number is whose, how long it is kept, and how many of the absent count.

Must not know: the line, its pace, turns.

Theory of operation. Anybody can have a number drawn and never come. So each address has an account
of what it owes: two for each number that it let expire, one less for each time that it comes. As
many of its numbers as it owes do not count. Who asks and never comes is counted in full once, for
as long as a number is kept, and hardly at all after that. Who asks and comes has paid in advance
for some that do not: with several workers, those may have come to another one. Both fade.

An account is opened when something is known of an address. Until then it shares one with all that
are unknown, which owes for each of them that let its first number expire: whoever has a new address
for each question is one address here.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import Final

# agent.jar upgrades right after its 200; slow machines take a second or two for TLS and classes.
RESERVED: Final = 5.0
# How many absent there may be, whether they count or not, and how much can be owed.
_MOST: Final = 4096
# Addresses of which something is remembered.
_ACCOUNTS: Final = 2048
# Seconds in which a debt fades to a third.
_FADING: Final = 60.0
# What is owed for a number that nobody came for. With one, a flood would grow as fast as its debt.
_FORFEIT: Final = 2


class _Account:
    """What is expected of one address, or of all that are unknown."""

    __slots__ = ("_at", "_owes", "absent")

    def __init__(self, now: float) -> None:
        self.absent = 0
        self._owes = 0.0
        self._at = now

    def owe(self, now: float, change: int) -> None:
        faded = self._owes * math.exp((self._at - now) / _FADING)
        self._owes = min(max(faded + change, -_MOST), float(_MOST))
        self._at = now

    @property
    def expected(self) -> int:
        return max(0, self.absent - max(0, round(self._owes)))


class _Number:
    __slots__ = ("account", "site", "until")

    def __init__(self, site: str, account: _Account, until: float) -> None:
        self.site = site
        self.account = account
        self.until = until


class Expected:
    """The absent of one line."""

    def __init__(self) -> None:
        self.count = 0  # of the absent that are expected to come
        self._absent: OrderedDict[int, _Number] = OrderedDict()
        self._by_site: dict[str, deque[int]] = {}
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._unknown = _Account(-math.inf)

    def held_by(self, site: str) -> int:
        """Return how many numbers are kept for ``site``."""
        return len(self._by_site.get(site, ()))

    def add(self, number: int, site: str, now: float) -> None:
        """Keep ``number``, the highest until now, for somebody of ``site``."""
        if len(self._absent) >= _MOST:  # they are strangers' for the most part
            self._miss(now)
        account = self._accounts.get(site, self._unknown)
        self._absent[number] = _Number(site, account, now + RESERVED)
        self._by_site.setdefault(site, deque()).append(number)
        self._change(account, now, absent=1)

    def claim(self, site: str, now: float) -> int | None:
        """Take the oldest number of ``site``, if there is one. Somebody of it is there now."""
        self._settle(site, now, owes=-1)
        numbers = self._by_site.get(site)
        return self._take(numbers[0], now) if numbers else None

    def claim_any(self, now: float) -> int | None:
        """Take the oldest number of all, if there is one."""
        return self._take(next(iter(self._absent)), now) if self._absent else None

    def forget(self, now: float) -> None:
        """Take the numbers back that nobody came for in time."""
        while self._absent and next(iter(self._absent.values())).until <= now:
            self._miss(now)

    def _miss(self, now: float) -> None:
        number, kept = next(iter(self._absent.items()))
        self._take(number, now)
        self._settle(kept.site, now, owes=_FORFEIT)

    def _take(self, number: int, now: float) -> int:
        """Take a number, of its site the oldest."""
        kept = self._absent.pop(number)
        numbers = self._by_site[kept.site]
        numbers.popleft()
        if not numbers:
            del self._by_site[kept.site]
        self._change(kept.account, now, absent=-1)
        return number

    def _settle(self, site: str, now: float, *, owes: int) -> None:
        """Write down that somebody of ``site`` has come, or has not."""
        account = self._accounts.get(site)
        if account is None:
            self._change(self._unknown, now, owes=owes)
            if len(self._accounts) >= _ACCOUNTS:
                self._accounts.popitem(last=False)
            account = self._accounts[site] = _Account(now)
        self._accounts.move_to_end(site)
        self._change(account, now, owes=owes)

    def _change(self, account: _Account, now: float, *, absent: int = 0, owes: int = 0) -> None:
        self.count -= account.expected
        account.absent += absent
        account.owe(now, owes)
        self.count += account.expected
