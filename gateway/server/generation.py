"""Everything that is built from one configuration, and what lives on through all of them.

Owns: which object gets which. A generation is built without any effect on what is in force, so that
it can be thrown away; it takes effect by being served by.

Must not know: accepting, stopping, messages.
"""

from __future__ import annotations

from functools import partial

from gateway.agents.blocks import Blocks
from gateway.agents.cookie_file import CookieFile
from gateway.agents.discovery import Discovery
from gateway.agents.ended_cookies import EndedCookies
from gateway.agents.endpoint import AgentEndpoint
from gateway.agents.history import History
from gateway.agents.identity import PinStore
from gateway.agents.jnlp4_leg import LegOpener
from gateway.agents.login import AgentLogin
from gateway.agents.registry import Registry
from gateway.agents.session_meters import SessionMeters
from gateway.agents.takeover import Takeovers
from gateway.agents.transport import Transports
from gateway.agents.websocket_leg import WebSocketLegs
from gateway.config.models import GatewayConfig
from gateway.config.networks import is_in
from gateway.credentials.gate import Credentials
from gateway.http.client_limits import ClientLimits
from gateway.http.proxy import Proxy
from gateway.http.request_meters import RequestMeters
from gateway.http.router import Router
from gateway.http.serving import Serving
from gateway.http.upstream import Fetch, Upstreams
from gateway.http.websocket_upgrade import OpenWebSockets, WebSocketUpgrades
from gateway.jenkins_cli.endpoint import CliEndpoint
from gateway.jenkins_cli.pairs import Pairs
from gateway.jenkins_cli.transports import CliTransports
from gateway.observability.access_log import AccessLog
from gateway.observability.logs import sink_of
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.table import QUEUE_TURNED_AWAY
from gateway.runtime.admission import ConnectionPlaces
from gateway.runtime.drain import Drain
from gateway.runtime.handshakes import Handshakes
from gateway.server.dispatch import Dispatcher
from gateway.transport.listeners import Terms


class Lasting:
    """What one worker keeps through reloads, and how its limits follow the configuration.

    Sessions, places and lines in use, what is known about controllers, which of their outages have
    been reported; ``workers`` share limits.
    """

    def __init__(self, config: GatewayConfig, *, fetch: Fetch, workers: int) -> None:
        self.meters = Meters()
        self.session_meters = SessionMeters(self.meters)
        self.drain = Drain()
        self.registry = Registry()
        self.cookies = EndedCookies(CookieFile(config.state_dir, key_file=config.store_key_file))
        self.history = History(self.cookies, meters=self.session_meters)
        self.takeovers = Takeovers(
            self.registry, self.cookies, told=self.history.taken_over, meters=self.meters
        )
        self.handshakes = Handshakes(
            self.drain, turned_away=partial(self.meters.count, QUEUE_TURNED_AWAY)
        )
        self.discovery = Discovery(fetch)
        self.pins = PinStore(config.state_dir)
        self.transports = Transports(fetch, self.discovery, self.pins)
        self.login = AgentLogin(self.transports, self.handshakes)
        self.websockets = OpenWebSockets(workers)
        self.credentials = Credentials(config, meters=self.meters)
        self.cli_transports = CliTransports()
        self.cli_pairs = Pairs()
        self.opener = LegOpener()
        self.places = ConnectionPlaces(1, per_address=1)
        self.blocks = Blocks()
        self._workers = workers
        self._config = config
        self.follow(config)

    def follow(self, config: GatewayConfig) -> None:
        """Take over the limits of ``config``, and forget controllers that it does not have."""
        limits, workers = config.limits, self._workers
        self.places.change(
            _share(limits.connections, workers),
            per_address=_share(limits.connections_per_address, workers),
            is_exempt=partial(is_in, config.trusted_proxies),
        )
        self.handshakes.change(
            config.controllers,
            limits.controller_handshakes,
            rate=config.agents.handshake_rate,
            workers=workers,
        )
        self.transports.keep(config.controllers)
        if config is not self._config:
            self.credentials.follow(config)
            self._config = config


def _share(limit: int, workers: int) -> int:
    """Return one worker's part, rounded up: it must be able to serve somebody."""
    return -(-limit // workers)


class Generation:
    """What new connections and requests are served by."""

    def __init__(
        self,
        config: GatewayConfig,
        lasting: Lasting,
        previous: Upstreams | None = None,
        *,
        number: int = 0,
    ) -> None:
        """Build it from ``config``. Raises ConfigError when a file that it names cannot be used.

        Connections to controllers go over from ``previous``; ``number`` is the supervisor's.
        """
        self.config = config
        self.upstreams = Upstreams(config, previous, meters=lasting.meters)
        self.terms = tuple(
            Terms.of(
                listener,
                handshake_timeout=config.limits.tls_handshake_timeout,
                proxies=config.trusted_proxies,
            )
            for listener in config.listeners
        )
        agents = AgentEndpoint(
            config,
            discovery=lasting.discovery,
            transports=lasting.transports,
            pins=lasting.pins,
            opener=lasting.opener,
            websocket_legs=WebSocketLegs(
                config,
                upstreams=self.upstreams,
                transports=lasting.transports,
                generation=number,
                on_end=lasting.history.ended,
                meters=lasting.session_meters,
            ),
            handshakes=lasting.handshakes,
            registry=lasting.registry,
            takeovers=lasting.takeovers,
            history=lasting.history,
            credentials=lasting.credentials,
            blocks=lasting.blocks,
            generation=number,
            meters=lasting.meters,
            session_meters=lasting.session_meters,
        )
        upgrades = WebSocketUpgrades(
            config,
            sessions=lasting.registry,
            open_ones=lasting.websockets,
            generation=number,
        )
        proxy = Proxy(self.upstreams, upgrades=upgrades)
        cli = CliEndpoint(
            config,
            upstreams=self.upstreams,
            proxy=proxy,
            upgrades=upgrades,
            transports=lasting.cli_transports,
            pairs=lasting.cli_pairs,
            sessions=lasting.registry,
        )
        dispatcher = Dispatcher(
            agents=agents, login=lasting.login, cli=cli, proxy=proxy, drain=lasting.drain
        )
        router = Router(config)
        limits = ClientLimits.of(config.limits)
        access = AccessLog(sink_of("access"))
        meters = RequestMeters(lasting.meters)
        claims = frozenset(name.encode() for name in config.trusted_proxy_headers)
        self.serving = tuple(
            Serving(
                listener,
                router,
                dispatcher.handle,
                config.trusted_proxies,
                limits,
                access,
                terms.demand,
                config.trace_context,
                meters,
                claims,
            )
            for listener, terms in zip(config.listeners, self.terms, strict=True)
        )
