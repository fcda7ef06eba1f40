"""What follows from wrong secrets: a memory of each, and lockouts of those who try many.

Owns: counting, times, and the bound on memory.

Must not know: who judged a secret, networks that are exempt (a function is handed in), processes:
every worker counts for itself.

Theory of operation. An agent with a wrong secret retries after 0, 1, 4, 11, 21 ... s, for ever, and
its neighbours may share its address. So the same wrong (node, secret) is remembered for a minute by
a keyed hash and answered from that memory; then it is judged anew, so that a mistake corrected at
the other end is found; and however often it comes, it counts once, the longest lockout in between
included. What counts are different secrets: guessing. Each pair of address and node has a window of
its failures. So has each address, but the first wrong secret of a node is no guess there: it is
what a whole site of agents has after somebody restored an old backup, each its own, and they must
not lock each other and their neighbours. One guess for each of very many names is no such site:
first ones count as well, in a window of their own with a wider limit. A full window locks for a
while, twice as long each time. Attempts while locked do not count. The tables hold 10,000 entries
each; the oldest go first, those that are locked last.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, TypeVar

import trio

from gateway.config.credentials import LockoutConfig
from gateway.config.networks import site_of

REMEMBERED: Final = 60.0  # seconds
MOST: Final = 10_000  # entries of each table
_LOOK_AT: Final = 16  # entries, in search of one that is not locked

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Lock:
    """A lockout that has just begun. ``node`` None: of the whole address. Seconds."""

    address: str
    node: str | None
    duration: float


class _Record:
    """The failures of one address, or of one address with one node."""

    __slots__ = ("failed_at", "failures", "locked_until", "penalty", "total", "total_since")

    def __init__(self) -> None:
        self.failures: list[float] = []  # a deque takes ten times the memory of a few floats
        self.failed_at = float("-inf")
        self.total = 0  # since then; hundreds of times would be too much to keep
        self.total_since = float("-inf")
        self.locked_until = float("-inf")
        self.penalty = 0.0  # the last lockout, seconds


class _Table(Generic[K]):
    """Records by key, bounded."""

    __slots__ = ("_config", "_limit", "_most", "_records")

    def __init__(self, config: LockoutConfig, limit: int, most: int) -> None:
        self._config = config
        self._limit = limit  # failures
        self._most = most
        self._records: OrderedDict[K, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def is_locked(self, key: K, now: float) -> bool:
        record = self._records.get(key)
        return record is not None and now < record.locked_until

    def has_failed(self, key: K, since: float) -> bool:
        record = self._records.get(key)
        return record is not None and record.failed_at > since

    def fail(self, key: K, now: float) -> float | None:
        """Count a failure; return the seconds of the lockout that it brought about, if it did."""
        record = self._record(key, now)
        recent = [at for at in record.failures if at > now - self._config.window]
        record.failures = [*recent, now]
        return self._lock(record, now) if len(record.failures) >= self._limit else None

    def add(self, key: K, now: float) -> float | None:
        """Count a failure of whatever kind against the wider limit; return as ``fail`` does.

        The window begins anew when it is over, so that across two of them it may be twice the
        limit.
        """
        record = self._record(key, now)
        if now >= record.total_since + self._config.window:
            record.total_since, record.total = now, 0
        record.total += 1
        return self._lock(record, now) if record.total >= self._config.per_address_total else None

    def _record(self, key: K, now: float) -> _Record:
        record = self._records.get(key)
        if record is None:
            self._make_room(now)
            record = self._records[key] = _Record()
        self._records.move_to_end(key)
        record.failed_at = now
        return record

    def _lock(self, record: _Record, now: float) -> float:
        config = self._config
        record.failures = []
        record.total = 0
        # "Soon" is as long as the longest lockout; after that somebody else may have the address.
        if record.penalty and now < record.locked_until + config.longest:
            record.penalty = min(record.penalty * 2, config.longest)
        else:
            record.penalty = config.first
        record.locked_until = now + record.penalty
        return record.penalty

    def _make_room(self, now: float) -> None:
        if len(self._records) < self._most:
            return
        oldest = list(islice(self._records, _LOOK_AT))
        free = (key for key in oldest if now >= self._records[key].locked_until)
        del self._records[next(free, oldest[0])]

    def forget(self, fits: Callable[[K], bool]) -> int:
        """Drop what ``fits``; return how many there were."""
        gone = [key for key in self._records if fits(key)]
        for key in gone:
            del self._records[key]
        return len(gone)


_Pair = tuple[str, bytes]  # address, and a hash of controller and node: names may be 1 KiB long


class Lockout:
    """Failures that one worker has seen. Times are trio's, so no clock can be set back."""

    def __init__(
        self,
        config: LockoutConfig,
        *,
        is_exempt: Callable[[str], bool],
        most: int = MOST,
    ) -> None:
        """``is_exempt`` says of an address that it is never locked out."""
        self._hash_key = secrets.token_bytes(32)
        self._most = most
        self._wrong: OrderedDict[bytes, float] = OrderedDict()  # when it was judged last
        self._config = config
        self._is_exempt = is_exempt
        self._addresses = _Table[str](config, config.per_address, most)
        self._pairs = _Table[_Pair](config, config.per_node, most)

    def __len__(self) -> int:
        """Return how many entries are held, of all kinds."""
        return len(self._wrong) + len(self._addresses) + len(self._pairs)

    def follow(self, config: LockoutConfig, *, is_exempt: Callable[[str], bool]) -> None:
        """Go by another configuration; what was counted is kept unless the rules have changed."""
        self._is_exempt = is_exempt
        if config != self._config:
            self._config = config
            self._addresses = _Table[str](config, config.per_address, self._most)
            self._pairs = _Table[_Pair](config, config.per_node, self._most)

    def fingerprint(self, *parts: str) -> bytes:
        """Return a hash that only this process can make, so that it gives nothing away."""
        hashed = hashlib.blake2b(key=self._hash_key, digest_size=16)
        for part in parts:
            data = part.encode()
            hashed.update(len(data).to_bytes(4, "big") + data)
        return hashed.digest()

    def is_known_wrong(self, fingerprint: bytes) -> bool:
        """Say whether what ``fingerprint`` stands for was judged wrong within the last minute."""
        judged = self._wrong.get(fingerprint)
        return judged is not None and trio.current_time() < judged + REMEMBERED

    def is_locked(self, address: str, controller: str, node: str) -> bool:
        """Say whether ``address`` is locked out, for this node or altogether."""
        pair = self.fingerprint(controller, node)
        site = self._site(address)
        if site is None:
            return False
        now = trio.current_time()
        whole = self._addresses.is_locked(site, now)
        return self._pairs.is_locked((site, pair), now) or whole

    def fail(self, address: str, controller: str, node: str, fingerprint: bytes) -> list[Lock]:
        """Note a secret that was judged wrong; return the lockouts that begin with it.

        ``fingerprint`` is that of controller, node and secret.
        """
        now = trio.current_time()
        counted = self._wrong.get(fingerprint, float("-inf")) > now - self._kept
        locked = self.is_locked(address, controller, node)
        self._remember(fingerprint, now)
        site = self._site(address)
        if counted or locked or site is None:
            return []
        locks = []
        pair = (site, self.fingerprint(controller, node))
        is_guess = self._pairs.has_failed(pair, since=now - self._kept)
        duration = self._pairs.fail(pair, now)
        if duration is not None:
            locks.append(Lock(site, node, duration))
        duration = self._addresses.add(site, now)
        if duration is None and is_guess:
            duration = self._addresses.fail(site, now)
        if duration is not None:
            locks.append(Lock(site, None, duration))
        return locks

    def unlock(self, *, node: tuple[str, str] | None = None, address: str | None = None) -> int:
        """Forget failures: of a node (controller and name), of an address, of both, or all.

        Return how many records went. A whole address is unlocked where no node is given.
        """
        site = None if address is None else site_of(address)
        hashed = None if node is None else self.fingerprint(*node)
        self._wrong.clear()  # hashes do not tell whose they are; what is wrong is found out again
        gone = self._pairs.forget(
            lambda pair: site in (None, pair[0]) and hashed in (None, pair[1])
        )
        if node is None:
            gone += self._addresses.forget(lambda each: site in (None, each))
        return gone

    def _remember(self, fingerprint: bytes, now: float) -> None:
        self._wrong[fingerprint] = now
        self._wrong.move_to_end(fingerprint)
        over = now - self._kept
        while len(self._wrong) > self._most or self._wrong[next(iter(self._wrong))] <= over:
            self._wrong.popitem(last=False)

    @property
    def _kept(self) -> float:
        """Return for how long a secret that was wrong is the same mistake when it comes again."""
        # Judged up to a minute before a lockout began, and again a few retries after its end.
        return self._config.longest + self._config.window + REMEMBERED

    def _site(self, address: str) -> str | None:
        if not self._config.enabled or self._is_exempt(address):
            return None
        return site_of(address)
