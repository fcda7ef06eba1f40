"""What clients may take of the gateway: sizes, times, numbers.

Owns: the keys under ``limits``, their defaults and the reasons.

Must not know: who enforces them.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field, field_validator

from gateway.config.base import Model
from gateway.config.values import Duration, Size, format_size

_MOST_HEAD: Final = 1024 * 1024


class LimitsConfig(Model):
    """What clients may take of the gateway, and of controllers through it."""

    head: Size = Field(
        default=32 * 1024,
        ge=1024,
        description=(
            "Bytes of a request head; more is 431. 32KiB, four times what Jenkins takes: the"
            " gateway should be the one that explains (nginx 32 KiB, Envoy 60 KiB). At most 1MiB,"
            " because every connection may fill that much memory."
        ),
    )
    request_line: Size = Field(
        default=8 * 1024,
        ge=256,
        description="Bytes of its first line; more is 414. 8KiB, as nginx and httpd.",
    )
    header_fields: int = Field(
        default=100,
        ge=10,
        le=10_000,
        description="Fields of a head; more is 431. 100, as Envoy.",
    )
    head_warning: Size = Field(
        default=7 * 1024,
        description=(
            "A forwarded head of this size is logged with its largest field, once a connection."
            " 7KiB, because Jenkins refuses 8 KiB with 431 and the X-Forwarded fields come on top."
            " 0B: never."
        ),
    )
    head_timeout: Duration = Field(
        default=15.0,
        description=(
            "From a head's first byte to its last; longer is 408. 15s: slow heads are how"
            " slowloris holds connections (nginx 60 s, httpd 20 s)."
        ),
    )
    body: Size | None = Field(
        default=None,
        description=(
            "Bytes of a request body; more is 413. No limit by default, because bodies are never"
            " buffered and plugins and artifacts are large."
        ),
    )
    body_timeout: Duration = Field(
        default=60.0,
        description=(
            "Between two pieces of a request body; longer is 408. 60s, as nginx. Each route has a"
            " minimum_body_rate besides."
        ),
    )
    send_timeout: Duration = Field(
        default=60.0,
        description=(
            "A client that takes nothing of an answer for this long is cut off, since it holds a"
            " connection of the controller. 60s, as nginx. Agents' sessions have limits of their"
            " own."
        ),
    )
    linger_timeout: Duration = Field(
        default=5.0,
        description=(
            "A client that is answered before its body is in, with 413 say, often reads the answer"
            " only when it has sent everything, so the rest is read and dropped; until nothing"
            " comes for this long. 5s, as nginx (lingering_timeout)."
        ),
    )
    linger_time: Duration = Field(
        default=30.0,
        description=(
            "How long that may take in all; then the connection is closed, and the answer may be"
            " lost. 30s, as nginx (lingering_time). It also ends after 64 MiB."
        ),
    )
    idle_timeout: Duration = Field(
        default=75.0,
        description="How long a connection may wait for its next request. 75s, as nginx.",
    )
    tls_handshake_timeout: Duration = Field(
        default=10.0,
        description="From accept to the end of the TLS handshake. 10s, as HAProxy's examples.",
    )
    connections: int = Field(
        default=16_384,
        ge=1,
        description=(
            "Connections at a time, TLS handshakes included; more are closed at once. 16384,"
            " because a session takes two descriptors (nginx 512 a worker)."
        ),
    )
    connections_per_address: int = Field(
        default=2048,
        ge=1,
        description=(
            "The same from one IPv4 address or one IPv6 /64; trusted_proxies are exempt. 2048, an"
            " eighth of all, because whole sites of agents come from behind one address."
        ),
    )
    controller_handshakes: int = Field(
        default=64,
        ge=1,
        description=(
            "Agents' handshakes that one controller has to do at a time; others wait up to 10 s for"
            " their turn. 64, because each costs it a thread and an RSA signature. How many a"
            " second is agents.handshake_rate."
        ),
    )

    websocket_frame: Size = Field(
        default=16 * 1024 * 1024,
        ge=64 * 1024,
        description=(
            "Bytes of one WebSocket frame on its way to or from a controller; more ends the session"
            " with 1009. 16MiB bounds absurdity and not memory, since frames are streamed: Jetty"
            " takes 64 KiB, Tyrus 4 MiB; but a ping has to wait for the end of a frame."
        ),
    )

    @field_validator("head")
    @classmethod
    def _bound_head(cls, head: int) -> int:
        if head > _MOST_HEAD:
            raise ValueError(
                f"allowed: at most {format_size(_MOST_HEAD)}, because every connection may fill"
                " that much memory; Jenkins itself takes 8KiB"
            )
        return head
