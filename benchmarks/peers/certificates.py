"""A throw-away certificate authority for one run."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: chain, key, both in one (HAProxy wants that), and the authority."""

    chain: Path
    key: Path
    both: Path
    authority: Path

    @property
    def identity(self) -> str:
        """The certificate's SubjectPublicKeyInfo as base64, as ``X-Instance-Identity`` has it."""
        leaf = x509.load_pem_x509_certificate(self.chain.read_bytes())
        der = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()


def make_certificates(folder: Path) -> Certificates:
    """Write a certificate for localhost into ``folder``; RSA-2048, as Jenkins' identity is."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    leaf = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.RSA)
    made = Certificates(
        folder / "chain.pem", folder / "key.pem", folder / "both.pem", folder / "ca.pem"
    )
    made.chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(made.key)
    leaf.private_key_and_cert_chain_pem.write_to_path(made.both)
    authority.cert_pem.write_to_path(made.authority)
    return made
