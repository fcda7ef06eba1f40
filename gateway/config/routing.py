"""Routes: which requests go where, and what is let through; and a listener's redirect.

Owns: the keys of a route, ``expose`` and ``redirect_to_https``, their defaults and the reasons.

Must not know: which paths a set means (``http.exposure``), controllers' own keys.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from gateway.config.base import Model, Name
from gateway.config.networks import is_ip_address
from gateway.config.values import Duration, Network, Size, parse_host, parse_prefix

_HTTPS_PORT = 443
_MAX_PORT = 65535


def parse_route_host(text: str) -> str:
    """Return ``*``, ``*.example.com`` or a host name in lower case; ValueError otherwise."""
    if text == "*":
        return text
    wildcard = text.startswith("*.")
    try:
        host = parse_host(text[2:] if wildcard else text)
        if wildcard and is_ip_address(host):
            raise ValueError
    except ValueError:
        raise ValueError(
            'allowed: "*" for any host, "*.example.com" for every host below example.com, or one'
            " host name without scheme, port and any other wildcard"
        ) from None
    return f"*.{host}" if wildcard else host


def _parse_exposed_path(text: str) -> str:
    path = parse_prefix(text)
    if path.split("/")[1:2] == ["static"]:
        raise ValueError(
            "allowed: anything but /static: Jenkins answers there for every path, /static/x/script"
            " for /script too; files below /static belong to the set ui"
        )
    return path


Networks = Annotated[tuple[Network, ...], Field(min_length=1)]
ExposedPath = Annotated[str, AfterValidator(_parse_exposed_path)]
SetName = Literal["all", "ui", "agents", "cli"]


class ExposeConfig(Model):
    """One part of a controller: a set by its name, or paths."""

    set: SetName | None = Field(
        default=None,
        description=(
            "agents: /wsagents/, /tcpSlaveAgentListener/, agents' own GET of /login,"
            " /jnlpJars/ without the CLI's; cli: /cli, /cli/ws, /jnlpJars/jenkins-cli.jar; ui: all"
            " the rest; all: everything."
        ),
    )
    paths: Annotated[tuple[ExposedPath, ...], Field(min_length=1)] | None = Field(
        default=None,
        description=(
            "Paths below the controller's prefix, such as /github-webhook: that path and what is"
            " below it. The longest one that fits decides, before any set. What Jenkins has behind"
            " /manage and other ways back to its root (/manage/x is /x) has to be exposed itself."
        ),
    )
    allow_from: Networks | None = Field(
        default=None,
        description=(
            "Networks that may use this part; others get 403. Default: everybody whom the route"
            " lets in."
        ),
    )
    jnlp_files: StrictBool = Field(
        default=False,
        description=(
            "With set agents: /computer/NODE/jenkins-agent.jnlp and slave-agent.jnlp, too, for"
            " agents started with -jnlpUrl. False, because the file holds the secret, and Jenkins"
            " gives it to whoever may connect the node. (The set ui has it anyway.)"
        ),
    )

    @model_validator(mode="after")
    def _check_kind(self) -> ExposeConfig:
        if (self.set is None) == (self.paths is None):
            raise ValueError("allowed: either set or paths")
        if self.jnlp_files and self.set != "agents":
            raise ValueError("allowed: jnlp_files only together with set: agents")
        return self


def _kind_of_part(value: Any) -> str:
    return "(part)" if isinstance(value, dict | ExposeConfig) else "(word)"


# The tags appear in pydantic's error locations; load drops everything in parentheses from them.
Expose = Annotated[
    Annotated[SetName, Tag("(word)")] | Annotated[ExposeConfig, Tag("(part)")],
    Discriminator(_kind_of_part),
]


def check_parts(expose: tuple[SetName | ExposeConfig, ...]) -> tuple[SetName | ExposeConfig, ...]:
    """Refuse a set or a path that is named twice; ValueError."""
    seen: list[str] = []
    for part in expose:
        if isinstance(part, ExposeConfig):
            seen += [part.set] if part.set is not None else (part.paths or ())
        else:
            seen.append(part)
    twice = next((name for name in seen if seen.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f'allowed: each set and each path once; "{twice or "/"}" is there twice')
    return expose


def _read_redirect(value: object) -> object:
    if value is None or value is False:
        return None
    if value is True:
        return _HTTPS_PORT
    if isinstance(value, int) and 1 <= value <= _MAX_PORT:
        return value
    raise ValueError("allowed: true, false, or the public port of https, such as 8443")


RedirectPort = Annotated[
    int | None,
    BeforeValidator(_read_redirect),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "boolean"},
                {"type": "integer", "minimum": 1, "maximum": _MAX_PORT},
                {"type": "null"},
            ]
        }
    ),
]


class RouteConfig(Model):
    """Which requests go to which controller. The longest path of the best host wins."""

    id: Name = Field(description="Names the route in logs.")
    host: str = Field(
        default="*",
        description=(
            "The host of the request, without port. *.example.com is every host below example.com,"
            ' however many labels, but not example.com (as in nginx); "*" is any other host. The'
            " exact name wins, then the longest wildcard."
        ),
    )
    path: str | None = Field(
        default=None,
        description=(
            "The path requests begin with. Default: the controller's prefix, which it must equal"
            " or be a parent of, since paths are not rewritten. Only a route with expose: [agents]"
            " may have any path: it takes the prefix' place, so that many controllers share a host."
            " For a controller without url it is the prefix."
        ),
    )
    controller: str = Field(description="One of the keys under controllers.")
    allow_from: Networks | None = Field(
        default=None,
        description=(
            "Networks whose clients may use the route; others get 403. Default: everybody. It is"
            " the client's address that counts, through trusted_proxies and proxy_protocol."
        ),
    )
    expose: tuple[Expose, ...] = Field(
        default=("all",),
        min_length=1,
        description=(
            "What the route lets through: all, ui, agents, cli, {set: NAME, allow_from: [...]} or"
            " {paths: [...], allow_from: [...]}; everything else is 404. The most specific one"
            " that fits decides: the longest path, then agents, cli or ui, then all. [agents]"
            " alone is for the edge: nothing but what WebSocket agents need, and /login is"
            " answered by the gateway to everybody."
        ),
    )
    websockets: StrictBool = Field(
        default=True,
        description=(
            "Let WebSockets through, wherever expose lets a request through: /cli/ws, /wsecho/ and"
            " plugins' own. They are pinged and end as agents' sessions do, which need no such"
            " leave. Upgrades to anything else are always refused."
        ),
    )
    response_timeout: Duration = Field(
        default=90.0,
        description=(
            "From the last byte of a request to the head of its answer; then 504. 90s, as in"
            " Jenkins' own nginx example. POST <prefix>/cli, whose upload is answered when the"
            " command has ended, is exempt."
        ),
    )
    minimum_body_rate: Size = Field(
        default=240,
        description=(
            "Bytes a second of a request's body on average, after its first 10 s and counted while"
            " the gateway waits for the client; slower ones are answered 408. 0B: no minimum. POST"
            " <prefix>/cli, which is open for as long as its command runs, is exempt."
        ),
    )

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        return parse_route_host(host)

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str | None) -> str | None:
        return path if path is None else parse_prefix(path)

    @field_validator("expose")
    @classmethod
    def _check_expose(
        cls, expose: tuple[SetName | ExposeConfig, ...]
    ) -> tuple[SetName | ExposeConfig, ...]:
        return check_parts(expose)

    @property
    def parts(self) -> tuple[ExposeConfig, ...]:
        """What is exposed, in the long form."""
        return tuple(
            each if isinstance(each, ExposeConfig) else ExposeConfig(set=each)
            for each in self.expose
        )

    @property
    def restricted(self) -> bool:
        """Say whether anybody is refused anything."""
        return self.allow_from is not None or self.parts != (ExposeConfig(set="all"),)

    @property
    def edge(self) -> bool:
        """Say whether the route serves agents alone: paths may be rewritten, no page gets out."""
        return len(self.expose) == 1 and self.parts[0].set == "agents"
