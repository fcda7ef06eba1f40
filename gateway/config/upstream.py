"""How the gateway speaks HTTP to a controller: TLS, addresses, connections.

Owns: the keys under a controller that concern its ``url``, their defaults and the reasons.

Must not know: agents' sessions, routes.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field, StrictBool, field_validator

from gateway.config.base import CertificateConfig, FilePath, Model
from gateway.config.values import Duration, parse_host

# Jetty's (Winstone's) idle timeout of a kept-alive connection: PROTOCOLS I.2.
_JENKINS_CLOSES: Final = 30.0
# A browser opens six connections to a host, and a command of the CLI takes two.
_LEAST_PER_CLIENT: Final = 8


class ClientCertificateConfig(CertificateConfig):
    """The certificate that the gateway shows to a controller; both are PEM files."""

    certificate: FilePath = Field(description="The certificate, then its intermediates.")


class ControllerTlsConfig(Model):
    """TLS to a controller with an https url."""

    ca_file: FilePath | None = Field(
        default=None,
        description=(
            "PEM file with the authorities that may have signed the controller's certificate,"
            " instead of the system's."
        ),
    )
    verify_name: StrictBool = Field(
        default=True,
        description=(
            "Check that the certificate is for server_name. False only together with ca_file: then"
            " anything that these authorities signed is believed."
        ),
    )
    server_name: str | None = Field(
        default=None,
        description="The name sent by SNI and checked. Default: the host of the url.",
    )
    client_certificate: ClientCertificateConfig | None = Field(
        default=None, description="For controllers, or proxies before them, that ask for one."
    )

    @field_validator("server_name")
    @classmethod
    def _check_server_name(cls, name: str | None) -> str | None:
        return name if name is None else parse_host(name)


class HealthCheckConfig(Model):
    """Active checks of a controller's addresses."""

    path: str | None = Field(
        default=None,
        pattern=r"^/[!-~]*$",
        description=(
            "What is asked with GET; 2xx and 3xx are healthy. Default: <prefix>/login, which every"
            " Jenkins answers to everybody, and with 503 while it starts; newer ones have"
            " <prefix>/health, too."
        ),
    )
    interval: Duration = Field(default=10.0, description="Between two checks of an address.")
    timeout: Duration = Field(
        default=5.0, description="For connection and answer, after which a check has failed."
    )
    rise: int = Field(
        default=2, ge=1, le=100, description="Checks that pass in a row before an address is used."
    )
    fall: int = Field(
        default=3, ge=1, le=100, description="Checks that fail in a row before it is not."
    )


class EjectionConfig(Model):
    """When an address that fails is left alone without being asked."""

    failures: int = Field(
        default=5,
        ge=1,
        le=1000,
        description=(
            "Requests in a row that got no connection, no usable answer, or none in time. Answers"
            " of any status count as success: a controller that says 500 is there."
        ),
    )
    duration: Duration = Field(
        default=30.0, description="How long it then comes after all other addresses."
    )


class ConnectionsConfig(Model):
    """The connections kept to each address of a controller."""

    connect_timeout: Duration = Field(
        default=5.0, description="For TCP and TLS to one address; then the next one is tried."
    )
    idle_timeout: Duration = Field(
        default=20.0,
        description=(
            "A connection that was not used for this long is closed. 20s, because Jenkins closes"
            " its side after 30 s, and a request that meets the closing is lost."
        ),
    )
    limit: int = Field(
        default=256,
        ge=1,
        le=65536,
        description=(
            "Connections at a time to one address. Beyond, requests wait for one, as many as this"
            " and up to connect_timeout, and are answered 503 then."
        ),
    )

    per_client: int | None = Field(
        default=None,
        ge=1,
        description=(
            "How many of them requests from one IPv4 address or one IPv6 /64 may hold; more wait,"
            " and are answered 503, likewise. trusted_proxies are exempt: the address is the one"
            " that they name. Default: a quarter of limit, so that whoever does not read answers"
            " blocks nobody else, but at least 8, for a browser's six and a CLI command's two."
        ),
    )

    websockets: int = Field(
        default=1024,
        ge=1,
        le=65536,
        description=(
            "WebSockets at a time, each with a connection of its own beside those of limit; beyond,"
            " 503. 1024, because they last as long as a page is open; agents' sessions are not"
            " counted."
        ),
    )

    @property
    def most_per_client(self) -> int:
        """Return ``per_client`` or its default."""
        if self.per_client is not None:
            return self.per_client
        return max(self.limit // 4, _LEAST_PER_CLIENT)

    @field_validator("idle_timeout")
    @classmethod
    def _beat_jenkins(cls, timeout: float) -> float:
        if timeout >= _JENKINS_CLOSES:
            raise ValueError(
                "allowed: less than 30s, because Jenkins closes idle connections after 30 s, and"
                " requests that are sent at that moment are lost (sporadic 502)"
            )
        return timeout
