"""What is found in the files that TLS of listeners names, with real chains."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from gateway.config.checks import check
from gateway.config.document import format_location
from gateway.config.listener_tls_checks import covers
from gateway.config.models import GatewayConfig
from tests.config.certificates import NOW, ec_key, private_pem

DAY = timedelta(days=1)


def make(
    name: str,
    *,
    key: int = 0,
    issuer: tuple[str, int] | None = None,
    sans: tuple[str, ...] = (),
    ca: bool = False,
    ends: timedelta = 90 * DAY,
    address: str | None = None,
) -> bytes:
    """Return a certificate as PEM; ``issuer`` is a name and the number of a key."""
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by, signing = issuer or (name, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by)]))
        .public_key(ec_key(key).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if sans:
        names = x509.SubjectAlternativeName([x509.DNSName(each) for each in sans])
        builder = builder.add_extension(names, critical=False)
    if address is not None:
        access = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(address)
        )
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return builder.sign(ec_key(signing), hashes.SHA256()).public_bytes(Encoding.PEM)


LEAF = make("ci", issuer=("Middle", 1), sans=("ci.example.com", "*.ci.example.com"))
PUBLIC_LEAF = make("ci", issuer=("Middle", 1), address="http://ca.example.com/middle.crt")
MIDDLE = make("Middle", key=1, issuer=("Root", 2), ca=True)
ROOT = make("Root", key=2, ca=True)


def found(
    folder: Path, *chain: bytes, key: int = 0, hosts: tuple[str, ...] = ("*",), **tls: Any
) -> tuple[list[str], list[str]]:
    """Return errors and warnings about a listener with ``chain`` before routes for ``hosts``."""
    (folder / "tls.crt").write_bytes(b"".join(chain))
    (folder / "tls.key").write_bytes(private_pem(ec_key(key)))
    pair = {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}
    config = GatewayConfig.model_validate(
        {
            "listeners": [{"address": "h:1", "tls": {"certificates": [pair], **tls}}],
            "controllers": {"main": {"url": "https://jenkins.lan/"}},
            "routes": [
                {"id": f"r{i}", "host": host, "controller": "main"} for i, host in enumerate(hosts)
            ],
        }
    )
    findings = check(config, now=NOW)
    errors, warnings = (
        [f"{format_location(problem.location)}: {problem.text}" for problem in problems]
        for problems in (findings.errors, findings.warnings)
    )
    return errors, warnings


# -- chains ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chain",
    [
        [LEAF],  # of a private authority, perhaps straight from its root
        [LEAF, MIDDLE],
        [LEAF, MIDDLE, ROOT],
        [PUBLIC_LEAF, MIDDLE],
        [ROOT],
    ],
)
def test_good_chains(chain: list[bytes], tmp_path: Path) -> None:
    key = 2 if chain == [ROOT] else 0
    assert found(tmp_path, *chain, key=key) == ([], [])


def test_a_missing_intermediate_says_where_to_get_it(tmp_path: Path) -> None:
    errors, (warning,) = found(tmp_path, PUBLIC_LEAF)
    assert errors == []
    assert 'unless "CN=Middle" is itself an authority' in warning
    assert "PKIX path building failed" in warning
    assert "http://ca.example.com/middle.crt" in warning


@pytest.mark.parametrize(
    ("chain", "number"),
    [([LEAF, ROOT], 2), ([LEAF, ROOT, MIDDLE], 2), ([LEAF, MIDDLE, MIDDLE], 3)],
)
def test_a_chain_with_a_gap_or_in_disorder(chain: list[bytes], number: int, tmp_path: Path) -> None:
    errors, (warning,) = found(tmp_path, *chain)
    assert errors == []
    assert f"certificate {number} of the file has not issued the one before it" in warning


def test_a_forged_link_is_no_link(tmp_path: Path) -> None:
    """The names fit, the signature does not."""
    _, (warning,) = found(tmp_path, make("ci", issuer=("Middle", 5)), MIDDLE)
    assert "has not issued" in warning


@pytest.mark.parametrize(("ends", "text"), [(5 * DAY, "expires soon"), (DAY / 2, "expires soon")])
def test_an_intermediate_that_ends(ends: timedelta, text: str, tmp_path: Path) -> None:
    middle = make("Middle", key=1, issuer=("Root", 2), ca=True, ends=ends)
    _, (warning,) = found(tmp_path, LEAF, middle)
    assert f"certificate 2 of the file {text}" in warning


def test_a_file_that_begins_with_the_intermediate(tmp_path: Path) -> None:
    (error,), _ = found(tmp_path, MIDDLE, LEAF)
    assert "another one's. It belongs to certificate 2 of" in error


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("ci.example.com", True),
        ("a.ci.example.com", True),
        ("a.b.ci.example.com", False),
        ("*.ci.example.com", True),
        ("example.com", False),
    ],
)
def test_covers(host: str, good: bool) -> None:
    assert covers(["ci.example.com", "*.ci.example.com"], host) is good


def test_a_host_without_certificate(tmp_path: Path) -> None:
    errors, (warning,) = found(tmp_path, LEAF, hosts=("ci.example.com", "jenkins.example.com"))
    assert errors == []
    assert warning.startswith("routes[1].host: no certificate")
    assert '"jenkins.example.com"' in warning


def test_a_certificate_for_no_host(tmp_path: Path) -> None:
    _, warnings = found(tmp_path, LEAF, hosts=("jenkins.example.com",))
    assert len(warnings) == 2
    assert "the certificate is for *.ci.example.com, ci.example.com, and no route" in warnings[0]


# -- ciphers and clients ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tls", "error"),
    [
        ({"ciphers": "NONSENSE"}, "tls.ciphers: found"),
        ({"ciphers": ""}, "tls.ciphers: found"),
        ({"ciphers": "ECDHE+AESGCM", "minimum_version": "1.3"}, "about TLS 1.2 only"),
        ({"client_certificates": {"mode": "require"}}, "ca_file: found nothing"),
        ({"client_certificates": {"mode": "optional"}}, "ca_file: found nothing"),
        (
            {"client_certificates": {"mode": "require", "ca_file": "/none.pem"}},
            "allowed: a file that can be read",
        ),
        (
            {"client_certificates": {"mode": "require", "ca_file": __file__}},
            "allowed: a PEM file",
        ),
    ],
)
def test_what_cannot_work(tls: dict[str, Any], error: str, tmp_path: Path) -> None:
    (text,), _ = found(tmp_path, LEAF, MIDDLE, **tls)
    assert error in text


def test_good_ciphers(tmp_path: Path) -> None:
    assert found(tmp_path, LEAF, MIDDLE, ciphers="ECDHE+AESGCM") == ([], [])


@pytest.mark.parametrize(
    ("pem", "mode", "warning"),
    [
        (ROOT, "require", None),
        (LEAF, "require", "is no authority: it vouches for nobody"),
        (make("Old", ca=True, ends=DAY / 24), "optional", "expires soon"),
        (ROOT, "off", "not used"),
    ],
)
def test_authorities_for_clients(
    pem: bytes, mode: str, warning: str | None, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(pem)
    clients = {"mode": mode, "ca_file": str(tmp_path / "ca.pem")}
    errors, warnings = found(tmp_path, LEAF, MIDDLE, client_certificates=clients)
    assert errors == []
    assert (warning is None) == (warnings == [])
    assert all(warning in each for each in warnings if warning is not None)


def test_trustmes_authority_is_one(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    clients = {"mode": "require", "ca_file": str(tmp_path / "ca.pem")}
    assert found(tmp_path, LEAF, MIDDLE, client_certificates=clients)[0] == []
