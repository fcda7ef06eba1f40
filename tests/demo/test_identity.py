"""The stand-in controller's certificate has the fields of Jenkins' own (PROTOCOLS C.2 item 3)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gateway.demo.identity import InstanceIdentity


def test_certificate_fields(identity: InstanceIdentity) -> None:
    certificate = identity.certificate()
    assert certificate.version is x509.Version.v3
    assert certificate.serial_number == 1
    assert certificate.subject == certificate.issuer
    assert isinstance(certificate.signature_hash_algorithm, SHA256)
    names = [part.rfc4514_string() for part in certificate.subject.rdns]
    assert names[1:] == ["OU=jenkins.io", "O=instances", "C=US"]
    assert len(bytes.fromhex(names[0].removeprefix("CN="))) == 16
    now = datetime.now(UTC)
    minute = timedelta(minutes=1)
    assert abs(now - timedelta(days=1) - certificate.not_valid_before_utc) < minute
    assert abs(now + timedelta(days=366) - certificate.not_valid_after_utc) < minute
    assert [extension.value for extension in certificate.extensions] == [
        x509.SubjectKeyIdentifier.from_public_key(identity.key.public_key())
    ]


def test_header_is_one_line_of_base64_of_the_public_key(identity: InstanceIdentity) -> None:
    der = base64.b64decode(identity.header, validate=True)
    assert der == identity.public_key
    key = load_der_public_key(der)
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048


def test_a_key_can_be_passed_on_and_is_not_shown(
    identity: InstanceIdentity, other_identity: InstanceIdentity
) -> None:
    assert InstanceIdentity(identity.key).public_key == identity.public_key
    assert identity.public_key != other_identity.public_key
    assert repr(identity) == "InstanceIdentity()"
