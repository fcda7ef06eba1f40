"""The stand-in controller's instance identity: an RSA key and the certificate made from it.

Owns: the key, its public form as ``X-Instance-Identity`` shows it, the TLS server context.

Must not know: who connects. Sources: PROTOCOLS B.1, C.2 item 3 and G.3 (``InstanceIdentity``,
``SelfSignedCertificate``).
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

_BACKDATED: Final = timedelta(days=1)
_LIFETIME: Final = timedelta(days=366)


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class InstanceIdentity:
    """A controller's RSA-2048 key. Making one takes a fraction of a second: pass one on."""

    key: rsa.RSAPrivateKey = field(default_factory=_new_key, repr=False)

    @property
    def public_key(self) -> bytes:
        """Return the DER SubjectPublicKeyInfo: what a peer pins."""
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def header(self) -> str:
        """Return the value of ``X-Instance-Identity``: the public key as one Base64 line."""
        return base64.b64encode(self.public_key).decode()

    def certificate(self) -> x509.Certificate:
        """Return a fresh self-signed certificate with the fields that Jenkins writes."""
        legacy_id = hashlib.sha256(self.public_key).hexdigest()[:32]
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, legacy_id),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "jenkins.io"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "instances"),
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            ]
        )
        public = self.key.public_key()
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(1)
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def server_context(
        self, *, maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
    ) -> ssl.SSLContext:
        """Return a TLS server context that asks for a client certificate and does without one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = maximum
        context.verify_mode = ssl.CERT_OPTIONAL  # Java's "want": agents send none
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with tempfile.TemporaryDirectory(prefix="stand-in-") as folder:  # ssl reads files only
            pem = Path(folder, "identity.pem")
            pem.write_bytes(key + self.certificate().public_bytes(Encoding.PEM))
            context.load_cert_chain(pem)
        return context
