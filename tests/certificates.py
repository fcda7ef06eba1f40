"""Certificates for tests, by trustme, as configuration files want them."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

import trustme

from gateway.config.models import CertificateConfig, TlsConfig


@cache
def authority() -> trustme.CA:
    """Return the one authority of all tests: making keys is what takes long."""
    return trustme.CA()


def issue(*names: str, rsa: bool = False) -> trustme.LeafCert:
    """Return a certificate for ``names``, always the same; its key is on P-256 or, with ``rsa``,
    is an RSA key.
    """
    return _issue(names, trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA)


@cache
def _issue(names: tuple[str, ...], kind: trustme.KeyType) -> trustme.LeafCert:
    return authority().issue_cert(*names, key_type=kind)


def write(folder: Path, *names: str, rsa: bool = False) -> CertificateConfig:
    """Write a certificate for ``names`` and its key into ``folder``."""
    leaf = issue(*names, rsa=rsa)
    stem = names[0].replace("*", "_").replace(":", "_")
    certificate, key = folder / f"{stem}.crt", folder / f"{stem}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    return CertificateConfig(certificate=certificate, key=key)


def tls_config(folder: Path, *names: str) -> TlsConfig:
    """Return a listener's TLS with one certificate for each of ``names``, the first for all."""
    return TlsConfig(certificates=tuple(write(folder, name) for name in names))


def client_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a client's context that trusts the authority, for one TLS version if given."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    _only(context, version)
    return context


def server_context(version: ssl.TLSVersion | None = None, *, rsa: bool = False) -> ssl.SSLContext:
    """Return a server's context with a certificate for ``localhost``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issue("localhost", rsa=rsa).configure_cert(context)
    _only(context, version)
    return context


def _only(context: ssl.SSLContext, version: ssl.TLSVersion | None) -> None:
    if version is not None:
        context.minimum_version = context.maximum_version = version
