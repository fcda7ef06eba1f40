"""The configuration, resolved and frozen: every key, its default and the reason for it.

Owns: the shape, the defaults and the rules that concern a single key. Rules across keys are in
``checks``, reading a file in ``load``.

Must not know: where a value came from, who uses it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    field_validator,
    model_validator,
)

from gateway.config.admin import AdminConfig
from gateway.config.base import CertificateConfig as CertificateConfig
from gateway.config.base import FilePath, Name
from gateway.config.base import Model as _Model
from gateway.config.claims import ClaimHeader
from gateway.config.cli import CliConfig
from gateway.config.credentials import CredentialsConfig, LockoutConfig, NodesConfig, StoreConfig
from gateway.config.identity import Identity
from gateway.config.limits import LimitsConfig
from gateway.config.listener_tls import TlsConfig as TlsConfig
from gateway.config.logs import LogConfig, TraceContextConfig
from gateway.config.metrics import MetricsConfig
from gateway.config.processes import ShutdownConfig, Workers
from gateway.config.routing import RedirectPort
from gateway.config.routing import RouteConfig as RouteConfig
from gateway.config.upstream import (
    ConnectionsConfig,
    ControllerTlsConfig,
    EjectionConfig,
    HealthCheckConfig,
)
from gateway.config.values import (
    Address,
    ControllerUrl,
    Duration,
    ProxyNetwork,
    parse_host,
)
from gateway.errors import ConfigError

_IDLE_CUT: Final = 60.0  # nginx's and AWS ALB's default
_AGENT_PATIENCE: Final = 30.0  # PROTOCOLS A.5: agent.jar's handshake limit


def default_state_dir() -> Path:
    """Return $STATE_DIRECTORY (the first of several, as systemd may give), else the XDG folder."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification says that relative paths are to be ignored.
    root = Path(base) if base.startswith("/") else _home() / ".local" / "state"
    return root / "remoting-gateway"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and a user id that has no name, as in some containers
        raise ConfigError(
            "state_dir: no default, because this user has no home folder;"
            " set state_dir, or STATE_DIRECTORY in the environment"
        ) from None


Host = Annotated[str, AfterValidator(parse_host)]


class ListenerConfig(_Model):
    """An address on which the gateway accepts connections."""

    address: Address = Field(
        description='host:port; "0.0.0.0:8443" is every IPv4 address, "[::]:8443" every address.'
    )
    tls: TlsConfig | None = Field(
        default=None,
        description="Without it the listener speaks plain HTTP, meant for behind an ingress.",
    )
    plain_agents: StrictBool = Field(
        default=False,
        description=(
            "Serve agents without TLS to everybody. False, because an agent's first request holds"
            " its secret; loopback and trusted_proxies are served without TLS either way."
        ),
    )
    redirect_to_https: RedirectPort = Field(
        default=None,
        description=(
            "On a listener without tls: send people to https with 308; true means port 443, a"
            " number that port. Never agents, since Java does not follow from http to https, and"
            " never what a trusted proxy says came over https. Off by default: behind an ingress it"
            " is the ingress' matter."
        ),
    )
    proxy_protocol: Literal["off", "required"] = Field(
        default="off",
        description=(
            "required: every connection begins with a PROXY protocol header (version 1 or 2,"
            " before TLS, within 5 s) from one of trusted_proxies; others are closed. The address"
            " in it counts as the peer's everywhere. off: a header is a malformed request."
        ),
    )


class TcpDiscoveryRewrite(_Model):
    """What agents are told about the TCP agent port, in place of what the controller says."""

    host: Host = Field(description="Sent as X-Jenkins-JNLP-Host.")
    port: int = Field(
        ge=1, le=65535, description="Sent as X-Jenkins-JNLP-Port and X-Hudson-JNLP-Port."
    )


def _kind_of_tcp_discovery(value: Any) -> str:
    return "(rewrite)" if isinstance(value, dict | TcpDiscoveryRewrite) else "(word)"


# The tags appear in pydantic's error locations; load drops everything in parentheses from them.
TcpDiscovery = Annotated[
    Annotated[Literal["pass", "hide"], Tag("(word)")]
    | Annotated[TcpDiscoveryRewrite, Tag("(rewrite)")],
    Discriminator(_kind_of_tcp_discovery),
]


class ControllerAgentsConfig(_Model):
    """How agents' sessions reach this controller."""

    transport: Literal["auto", "jnlp4", "websocket"] = Field(
        default="auto",
        description=(
            "jnlp4: sessions are translated to the controller's TCP agent port. websocket: they are"
            " passed on to /wsagents/ at its url. auto: jnlp4 where the controller offers it and"
            " its agent port answers, else websocket where /wsagents/ is there; `check --live`"
            " shows which. Where a key is configured or pinned, auto goes on to websocket only"
            " with an https url, since over http nobody proves anything before the secret is sent."
        ),
    )
    protocol: Literal["JNLP4-connect", "JNLP4-plaintext"] = Field(
        default="JNLP4-connect",
        description=(
            "JNLP4-connect is TLS with the controller's identity key, on in every Jenkins since"
            " 2.41. JNLP4-plaintext is neither encrypted nor authenticated and needs"
            " allow_plaintext."
        ),
    )
    allow_plaintext: StrictBool = Field(
        default=False,
        description="Allow JNLP4-plaintext. False, because it shows secrets to the network.",
    )
    address: Address | None = Field(
        default=None,
        description="The TCP agent port. Default: asked from the controller's url.",
    )
    identity: Identity = Field(
        default="discover",
        description=(
            'The controller\'s public key, which it must prove before a secret is sent. "discover":'
            " the key that the controller's https url states, or over http the first one seen,"
            " which is then pinned in state_dir. Best: base64 SubjectPublicKeyInfo, {file:"
            " PATH}, or {jenkins_secrets: PATH}, what `jenkins-secrets extract` wrote."
        ),
    )
    chunks_per_message: Literal["many", "one"] = Field(
        default="many",
        description=(
            "Towards agents: many whole chunks in one WebSocket message, up to 64 KiB, because a"
            " message each costs a multiple; one, as Jenkins itself sends, for agents that cannot"
            " take more."
        ),
    )
    takeover: Literal["when-dead", "never", "always"] = Field(
        default="when-dead",
        description=(
            "What becomes of a node's session when the node comes again with the right secret while"
            " the controller says that it is already connected. when-dead: it ends if it is dead,"
            " that is suspect or silent for 5 s after a ping, or if the newcomer is the same"
            " process; a living one is kept, and the newcomer refused. never: the controller alone"
            " decides. always: the newcomer gets the node, as where nodes are replaced on purpose."
        ),
    )


class ControllerConfig(_Model):
    """One Jenkins controller."""

    url: ControllerUrl | None = Field(
        default=None,
        description=(
            "Where it speaks HTTP. Its path is the context path (prefix), the same outside and"
            " inside. Without url only agents are served, and agents.address and agents.identity"
            " are required."
        ),
    )
    jenkins_url: ControllerUrl | None = Field(
        default=None,
        description=(
            'The "Jenkins URL" set in Jenkins (Manage Jenkins, System), which it writes into links'
            " and mails and compares with the address people come by. check and every start warn"
            " where routes, listeners or url cannot fit it. Nothing is sent there; CLI clients are"
            " presented to the controller as coming from it. Default: whatever address people come"
            " by."
        ),
    )
    addresses: tuple[Address, ...] = Field(
        default=(),
        description=(
            "Where to connect for url, best first: the first one that is up gets everything, the"
            " others stand by, since a controller's sessions and builds live in one process."
            " Default: what the host of the url resolves to, in the same way."
        ),
    )
    tls: ControllerTlsConfig | None = Field(
        default=None,
        description=(
            "TLS to the controller. Default for an https url: the system's authorities, and the"
            " name of the url."
        ),
    )
    health_check: HealthCheckConfig | None = Field(
        default=None,
        description=(
            "Default: with several addresses, listed or the answers to the name in url, checks with"
            " their defaults; else none."
        ),
    )
    ejection: EjectionConfig = Field(
        default_factory=EjectionConfig,
        description="When one of several addresses that fails requests comes last for a while.",
    )
    connections: ConnectionsConfig = Field(
        default_factory=ConnectionsConfig, description="Connections to the controller's url."
    )
    proxy_protocol: Literal["off", "v2"] = Field(
        default="off",
        description=(
            "v2: connections to url begin with a PROXY protocol header, version 2, that names the"
            " client; each serves one request then, since the next one has another client. For a"
            " proxy in front of the controller: Jenkins itself does not understand it."
        ),
    )
    tcp_discovery: TcpDiscovery = Field(
        default="pass",
        description=(
            "What agents that ask for the TCP port get: pass = the controller's answer untouched,"
            " so that the gateway in front changes nothing; hide = 404; {host, port} = that, in its"
            " answer."
        ),
    )
    agents: ControllerAgentsConfig = Field(
        default_factory=ControllerAgentsConfig, description="How agents' sessions reach it."
    )
    credentials: CredentialsConfig = Field(
        default_factory=CredentialsConfig, description="Who judges agents' secrets."
    )
    cli: CliConfig = Field(default_factory=CliConfig, description="How the Jenkins CLI reaches it.")

    @property
    def in_clear(self) -> bool:
        """Say whether what goes to the url crosses a network without encryption."""
        if self.url is None or self.url.scheme == "https":
            return False
        return not all(each.is_loopback for each in self.addresses or (self.url.address,))


class KeepaliveConfig(_Model):
    """When the gateway pings, and when it gives a silent peer up."""

    interval: Duration = Field(
        default=20.0,
        description=(
            "A ping is sent when the gateway has sent nothing for this long. 20s keeps a session"
            " well below the 60 s after which nginx and AWS ALB cut idle connections, with one ping"
            " to spare."
        ),
    )
    suspect_after: Duration = Field(
        default=20.0,
        description="No answer this long after a ping: a newcomer may take the session over.",
    )
    dead_after: Duration = Field(
        default=60.0,
        description=(
            "The session ends after this long without a byte. 60s, because Jenkins alone needs 2"
            ' to 6 minutes, during which the node is "already connected".'
        ),
    )

    controller_dead_after: Duration = Field(
        default=300.0,
        description=(
            "The same for a controller at the other end of a WebSocket. 5m, Jenkins' own limit for"
            " a write: a controller may collect garbage for minutes without losing its agents."
        ),
    )

    @field_validator("interval")
    @classmethod
    def _beat_the_proxies(cls, interval: float) -> float:
        if interval >= _IDLE_CUT:
            raise ValueError(
                "allowed: less than 60s, because proxies on the way, such as nginx and AWS ALB, cut"
                " connections that are idle for 60 s"
            )
        return interval


class AgentsConfig(_Model):
    """What all agents' sessions share."""

    keepalive: KeepaliveConfig = Field(
        default_factory=KeepaliveConfig, description="Pings on agents' sessions."
    )
    handshake_timeout: Duration = Field(
        default=25.0,
        description=(
            "From an agent's request to its answer, everything towards the controller included."
            " 25s, because agent.jar gives up at 30 s, and one that gives up meanwhile leaves a"
            " ghost behind."
        ),
    )

    handshake_rate: int = Field(
        default=50,
        ge=1,
        le=10_000,
        description=(
            "Handshakes a second that each controller gets, after a second's worth at once; agents"
            " beyond that wait at /login. 50: thousands of agents are back within a minute or two,"
            " and people still get answers from a controller that has just been restarted."
        ),
    )

    @field_validator("handshake_timeout")
    @classmethod
    def _beat_the_agent(cls, timeout: float) -> float:
        if timeout >= _AGENT_PATIENCE:
            raise ValueError(
                "allowed: less than 30s, because agent.jar gives up at 30 s, and an agent that"
                " gives up while its channel opens leaves a node that is already connected"
            )
        return timeout


class GatewayConfig(_Model):
    """The whole of gateway.yaml."""

    state_dir: FilePath = Field(
        default_factory=default_state_dir,
        description=(
            "Where pinned identities, generated certificates, cookies of sessions and the control"
            " socket are kept; one gateway for each. Default:"
            " $STATE_DIRECTORY (set by systemd), else $XDG_STATE_HOME/remoting-gateway, else"
            " ~/.local/state/remoting-gateway."
        ),
    )
    listeners: tuple[ListenerConfig, ...] = Field(
        min_length=1,
        description=(
            "Where to accept connections. No default: TLS needs a certificate, and plain HTTP must"
            " be a decision."
        ),
    )
    trusted_proxies: tuple[ProxyNetwork, ...] = Field(
        default=(),
        description=(
            "Networks whose X-Forwarded-* headers, and PROXY protocol headers where a listener"
            " requires them, are believed. None by default: anybody can send them."
        ),
    )
    trusted_proxy_headers: tuple[ClaimHeader, ...] = Field(
        default=(),
        description=(
            "Headers that travel on from trusted_proxies besides X-Forwarded-For, -Host, -Port and"
            " -Proto, for Jenkins' log-in by header (an SSO proxy's X-Forwarded-User). None by"
            " default, because a proxy that does not set or remove such a header in each request"
            " passes on what its clients made up, and with it anybody may log in as anybody. From"
            " others than trusted_proxies they never travel on."
        ),
    )
    controllers: dict[Name, ControllerConfig] = Field(
        min_length=1, description="The controllers, each under a name of your choice."
    )
    routes: tuple[RouteConfig, ...] = Field(
        default=(),
        description=(
            "Which requests go where. Default with a single controller: everything goes to it; with"
            " several, required."
        ),
    )
    agents: AgentsConfig = Field(
        default_factory=AgentsConfig, description="What all agents' sessions share."
    )
    nodes: NodesConfig = Field(
        default_factory=NodesConfig, description="Conditions for agents besides their secret."
    )
    lockout: LockoutConfig = Field(
        default_factory=LockoutConfig, description="What follows from many wrong secrets."
    )
    store: StoreConfig = Field(
        default_factory=StoreConfig, description="Where issued secrets are kept."
    )
    limits: LimitsConfig = Field(
        default_factory=LimitsConfig, description="What clients may take, each and together."
    )
    metrics: MetricsConfig = Field(
        default_factory=MetricsConfig, description="What is said in metrics."
    )
    workers: Workers = Field(
        default=1,
        description=(
            "Processes that serve; auto is one for each processor that this program may use. 1, as"
            " nginx: one carries thousands of sessions, and limits are divided among several."
        ),
    )
    shutdown: ShutdownConfig = Field(
        default_factory=ShutdownConfig,
        description="How the gateway stops, and how an upgrade's old workers end.",
    )
    admin: AdminConfig = Field(
        default_factory=AdminConfig, description="Health, the API and the status page."
    )
    log: LogConfig = Field(
        default_factory=LogConfig, description="Where log lines go, and how they look."
    )
    trace_context: TraceContextConfig = Field(
        default_factory=TraceContextConfig, description="Whose trace ids are passed on."
    )

    @model_validator(mode="before")
    @classmethod
    def _route_to_the_only_controller(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "routes" in data:
            return data
        controllers = data.get("controllers")
        if not isinstance(controllers, dict) or len(controllers) != 1:
            return data
        (only,) = controllers
        return {**data, "routes": ({"id": only, "host": "*", "controller": only},)}

    @property
    def store_key_file(self) -> Path:
        """Return the key file of the store."""
        return self.store.key_file or self.state_dir / "store.key"

    def prefix_of(self, route: RouteConfig) -> str:
        """Return the context path of the route's controller; without url, the route's own path."""
        url = self.controllers[route.controller].url
        return url.prefix if url is not None else route.path or ""

    def path_of(self, route: RouteConfig) -> str:
        """Return the path the route's requests begin with, in the form of a prefix."""
        return self.prefix_of(route) if route.path is None else route.path
