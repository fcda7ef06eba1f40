"""The certificates that the gateway shows, and when they expire.

Owns: reading what is worth knowing from the files of a configuration.

Must not know: TLS, who asks. Call it aside: files may hang.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.config.keys import read_file
from gateway.config.listener_tls import TlsConfig
from gateway.config.listener_tls_checks import certificate_names
from gateway.config.models import GatewayConfig


def certificates(config: GatewayConfig, now: datetime) -> list[dict[str, Any]]:
    """Return one object for each certificate file of a listener; the soonest to expire first.

    The chain's first certificate to expire counts: agents refuse a chain with an expired link.
    """
    found = [
        _describe(where, path, now)
        for where, tls in _sections(config)
        for path in [pair.certificate for pair in tls.certificates]
    ]
    return sorted(found, key=lambda each: each["expires"] or "")


def _sections(config: GatewayConfig) -> Iterator[tuple[str, TlsConfig]]:
    for i, listener in enumerate(config.listeners):
        if listener.tls is not None:
            yield f"listeners[{i}]", listener.tls
    if config.admin.tls is not None:
        yield "admin", config.admin.tls


def _describe(where: str, path: Path, now: datetime) -> dict[str, Any]:
    known: dict[str, Any] = {"used_by": where, "file": str(path)}
    unknown = dict.fromkeys(("subject", "issuer", "begins", "expires", "expires_in_s", "sha256"))
    try:
        chain = x509.load_pem_x509_certificates(read_file(path))
    except ValueError as error:
        return {**known, **unknown, "names": [], "problem": str(error)}
    leaf = chain[0]
    ends = min(each.not_valid_after_utc for each in chain)
    return {
        **known,
        "subject": leaf.subject.rfc4514_string(),
        "issuer": leaf.issuer.rfc4514_string(),
        "begins": _time(leaf.not_valid_before_utc),
        "expires": _time(ends),
        "expires_in_s": round((ends - now).total_seconds()),
        "sha256": leaf.fingerprint(SHA256()).hex(),
        "names": certificate_names(leaf),
        "problem": None if leaf.not_valid_before_utc <= now < ends else "it is not valid now",
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
