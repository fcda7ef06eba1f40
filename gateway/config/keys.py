"""Public keys and certificates as the configuration names them.

Owns: reading a controller's pinned identity (the RSA or EC key that JNLP4's TLS certificate must
carry, PROTOCOLS section C) from base64, PEM or a certificate, and checking that a certificate and
key file can be served together.

Must not know: TLS connections, where an identity is pinned at run time, keys of the configuration.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from gateway.config.values import TextValue

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from pydantic.json_schema import JsonSchemaValue

_EXPIRES_SOON: Final = timedelta(days=14)
_MAX_FILE: Final = 1 << 20  # a chain with every intermediate there is stays below 64 KiB
_KEY_KINDS: Final = (
    'allowed: "discover", an RSA or EC public key as base64 of its SubjectPublicKeyInfo (what the'
    " controller sends as X-Instance-Identity), or {file: PATH} of that, a PEM public key or a"
    " certificate"
)


def fingerprint(der: bytes) -> str:
    """Return the SHA-256 of a SubjectPublicKeyInfo, in the spelling that ssh made familiar."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class PublicKey(TextValue):
    """A controller's identity key; ``der`` is its SubjectPublicKeyInfo (RFC 5280, 4.1.2.7)."""

    der: bytes

    json_schema: ClassVar[JsonSchemaValue] = {
        "type": "string",
        "contentEncoding": "base64",
        "minLength": 64,
    }

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read base64 of a SubjectPublicKeyInfo, white space ignored; ValueError if it is none."""
        try:
            der = base64.b64decode("".join(text.split()), validate=True)
            return cls.of(load_der_public_key(der))
        except (binascii.Error, ValueError, UnsupportedAlgorithm):
            raise ValueError(_KEY_KINDS) from None

    @classmethod
    def of(cls, key: PublicKeyTypes) -> PublicKey:
        """Take an RSA or EC key; ValueError for other kinds, which no controller has."""
        if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey):
            raise ValueError(_KEY_KINDS)
        return cls(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    @classmethod
    def read(cls, path: Path) -> PublicKey:
        """Read a file with a PEM certificate or public key, or base64; ValueError if unusable."""
        data = read_file(path)
        try:
            if b"-----BEGIN CERTIFICATE-----" in data:
                return cls.of(x509.load_pem_x509_certificate(data).public_key())
            if b"-----BEGIN" in data:
                return cls.of(load_pem_public_key(data))
            return cls.parse(data.decode("ascii"))
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(f"{_KEY_KINDS}; {path} holds none of these") from None

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the key; see ``fingerprint``."""
        return fingerprint(self.der)

    def __str__(self) -> str:
        return base64.b64encode(self.der).decode("ascii")


def read_file(path: Path) -> bytes:
    """Read a small file; ValueError says in plain words why it cannot be read."""
    try:
        # Opening a pipe waits for whoever writes into it, unless it is told not to.
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"allowed: a file that can be read; {path}: is not a regular file")
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ValueError(f"allowed: a file that can be read; {path}: {reason}") from None
    if len(data) > _MAX_FILE:
        raise ValueError(f"allowed: a file below 1 MiB; {path} is bigger")
    return data


def reason_of(error: ValueError | OSError) -> str:
    """Return the words of ``read_file`` where they are not about a value in the configuration."""
    return str(error).removeprefix("allowed: ").removeprefix("a file that can be read; ")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def check_certificate(path: Path, *, now: datetime) -> tuple[x509.Certificate, str | None]:
    """Read a PEM chain; return its first certificate and, perhaps, a warning about its dates.

    Raises ValueError when there is no certificate. Wrong dates are no error: it may be a clock
    that is wrong, and a gateway that starts is easier to repair than one that does not.
    """
    data = read_file(path)
    try:
        leaf = x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        raise ValueError(
            f"allowed: a PEM file, server certificate first, then intermediates; {path} is not"
        ) from None
    return leaf, date_warning(leaf, now=now, what="the certificate")


def date_warning(certificate: x509.Certificate, *, now: datetime, what: str) -> str | None:
    """Return a warning about the dates of a certificate that is called ``what``, or None."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        return f"{what} is not valid before {begin:%Y-%m-%d %H:%M} UTC"
    if now >= end:
        return f"{what} expired on {end:%Y-%m-%d %H:%M} UTC; agents will refuse it"
    if now >= end - _EXPIRES_SOON:
        return f"{what} expires soon, on {end:%Y-%m-%d %H:%M} UTC"
    return None


def check_key(path: Path, *, certificate: x509.Certificate | None) -> None:
    """Read a PEM private key; ValueError when it is unusable or not the certificate's."""
    data = read_file(path)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise ValueError(
            "allowed: a key without passphrase, since nobody is there to type it."
            f" Remove it with: openssl pkey -in {path} -out KEYFILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"allowed: a PEM file with a private key; {path} is not") from None
    if certificate is not None and key.public_key() != certificate.public_key():
        raise ValueError("allowed: the private key of the certificate; this is another one's")
