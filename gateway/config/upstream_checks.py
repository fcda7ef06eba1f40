"""The rules across the keys that concern a controller's ``url``, and about the files they name.

Owns: what ``checks`` asks for each controller: addresses, TLS, client certificate.

Must not know: routes, listeners, agents' sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from gateway.config.keys import check_certificate, check_key, read_file
from gateway.config.networks import is_ip_address

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography.x509 import Certificate

    from gateway.config.checks import Findings
    from gateway.config.document import Location
    from gateway.config.models import ControllerConfig
    from gateway.config.upstream import ClientCertificateConfig, ControllerTlsConfig

_FOR_URL: Final = (
    "addresses",
    "tls",
    "health_check",
    "ejection",
    "connections",
    "proxy_protocol",
    "jenkins_url",
)


def check_upstream(
    controller: ControllerConfig, here: Location, findings: Findings, *, now: datetime
) -> None:
    """Check one controller; ``here`` is its place. Reads certificate files."""
    if controller.url is None:
        for key in _FOR_URL:
            if key in controller.model_fields_set:
                findings.error((*here, key), "allowed: only for a controller with url")
        return
    _check_addresses(controller, here, findings)
    if controller.tls is None:
        return
    if controller.url.scheme != "https":
        findings.error((*here, "tls"), f'allowed: only with an https url; found "{controller.url}"')
        return
    _check_tls(controller.tls, (*here, "tls"), findings, now=now)


def _check_addresses(controller: ControllerConfig, here: Location, findings: Findings) -> None:
    seen: dict[str, int] = {}
    for i, address in enumerate(controller.addresses):
        text = str(address)
        if address.port == 0:
            findings.error(
                (*here, "addresses", i), f'found "{text}"; allowed: a port from 1 to 65535'
            )
        if text in seen:
            findings.error(
                (*here, "addresses", i),
                f'found "{text}" a second time; allowed: each address once.'
                f" The first is addresses[{seen[text]}].",
            )
        seen.setdefault(text, i)
    agents = controller.agents
    follows = agents.address is not None or agents.transport == "websocket"
    if len(seen) > 1 and not follows and controller.url is not None:
        findings.warn(
            (*here, "addresses"),
            "agents' sessions go to the host that the controller names, else to"
            f' "{controller.url.host}", whichever of these addresses is in use; if that host is not'
            " always the active one, set agents.address",
        )
    if "health_check" in controller.model_fields_set and _has_one_address(controller):
        findings.warn(
            (*here, "health_check"),
            "there is one address only, so checks can do no more than write a log line: requests go"
            " there in any case; give it a second one in addresses, or remove health_check",
        )


def _has_one_address(controller: ControllerConfig) -> bool:
    """Say whether there can be no other: a name may stand for several."""
    hosts = [address.host for address in controller.addresses]
    if not hosts and controller.url is not None:
        hosts = [controller.url.host]
    return len(hosts) == 1 and is_ip_address(hosts[0])


def _check_tls(
    tls: ControllerTlsConfig, here: Location, findings: Findings, *, now: datetime
) -> None:
    if tls.ca_file is not None:
        _check_authorities(tls.ca_file, (*here, "ca_file"), findings)
    elif not tls.verify_name:
        findings.error(
            (*here, "verify_name"),
            "found false; allowed: only together with ca_file, since otherwise every certificate"
            " that any public authority ever signed would be believed",
        )
    if tls.client_certificate is not None:
        _check_pair(tls.client_certificate, (*here, "client_certificate"), findings, now=now)


def _check_authorities(path: Path, here: Location, findings: Findings) -> None:
    try:
        data = read_file(path)
    except ValueError as error:
        findings.error(here, f'found "{path}"; {error}')
        return
    try:
        x509.load_pem_x509_certificates(data)
    except ValueError:
        findings.error(here, f'found "{path}"; allowed: a PEM file with at least one certificate')


def _check_pair(
    pair: ClientCertificateConfig, here: Location, findings: Findings, *, now: datetime
) -> None:
    leaf: Certificate | None = None
    try:
        leaf, _ = check_certificate(pair.certificate, now=now)
    except ValueError as error:
        findings.error((*here, "certificate"), f'found "{pair.certificate}"; {error}')
    if leaf is not None and leaf.not_valid_after_utc <= now:
        findings.warn(
            (*here, "certificate"),
            f"the certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC;"
            f" the controller will refuse it ({pair.certificate})",
        )
    try:
        check_key(pair.key, certificate=leaf)
    except ValueError as error:
        findings.error((*here, "key"), f'found "{pair.key}"; {error}')
