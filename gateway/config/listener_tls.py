"""TLS as a listener speaks it.

Owns: the keys under a listener's ``tls``, their defaults and the reasons.

Must not know: certificates' contents (``chains``), OpenSSL.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool

from gateway.config.base import CertificateConfig, FilePath, Model
from gateway.config.values import Duration


class ClientCertificatesConfig(Model):
    """Whether clients of a listener must show a certificate of their own (mutual TLS)."""

    mode: Literal["off", "optional", "require"] = Field(
        default="off",
        description=(
            "require: nobody gets in without a certificate that ca_file vouches for, whatever host"
            " and path; optional: one that is shown must be good, and the access log names its"
            " subject, so that it is seen who require would shut out; off: not asked for."
        ),
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="PEM file with the authorities that vouch for clients; no others do.",
    )


class HstsConfig(Model):
    """Strict-Transport-Security (RFC 6797): browsers remember to use https only."""

    max_age: Duration = Field(
        default=31_536_000.0,
        description="How long browsers remember. 365d is what preload lists ask for at least.",
    )
    include_subdomains: StrictBool = Field(
        default=False,
        description="Also for all hosts below. False: they may be somebody else's.",
    )

    @property
    def value(self) -> str:
        """Return the value of the field."""
        below = "; includeSubDomains" if self.include_subdomains else ""
        return f"max-age={int(self.max_age)}{below}"


class TlsConfig(Model):
    """TLS of a listener. TLS 1.2 and 1.3 are spoken, older versions never."""

    certificates: tuple[CertificateConfig, ...] = Field(
        min_length=1,
        description="SNI chooses between several; the first is for everybody without a match.",
    )
    minimum_version: Literal["1.2", "1.3"] = Field(
        default="1.2",
        description="The oldest TLS that is spoken. 1.2, for agents on Java 8 before 8u261.",
    )
    ciphers: str | None = Field(
        default=None,
        description=(
            "Ciphers of TLS 1.2, in OpenSSL's notation. Default: ECDHE with AES-GCM or ChaCha20,"
            " which is Mozilla's intermediate set less DHE, whose cost anybody can cause. Those of"
            " TLS 1.3 need no choice."
        ),
    )
    client_certificates: ClientCertificatesConfig = Field(
        default_factory=ClientCertificatesConfig,
        description="Whether clients must show a certificate. It is the rule of the listener.",
    )
    hsts: HstsConfig | None = Field(
        default=None,
        description=(
            "Have browsers use https only, for the whole host and all its ports. Off by default:"
            " it cannot be taken back, and agents on http beside it would not notice it anyway."
        ),
    )
