"""The certificate of ``run --controller URL``: made once, kept in ``state_dir``, renewed in time.

Owns: making an EC P-256 certificate that agents can be told to trust (agent.jar: ``-cert``),
and keeping it with its key, readable by this user alone.

Must not know: listeners, the configuration file, how the certificate is announced.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME: Final = timedelta(days=825)  # the most that Apple's and some corporate verifiers accept
_RENEW_BEFORE: Final = timedelta(days=30)
_CLOCK_SKEW: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """A usable certificate and where it is."""

    certificate: Path
    key: Path
    fingerprint: str  # SHA-256 of the certificate as AB:CD:..., as browsers and openssl show it
    expires: datetime


def ensure(state_dir: Path, *, host: str, now: datetime | None = None) -> SelfSigned:
    """Return the kept certificate, or make one, also when it ends within 30 days or lacks ``host``.

    ``host`` is the name or address in the URL that agents will be given. A certificate is kept as
    long as it can be: agents that trust it by its file would not trust another. Raises OSError
    when ``state_dir`` cannot be written.
    """
    now = datetime.now(UTC) if now is None else now
    certificate, key = state_dir / "self-signed.crt", state_dir / "self-signed.key"
    kept = _read(certificate, key)
    if kept is None or not _is_usable(kept, host=host, now=now):
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = _make(certificate, key, names=(host, *own_names()), now=now)
    return SelfSigned(
        certificate,
        key,
        kept.fingerprint(hashes.SHA256()).hex(":").upper(),
        kept.not_valid_after_utc,
    )


def own_names() -> tuple[str, ...]:
    """Return the names and addresses by which agents may reach this machine, best first."""
    host, full = socket.gethostname(), socket.getfqdn()
    # getfqdn falls back on whatever /etc/hosts says first, which may be a mere "localhost".
    names = (full, host) if "." in full else (host, full)
    return tuple(dict.fromkeys((*names, "localhost", "127.0.0.1", "::1", *_outward_addresses())))


def _outward_addresses() -> list[str]:
    """Return the addresses of the default routes; connecting a UDP socket sends nothing."""
    found = []
    documentation = (
        (socket.AF_INET, "192.0.2.1"),
        (socket.AF_INET6, "2001:db8::1"),
    )  # RFC 5737, 3849
    for family, target in documentation:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return found


def _read(certificate: Path, key: Path) -> x509.Certificate | None:
    """Return the certificate if both files are there and belong together."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        secret = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return None
    return found if secret.public_key() == found.public_key() else None


def _is_usable(certificate: x509.Certificate, *, host: str, now: datetime) -> bool:
    if (
        not certificate.not_valid_before_utc
        <= now
        < certificate.not_valid_after_utc - _RENEW_BEFORE
    ):
        return False
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return _general_name(host) in set(names)


def _general_name(name: str) -> x509.GeneralName | None:
    """Return the entry for a name or an address; None for what no certificate can hold."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    return x509.DNSName(name.lower()) if name and name.isascii() and name.isprintable() else None


def _make(
    certificate: Path, key: Path, *, names: tuple[str, ...], now: datetime
) -> x509.Certificate:
    secret = ec.generate_private_key(ec.SECP256R1())
    entries = [entry for entry in map(_general_name, names) if entry is not None]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Remoting Gateway (self-signed)")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now - _CLOCK_SKEW + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(dict.fromkeys(entries)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    # The key first: should the second write never happen, the pair does not match and is made anew.
    _write(key, secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    _write(certificate, made.public_bytes(Encoding.PEM), mode=0o644)
    return made


def _write(path: Path, data: bytes, *, mode: int) -> None:
    """Replace a file in one step, so that a reader sees the old or the new one, never a part."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
