"""What certificates say of themselves: names, dates, issuers.

Owns: reading them, whatever odd things are in them. Must not know: connections, what follows.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import AuthorityInformationAccessOID


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [
            *found.get_values_for_type(x509.DNSName),
            *map(str, found.get_values_for_type(x509.IPAddress)),
        ]
    except (x509.ExtensionNotFound, ValueError):
        return []


def issuer_address(certificate: x509.Certificate) -> str | None:
    """Return where a certificate says that its issuer's can be had; public ones always do."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return None
    for each in found.value:
        if each.access_method == AuthorityInformationAccessOID.CA_ISSUERS:
            return str(each.access_location.value)
    return None


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Say whether a certificate names itself as its issuer."""
    return certificate.issuer == certificate.subject


def has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Say whether the signature of ``certificate`` is by the key of ``issuer``."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def name_of(certificate: x509.Certificate) -> str:
    """Return the first name that a certificate is for, or its subject."""
    names = names_of(certificate)
    return names[0] if names else f'"{certificate.subject.rfc4514_string()}"'


def strength_of(certificate: x509.Certificate) -> str:
    """Return name, key and signature of a certificate: ``ci.example.com: RSA 1024, sha1``."""
    key = certificate.public_key()
    size = f" {key.key_size}" if hasattr(key, "key_size") else ""
    kind = type(key).__name__.removesuffix("PublicKey").strip("_")
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        digest = None
    return f"{name_of(certificate)}: {kind}{size}, signed with {digest.name if digest else 'other'}"


def day(when: datetime) -> str:
    """Return a date as people write it to machines."""
    return f"{when:%Y-%m-%d}"
