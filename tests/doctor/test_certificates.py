from __future__ import annotations

import trustme
from cryptography import x509

from gateway.doctor.certificates import (
    day,
    has_issued,
    is_self_signed,
    issuer_address,
    name_of,
    names_of,
)


def load(blob: trustme.Blob) -> x509.Certificate:
    return x509.load_pem_x509_certificate(blob.bytes())


def test_what_a_certificate_is_for() -> None:
    ca = trustme.CA()
    leaf = load(ca.issue_cert("ci.example.com", "192.0.2.1").cert_chain_pems[0])
    assert names_of(leaf) == ["ci.example.com", "192.0.2.1"]
    assert name_of(leaf) == "ci.example.com"
    root = load(ca.cert_pem)
    assert names_of(root) == []
    assert "Testing CA" in name_of(root)
    assert day(root.not_valid_after_utc) == "3000-01-01"


def test_who_has_issued_it() -> None:
    ca, other = trustme.CA(), trustme.CA()
    root = load(ca.cert_pem)
    leaf = load(ca.issue_cert("ci.example.com").cert_chain_pems[0])
    assert has_issued(root, leaf)
    assert not has_issued(load(other.cert_pem), leaf)
    assert (is_self_signed(root), is_self_signed(leaf)) == (True, False)
    assert issuer_address(leaf) is None
