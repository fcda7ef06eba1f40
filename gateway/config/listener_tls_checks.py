"""The rules about TLS of listeners: what the files hold, and whether it can work for clients.

Owns: finding out at start what would otherwise be a riddle on somebody else's machine: chains that
lack a link, names that no certificate has, authorities that vouch for nobody.

Must not know: how a context is built (``transport.tls_context``), how problems are shown.
"""

from __future__ import annotations

import ssl
from itertools import pairwise
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import AuthorityInformationAccessOID

from gateway.config.keys import check_certificate, check_key, date_warning, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from gateway.config.base import CertificateConfig
    from gateway.config.checks import Findings
    from gateway.config.document import Location
    from gateway.config.listener_tls import ClientCertificatesConfig, TlsConfig
    from gateway.config.models import GatewayConfig


def check_listener_tls(tls: TlsConfig, here: Location, findings: Findings, now: datetime) -> None:
    """Check one listener's TLS. Reads the files it names."""
    for i, pair in enumerate(tls.certificates):
        _check_pair(pair, (*here, "certificates", i), findings, now)
    _check_ciphers(tls, here, findings)
    _check_clients(tls.client_certificates, (*here, "client_certificates"), findings, now)


def check_names(config: GatewayConfig, findings: Findings) -> None:
    """Compare the names of certificates with the hosts of routes."""
    hosts = {route.host for route in config.routes}
    found: set[str] = set()
    readable = 0
    for i, listener in enumerate(config.listeners):
        for j, pair in enumerate(() if listener.tls is None else listener.tls.certificates):
            try:
                names = set(certificate_names(_read(pair.certificate)[0]))
            except ValueError:
                continue  # which has its own error
            readable += 1
            found |= names
            if "*" in hosts or not names or any(covers(names, host) for host in hosts):
                continue
            findings.warn(
                ("listeners", i, "tls", "certificates", j, "certificate"),
                f"the certificate is for {', '.join(sorted(names))}, and no route has such a host"
                f" ({pair.certificate})",
            )
    for i, route in enumerate(config.routes):
        if readable and route.host != "*" and not covers(found, route.host):
            findings.warn(
                ("routes", i, "host"),
                f'no certificate of the listeners is for "{route.host}"; agents and browsers will'
                " refuse it",
            )


def covers(names: Iterable[str], host: str) -> bool:
    """Say whether one of a certificate's names is good for ``host`` (RFC 6125, 6.4.3)."""
    wildcard = "*." + host.partition(".")[2]
    return any(name in (host, wildcard) for name in names)


def certificate_names(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses of a certificate; its subject does not count."""
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    names = [name.lower() for name in san.get_values_for_type(x509.DNSName)]
    return names + [str(address) for address in san.get_values_for_type(x509.IPAddress)]


def _check_pair(pair: CertificateConfig, here: Location, findings: Findings, now: datetime) -> None:
    leaf: x509.Certificate | None = None
    try:
        leaf, warning = check_certificate(pair.certificate, now=now)
    except ValueError as error:
        findings.error((*here, "certificate"), f'found "{pair.certificate}"; {error}')
    else:
        warnings = [*([] if warning is None else [warning]), *_chain_warnings(pair, now)]
        for text in warnings:
            findings.warn((*here, "certificate"), f"{text} ({pair.certificate})")
    try:
        check_key(pair.key, certificate=leaf)
    except ValueError as error:
        findings.error((*here, "key"), f'found "{pair.key}"; {error}{_misplaced(pair)}')


def _read(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(read_file(path))


def _chain_warnings(pair: CertificateConfig, now: datetime) -> Iterator[str]:
    chain = _read(pair.certificate)
    for number, certificate in enumerate(chain[1:], 2):
        warning = date_warning(certificate, now=now, what=f"certificate {number} of the file")
        if warning is not None:
            yield warning
    for number, (certificate, issuer) in enumerate(pairwise(chain), 2):
        if not _has_issued(issuer, certificate):
            yield (
                f"certificate {number} of the file has not issued the one before it; the order is:"
                " the server's, the one that issued it, and so on"
            )
            return
    where = _issuer_address(chain[0])
    if len(chain) == 1 and where is not None:
        yield (
            f'the file holds no intermediate: unless "{chain[0].issuer.rfc4514_string()}" is itself'
            ' an authority that agents know, they will refuse with "PKIX path building failed".'
            f" Append its certificate, to be had at {where}"
        )


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _issuer_address(certificate: x509.Certificate) -> str | None:
    """Return where the certificate says that its issuer's can be had; public ones always do."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return None
    for description in access.value:
        if description.access_method == AuthorityInformationAccessOID.CA_ISSUERS:
            return str(description.access_location.value)
    return None


def _misplaced(pair: CertificateConfig) -> str:
    """Say so where the key belongs to a later certificate of the file."""
    try:
        key = load_pem_private_key(read_file(pair.key), password=None).public_key()
        chain = _read(pair.certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ""
    for number, certificate in enumerate(chain[1:], 2):
        if certificate.public_key() == key:
            return f". It belongs to certificate {number} of {pair.certificate}; put that first"
    return ""


def _check_ciphers(tls: TlsConfig, here: Location, findings: Findings) -> None:
    if tls.ciphers is None:
        return
    if tls.minimum_version == "1.3":
        findings.error(
            (*here, "ciphers"),
            f'found "{tls.ciphers}"; allowed: nothing beside minimum_version: "1.3", since it is'
            " about TLS 1.2 only. Remove one of the two.",
        )
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(tls.ciphers)
    except ssl.SSLError:
        findings.error(
            (*here, "ciphers"),
            f'found "{tls.ciphers}"; allowed: OpenSSL\'s notation, such as "ECDHE+AESGCM".'
            f" `openssl ciphers '{tls.ciphers}'` must name one at least.",
        )


def _check_clients(
    clients: ClientCertificatesConfig, here: Location, findings: Findings, now: datetime
) -> None:
    if clients.ca_file is None:
        if clients.mode != "off":
            findings.error(
                (*here, "ca_file"),
                "found nothing; allowed: a PEM file with the authorities that vouch for clients",
            )
        return
    if clients.mode == "off":
        findings.warn((*here, "ca_file"), "not used: mode is off, so nobody is asked")
    try:
        authorities = _read(clients.ca_file)
    except ValueError as error:
        reason = str(error) if str(error).startswith("allowed:") else "allowed: a PEM file"
        findings.error((*here, "ca_file"), f'found "{clients.ca_file}"; {reason}')
        return
    for number, certificate in enumerate(authorities, 1):
        what = f"certificate {number} of {clients.ca_file}"
        warning = date_warning(certificate, now=now, what=what)
        if warning is not None:
            findings.warn((*here, "ca_file"), warning)
        if not _is_authority(certificate):
            findings.warn((*here, "ca_file"), f"{what} is no authority: it vouches for nobody")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return found.value.ca
