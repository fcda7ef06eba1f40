"""The way to a controller's url: its addresses, a pool for each, and the upkeep of both.

Owns: connecting (TCP and TLS), trying one address after the other, resolving the url's host,
active checks, and ``fetch``, one GET on a connection of its own.

Must not know: clients, exchanges, which fields a proxied request has.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, Protocol

import trio

from gateway.config.models import ControllerConfig, GatewayConfig
from gateway.config.networks import is_in, is_ip_address, site_of
from gateway.config.upstream import HealthCheckConfig
from gateway.config.values import Address
from gateway.errors import ConfigError, ControllerTimeout, ControllerUnreachable
from gateway.http.addresses import AddressBook
from gateway.http.controller_connection import (
    UNUSABLE,
    ControllerConnection,
    ControllerLimits,
)
from gateway.http.pool import Pool, PoolLimits
from gateway.observability.logs import get_logger
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.samples import Samples
from gateway.observability.metrics.table import (
    ADDRESS_UP,
    DIAL_DURATION,
    DIAL_FAILURES,
    POOL_CONNECTIONS,
    POOL_WAITING,
)
from gateway.protocol.http_head import RequestHead, ResponseHead
from gateway.protocol.http_headers import Field, Headers
from gateway.protocol.proxy_protocol import write_local_header
from gateway.runtime.admission import counted_sites
from gateway.transport.client_tls import client_tls
from gateway.transport.dial import dial
from gateway.transport.tls_context import ClientTls

_log = get_logger("system")

# A name is looked up anew this often; the last answer stays in use while none can be had.
RESOLVE_EVERY: Final = 10.0
# How long all who ask share the news that a name has no answer, before somebody looks again.
UNRESOLVED_FOR: Final = 1.0
# Between two looks for idle connections that died: Jenkins' side of them is closed already.
SWEEP_EVERY: Final = 5.0
# The discovery document is some ten bytes; an error page of Jenkins is below 32 KiB.
_MAX_FETCHED: Final = 64 * 1024


class Lease:
    """A connection that serves one exchange. Give it back with ``Upstream.release``."""

    __slots__ = ("address", "connection", "pool")

    def __init__(self, connection: ControllerConnection, address: Address, pool: Pool) -> None:
        self.connection = connection
        self.address = address
        self.pool = pool


class Upstream:
    """One controller's url."""

    def __init__(
        self,
        name: str,
        controller: ControllerConfig,
        limits: ControllerLimits | None = None,
        *,
        site_of: Callable[[str], str | None] = site_of,
        meters: Meters | None = None,
    ) -> None:
        """Prepare the way. Raises ConfigError when a file for TLS cannot be used.

        ``site_of`` says which address a client counts as; None: it may have all connections.
        """
        assert controller.url is not None, "only a controller with url speaks HTTP"
        self.name = name
        self.url = controller.url
        # Connections begin with a PROXY header, and serve the client that it names only.
        self.introduces = controller.proxy_protocol == "v2"
        self._site_of = site_of
        self._meters = Meters() if meters is None else meters
        self._limits = ControllerLimits() if limits is None else limits
        self._connections = controller.connections
        self._tls = client_tls(controller)
        self._resolves = not controller.addresses and not is_ip_address(self.url.host)
        self._unresolved_until = -math.inf
        self._resolving = trio.Lock()
        # Whoever wants checks has them; by default they are for those who have a choice. Of a name
        # it is not known yet how many addresses it has.
        self._always_checks = controller.health_check is not None
        self.health_check = controller.health_check
        if self._resolves or len(controller.addresses) > 1:
            self.health_check = self.health_check or HealthCheckConfig()
        known = () if self._resolves else controller.addresses or (self.url.address,)
        self._book = AddressBook(known, controller.ejection)
        self._pools: dict[Address, Pool] = {}
        self._ended = False  # the upkeep: nothing is kept any more
        self._controller = controller

    def is_for(self, controller: ControllerConfig) -> bool:
        """Say whether this is the way to such a controller."""
        return self._controller == controller

    def serves(self, controller: ControllerConfig, tls: ClientTls | None) -> bool:
        """Say whether it is for that, down to the contents of the files that it names."""
        return self.is_for(controller) and self._tls == tls

    # -- connections -------------------------------------------------------------------------------

    async def acquire(
        self,
        *,
        repeatable: bool,
        fresh: bool = False,
        greeting: bytes | None = None,
        client: str | None = None,
        only: Address | None = None,
    ) -> Lease:
        """Return a connection to the best address that accepts one, or to ``only``.

        ``greeting``: a PROXY header for this exchange, where the controller wants them. ``client``:
        the IP address, as text, that it is for.

        Raises ControllerUnreachable or ControllerTimeout when none does, LimitExceeded when too
        many connections are in use. The other arguments are those of ``Pool.acquire``.
        """
        site = None if client is None else self._site_of(client)
        error: ControllerUnreachable | ControllerTimeout | None = None
        for address in await self.addresses() if only is None else [only]:
            pool = self._pool(address)
            try:
                if greeting is None:
                    connection = await pool.acquire(repeatable=repeatable, fresh=fresh, client=site)
                else:
                    connect = partial(self.connect, address, greeting)
                    connection = await pool.acquire(
                        repeatable=repeatable, fresh=True, connect=connect, client=site
                    )
            except (ControllerUnreachable, ControllerTimeout) as failure:
                self.failed(address)
                error = failure
            else:
                if error is not None and self._resolves:
                    self._book.prefer(address)
                return Lease(connection, address, pool)
        assert error is not None, "a book without addresses"
        raise error

    def release(self, lease: Lease) -> None:
        """Take a connection back, whatever became of its exchange."""
        lease.pool.release(lease.connection, keep=not self.introduces)

    def succeeded(self, lease: Lease) -> None:
        """Note that there was an answer."""
        self.answered(lease.address)

    def answered(self, address: Address) -> None:
        """Note that there was an answer at ``address``."""
        self._book.succeeded(address)

    def failed(self, address: Address) -> None:
        """Note that there was no connection or no usable answer."""
        if self._book.failed(address, trio.current_time()):
            _log.warning("address ejected", controller=self.name, address=str(address))

    def known_addresses(self) -> list[dict[str, object]]:
        """Return what is known of each address, without asking anybody."""
        return self._book.as_fields(trio.current_time())

    def _pool(self, address: Address) -> Pool:
        pool = self._pools.get(address)
        if pool is None:
            config = self._connections
            limits = PoolLimits(
                size=config.limit,
                per_client=config.most_per_client,
                wait=config.connect_timeout,
                idle_timeout=config.idle_timeout,
            )
            connect = partial(self.connect, address)
            pool = self._pools[address] = Pool(connect, limits, keep=not self._ended)
        return pool

    async def connect(
        self, address: Address, greeting: bytes | None = None
    ) -> ControllerConnection:
        """Return a connection of its own. Raises ControllerUnreachable, ControllerTimeout.

        Without a ``greeting`` it is the gateway's own: a controller that wants PROXY headers is
        told so.
        """
        if greeting is None:
            greeting = write_local_header() if self.introduces else b""
        began = trio.current_time()
        try:
            stream = await dial(
                address,
                timeout=self._connections.connect_timeout,
                tls=self._tls,
                greeting=greeting,
            )
        except (ControllerUnreachable, ControllerTimeout) as error:
            reason = "timeout" if isinstance(error, ControllerTimeout) else "unreachable"
            self._meters.count(DIAL_FAILURES, self.name, reason)
            raise
        self._meters.observe(DIAL_DURATION, trio.current_time() - began, self.name)
        stream.keep_alive(user_timeout=self._limits.user_timeout)
        return ControllerConnection(stream, self._limits)

    async def connect_apart(
        self, greeting: bytes | None = None
    ) -> tuple[ControllerConnection, Address]:
        """Return a connection outside of the pools, for what lasts, to the best address.

        Raises ControllerUnreachable, ControllerTimeout. Note what became of it with ``failed`` or
        ``answered``.
        """
        error: ControllerUnreachable | ControllerTimeout | None = None
        for address in await self.addresses():
            try:
                connection = await self.connect(address, greeting)
            except (ControllerUnreachable, ControllerTimeout) as failure:
                self.failed(address)
                error = failure
            else:
                if error is not None and self._resolves:
                    self._book.prefer(address)
                return connection, address
        assert error is not None, "a book without addresses"
        raise error

    @property
    def has_choice(self) -> bool:
        """Say whether there may be more than one address to connect to."""
        return len(self._book.addresses) != 1

    async def addresses(self) -> list[Address]:
        """Return the addresses in the order in which to try them. Raises as ``acquire``."""
        if self._resolves:
            await self._resolve()
        return self._book.in_order(trio.current_time())

    async def _resolve(self) -> None:
        """Look the url's host up, if that was never done; ``run`` repeats it.

        One looks and the others wait, for the same answer or the same failure. Raises
        ControllerUnreachable.
        """
        if self._book.addresses:
            return
        async with self._resolving:
            if not self._book.addresses and trio.current_time() >= self._unresolved_until:
                await self._look_up_again()
        if not self._book.addresses:
            raise ControllerUnreachable(detail=f"{self.url.address}: name does not resolve")

    async def _keep_resolved(self) -> None:
        """Look the url's host up in the background: no request waits while there is an answer."""
        while True:
            async with self._resolving:
                await self._look_up_again()
            await trio.sleep(RESOLVE_EVERY)

    async def _look_up_again(self) -> None:
        found = await self._look_up()
        if found:
            self._book.replace(found)
        else:
            self._unresolved_until = trio.current_time() + UNRESOLVED_FOR

    async def _look_up(self) -> list[Address]:
        url = self.url
        with trio.move_on_after(self._connections.connect_timeout):
            try:
                answers = await trio.socket.getaddrinfo(
                    url.host, url.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
                )
            except (OSError, UnicodeError):
                return []
            # A zone (fe80::1%eth0) has no place in an Address; such answers help nobody here.
            found = [Address(str(answer[4][0]), url.port) for answer in answers]
            return [address for address in found if "%" not in address.host]
        return []

    def add_to(self, samples: Samples, *, with_addresses: object = True) -> None:
        """Add what is known of its connections and, ``with_addresses``, of these."""
        pools = self._pools.values()
        samples.add(POOL_CONNECTIONS, sum(pool.idle for pool in pools), self.name, "idle")
        samples.add(POOL_CONNECTIONS, sum(pool.busy for pool in pools), self.name, "busy")
        samples.add(POOL_WAITING, sum(pool.waiting for pool in pools), self.name)
        usable = self._book.usable(trio.current_time()) if with_addresses else {}
        for address, is_usable in usable.items():
            samples.add(ADDRESS_UP, int(is_usable), self.name, str(address))

    # -- upkeep ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Close idle connections in time, look names up and check addresses until cancelled; then
        close all.

        Exchanges that are under way then end as usual, and take their connections with them.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                if self._resolves:
                    nursery.start_soon(self._keep_resolved)
                if self.health_check is not None:
                    nursery.start_soon(self._check_health, self.health_check)
        finally:
            self._ended = True
            for pool in self._pools.values():
                pool.close()

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_EVERY)
            for address, pool in list(self._pools.items()):
                if address in self._book.addresses:
                    pool.sweep()
                else:  # the name server took it back
                    del self._pools[address]
                    pool.close()

    async def _check_health(self, config: HealthCheckConfig) -> None:
        """Check every address once an interval."""
        while True:
            addresses = self._book.addresses
            async with trio.open_nursery() as nursery:
                for address in addresses if self._always_checks or len(addresses) > 1 else ():
                    nursery.start_soon(self._check, address, config)
                await trio.sleep(config.interval)

    async def _check(self, address: Address, config: HealthCheckConfig) -> None:
        path = config.path or f"{self.url.prefix}/login"
        reason = f"no answer within {config.timeout:g} s"
        passed = False
        with trio.move_on_after(config.timeout):
            try:
                head, _ = await self._get((address,), path.encode("ascii"))
                passed = 200 <= head.status < 400
                reason = f"it answered {head.status}"
            except (ControllerUnreachable, ControllerTimeout) as error:
                reason = str(error)
        if not self._book.checked(address, config, passed=passed):
            return
        fields = {"controller": self.name, "address": str(address)}
        if passed:
            _log.info("address is up", **fields)
        else:
            _log.warning("address is down", **fields, reason=reason)

    # -- one GET -----------------------------------------------------------------------------------

    async def fetch(self, path: str, more: Iterable[Field] = ()) -> tuple[ResponseHead, bytes]:
        """GET ``path`` on a connection of its own, with ``more`` fields. Raises as
        ``Upstreams.fetch``, in any time.
        """
        return await self._get(await self.addresses(), path.encode("ascii"), more)

    async def _get(
        self, addresses: Iterable[Address], path: bytes, more: Iterable[Field] = ()
    ) -> tuple[ResponseHead, bytes]:
        connection = await self._connect_to_any(addresses)
        fields: list[Field] = [
            (b"Host", self.url.authority.encode()),
            (b"User-Agent", b"remoting-gateway"),
            (b"Accept", b"*/*"),
            (b"Connection", b"close"),
            *more,
        ]
        try:
            request = RequestHead(b"GET", path, b"1.1", Headers(fields))
            await connection.send_request(request, ended=True)
            head = await connection.receive_head()
            while head.status < 200:
                head = await connection.receive_head()
            body = connection.body_at_hand()
            while not connection.received_all:
                body += await connection.receive_body()
                if len(body) > _MAX_FETCHED:
                    raise ControllerUnreachable(UNUSABLE, detail="the answer is too long")
            return head, body
        finally:
            connection.close()

    async def _connect_to_any(self, addresses: Iterable[Address]) -> ControllerConnection:
        error: ControllerUnreachable | ControllerTimeout | None = None
        for address in addresses:
            try:
                return await self.connect(address)
            except (ControllerUnreachable, ControllerTimeout) as failure:
                error = failure
        assert error is not None, "no addresses"
        raise error


class Upstreams:
    """The ways to all controllers of a configuration that have a url."""

    def __init__(
        self,
        config: GatewayConfig,
        previous: Upstreams | None = None,
        *,
        meters: Meters | None = None,
    ) -> None:
        """Prepare them. Raises ConfigError when a file for TLS cannot be used.

        Ways of ``previous`` to controllers that are the same go over, with their connections and
        what checks found out.
        """
        self._trusted_proxies = config.trusted_proxies
        if previous is not None and previous._trusted_proxies != config.trusted_proxies:
            previous = None  # its ways count clients in another way
        site_of = counted_sites(partial(is_in, config.trusted_proxies))
        self._by_name = {
            name: _way(
                name,
                controller,
                None if previous is None else previous.get(name),
                site_of,
                meters,
            )
            for name, controller in config.controllers.items()
            if controller.url is not None
        }

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Upstream | None:
        """Return the way to a controller; None for one without url."""
        return self._by_name.get(name)

    async def fetch(
        self,
        name: str,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]:
        """GET ``path`` from a controller: connection, answer and body within ``timeout`` seconds.

        Redirects are not followed: an answer from elsewhere says nothing about this controller.
        Raises ControllerTimeout, and ControllerUnreachable for all else, a body of more than 64 KiB
        included.
        """
        upstream = self._by_name.get(name)
        if upstream is None or not upstream.is_for(controller):  # asked by one of before a reload
            try:
                upstream = Upstream(name, controller)
            except ConfigError as error:
                raise ControllerUnreachable(detail=str(error)) from None
        return await _within(upstream, path, timeout)


def _way(
    name: str,
    controller: ControllerConfig,
    previous: Upstream | None,
    site_of: Callable[[str], str | None],
    meters: Meters | None,
) -> Upstream:
    if previous is not None and previous.serves(controller, client_tls(controller)):
        return previous
    return Upstream(name, controller, site_of=site_of, meters=meters)


class Fetch(Protocol):
    """What ``fetch`` looks like to those who are handed it."""

    async def __call__(
        self,
        name: str,
        controller: ControllerConfig,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[ResponseHead, bytes]: ...


async def fetch(
    name: str,
    controller: ControllerConfig,
    path: str,
    *,
    timeout: float = 5.0,  # noqa: ASYNC109
) -> tuple[ResponseHead, bytes]:
    """Fetch as ``Upstreams.fetch`` does, without what a worker has. Raises ConfigError, too."""
    return await _within(Upstream(name, controller), path, timeout)


async def _within(upstream: Upstream, path: str, limit: float) -> tuple[ResponseHead, bytes]:
    with trio.move_on_after(limit):
        return await upstream.fetch(path)
    raise ControllerTimeout(detail=f"GET {path} took more than {limit:g} s")
