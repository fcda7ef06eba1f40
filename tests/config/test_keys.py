"""Identities in each form they are given in, and certificates that cannot be served."""

from __future__ import annotations

import base64
import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from gateway.config.keys import PublicKey, check_certificate, check_key, read_file
from tests.config.certificates import (
    NOW,
    certificate_pem,
    ec_key,
    private_pem,
    public_pem,
    rsa_key,
    spki,
)


def _base64(der: bytes) -> str:
    return base64.b64encode(der).decode("ascii")


@pytest.mark.parametrize("make", [rsa_key, ec_key])
def test_base64_of_a_key(make: object) -> None:
    key = rsa_key() if make is rsa_key else ec_key()
    der = spki(key.public_key())
    text = _base64(der)
    assert PublicKey.parse(text).der == der
    assert PublicKey.parse(f"  {text[:64]}\n{text[64:]}\n").der == der
    assert str(PublicKey(der)) == text


def test_each_kind_of_file_gives_the_same_key(tmp_path: Path) -> None:
    key = rsa_key()
    der = spki(key.public_key())
    for content in (
        _base64(der).encode() + b"\n",
        public_pem(key.public_key()),
        certificate_pem(key),
        b"# of the controller\n" + public_pem(key.public_key()),
    ):
        path = tmp_path / "identity"
        path.write_bytes(content)
        assert PublicKey.read(path).der == der


def test_the_fingerprint_is_the_hash_of_the_key() -> None:
    assert PublicKey(b"abc").fingerprint == "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0"


@pytest.mark.parametrize("text", ["", "discovered", "AAAA", "!!!!", "é" * 80, _base64(b"x" * 300)])
def test_not_keys(text: str) -> None:
    with pytest.raises(ValueError, match=r'^allowed: "discover", an RSA or EC public key'):
        PublicKey.parse(text)


def test_kinds_of_keys_that_no_controller_has(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(ValueError, match="RSA or EC"):
        PublicKey.parse(_base64(spki(key)))
    path = tmp_path / "identity.pem"
    path.write_bytes(public_pem(key))
    with pytest.raises(ValueError, match="RSA or EC"):
        PublicKey.read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN X",
    ],
)
def test_files_without_a_key_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.pem"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"identity\.pem holds none of these"):
        PublicKey.read(path)


def test_a_private_key_is_not_an_identity(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    path.write_bytes(private_pem(ec_key()))
    with pytest.raises(ValueError, match="holds none of these") as caught:
        PublicKey.read(path)
    assert "PRIVATE" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing: no such file or directory"):
        read_file(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"is a directory"):
        read_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for whoever writes into it
    with pytest.raises(ValueError, match=r"pipe: is not a regular file"):
        read_file(tmp_path / "pipe")
    big = tmp_path / "big"
    big.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(ValueError, match=r"below 1 MiB"):
        read_file(big)
    big.write_bytes(b"x" * (1 << 20))
    assert len(read_file(big)) == 1 << 20


def test_a_good_pair_has_no_warning(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(certificate_pem(ec_key()) + certificate_pem(ec_key(1)))
    key.write_bytes(private_pem(ec_key()))
    leaf, warning = check_certificate(certificate, now=NOW)
    assert warning is None
    assert leaf.public_key() == ec_key().public_key()
    check_key(key, certificate=leaf)


@pytest.mark.parametrize(
    ("begin", "end", "warning"),
    [
        (1, 90, "not valid before 2026-06-02 00:00 UTC"),
        (-9, 0, "expired on 2026-06-01 00:00 UTC"),
        (-9, -1, "expired on 2026-05-31 00:00 UTC"),
        (-9, 14, "expires soon, on 2026-06-15"),
        (-9, 15, None),
        (0, 90, None),
    ],
)
def test_dates(tmp_path: Path, begin: int, end: int, warning: str | None) -> None:
    path = tmp_path / "tls.crt"
    path.write_bytes(
        certificate_pem(ec_key(), begin=NOW + timedelta(begin), end=NOW + timedelta(end))
    )
    _, found = check_certificate(path, now=NOW)
    assert (found is None) is (warning is None)
    assert warning is None or warning in (found or "")


def test_a_key_in_place_of_a_certificate(tmp_path: Path) -> None:
    path = tmp_path / "tls.crt"
    path.write_bytes(private_pem(ec_key()))
    with pytest.raises(ValueError, match=r"allowed: a PEM file, server certificate first"):
        check_certificate(path, now=NOW)


def test_keys_that_cannot_be_served(tmp_path: Path) -> None:
    leaf = x509.load_pem_x509_certificate(certificate_pem(ec_key()))
    path = tmp_path / "tls.key"
    path.write_bytes(private_pem(ec_key(1)))
    with pytest.raises(ValueError, match=r"this is another one's"):
        check_key(path, certificate=leaf)
    check_key(path, certificate=None)
    path.write_bytes(private_pem(ec_key(), passphrase=b"made-up"))
    with pytest.raises(ValueError, match=r"without passphrase.*openssl pkey"):
        check_key(path, certificate=leaf)
    path.write_bytes(certificate_pem(ec_key()))
    with pytest.raises(ValueError, match=r"a PEM file with a private key"):
        check_key(path, certificate=leaf)
