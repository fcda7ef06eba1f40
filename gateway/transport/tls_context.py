"""TLS contexts: which certificate a listener shows, and how a controller is verified.

Owns: protocol versions, ciphers, modes, SNI, trust stores and name checks. One function builds
every context of a listener, the one that answers first included, because OpenSSL's ``set_context``
during SNI does not carry verification settings over.

Must not know: sockets, routes, sessions.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from gateway.config.base import CertificateConfig
from gateway.config.listener_tls import ClientCertificatesConfig, TlsConfig
from gateway.config.networks import is_ip_address
from gateway.errors import ConfigError
from gateway.transport.tls import note_message, openssl_reason

# pyOpenSSL exports no name for it; openssl/ssl.h: SSL_MODE_ENABLE_PARTIAL_WRITE. With it each
# SSL_write stops after one record of 16 KiB, which costs four calls where one will do.
_MODE_ENABLE_PARTIAL_WRITE: Final = 0x1
# Mozilla's "intermediate" set for TLS 1.2, forward secrecy and AEAD only, less DHE: nobody who
# speaks to Jenkins needs it, and with it strangers have our processor work (CVE-2002-20001). Those
# of TLS 1.3 need no curating.
_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL:!MD5:!DSS"

_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
# In the order of preference. HTTP/1.0 is for completeness: clients of it know no ALPN.
_PROTOCOLS: Final = (b"http/1.1", b"http/1.0")
_VERIFY_MODES: Final = {
    "off": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "require": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}

_SigningKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How to speak TLS to a controller.

    ``server_name`` is sent by SNI and, with ``verify``, checked against the certificate.
    """

    context: SSL.Context
    server_name: str | None
    verify: bool


@dataclass(frozen=True, slots=True)
class ClientDemand:
    """What a listener's handshake demands of clients; a connection has proved it once and for all.

    ``authorities``: a digest of the file that says who vouches for them.
    """

    mode: str
    authorities: bytes


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # A bare FIN is an end like another: without this, nothing could be answered after it.
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_IGNORE_UNEXPECTED_EOF
    )
    context.set_info_callback(note_message)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def verifying_client_context(ca_file: Path | None = None) -> SSL.Context:
    """Return a context that trusts the authorities in ``ca_file`` and no others.

    None: the system's (``SSL_CERT_FILE`` is honoured). Raises ConfigError for an unusable file.
    """
    context = _context()
    if ca_file is None:
        context.set_default_verify_paths()
    else:
        try:
            context.load_verify_locations(str(ca_file))
        except SSL.Error:
            raise ConfigError(f"{ca_file}: holds no certificate that can be used") from None
    context.set_verify(SSL.VERIFY_PEER)
    return context


def pinning_client_context() -> SSL.Context:
    """Return a context for JNLP4: any certificate passes TLS, the caller compares the public key.

    Java 8 controllers offer old TLS 1.2 suites, and the certificate is self-signed by design
    (PROTOCOLS C.2 item 3), so neither ciphers nor certificates are judged here.
    """
    context = _context()
    context.set_cipher_list(b"DEFAULT:!aNULL:!eNULL")
    context.set_verify(SSL.VERIFY_NONE)
    return context


def verify_server_name(connection: SSL.Connection, name: str) -> str | None:
    """Check the peer's certificate against ``name`` (host or IP, RFC 6125); return the problem or
    None.
    """
    try:
        if is_ip_address(name):
            verify_ip_address(connection, name)
        else:
            verify_hostname(connection, name)
    except (VerificationError, CertificateError):
        return f"the certificate is not for {name}"
    return None


class ServerContexts:
    """The contexts of one listener, chosen by SNI: exact name, then wildcard, then the first
    certificate.

    Whatever name a client asks for, and whatever Host it sends later, it has passed the same
    verification: client certificates are a rule of the listener.
    """

    def __init__(self, config: TlsConfig) -> None:
        """Build every context. Raises ConfigError naming the file that cannot be used."""
        self.demand = _demand_of(config.client_certificates)
        self._by_name: dict[str, SSL.Context] = {}
        # Of each certificate's file, when the first in its chain ends; Unix time.
        self.expiries: dict[Path, float] = {}
        contexts = []
        for certificate in config.certificates:
            context, names, expiry = _server_context(config, certificate)
            self.expiries[certificate.certificate] = expiry
            contexts.append(context)
            for name in names:
                self._by_name.setdefault(name, context)
        if _demand_of(config.client_certificates) != self.demand:
            # Connections would be taken to have proved what they did not.
            raise ConfigError(
                f"{config.client_certificates.ca_file}: changed while it was read; try again"
            )
        self.entry = contexts[0]
        self.entry.set_tlsext_servername_callback(self._choose)

    def _choose(self, connection: SSL.Connection) -> None:
        raw = connection.get_servername()
        if raw is None:
            return
        name = raw.decode("ascii", "replace").lower().rstrip(".")
        wildcard = "*." + name.partition(".")[2]
        context = self._by_name.get(name) or self._by_name.get(wildcard)
        if context is not None and context is not self.entry:
            connection.set_context(context)


def _server_context(
    config: TlsConfig, certificate: CertificateConfig
) -> tuple[SSL.Context, Sequence[str], float]:
    """Build one context of a listener: they differ in their certificate and in nothing else."""
    context = _context()
    context.set_min_proto_version(_VERSIONS[config.minimum_version])
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_alpn_select_callback(_select_protocol)
    try:
        context.set_cipher_list(_CIPHERS if config.ciphers is None else config.ciphers.encode())
    except SSL.Error:
        raise ConfigError(f'ciphers: OpenSSL knows none of "{config.ciphers}"') from None
    _ask_for_certificates(context, config.client_certificates)
    try:
        context.use_certificate_chain_file(str(certificate.certificate))
        context.use_privatekey(signing_key(certificate.key))
        context.check_privatekey()
        pem = certificate.certificate.read_bytes()
        chain = x509.load_pem_x509_certificates(pem)
    except (SSL.Error, ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
        raise ConfigError(
            f"{certificate.certificate}: cannot be used with key {certificate.key}: "
            f"{openssl_reason(error) if isinstance(error, SSL.Error) else type(error).__name__}"
        ) from None
    expiry = min(each.not_valid_after_utc.timestamp() for each in chain)
    return context, _names(chain[0]), expiry


def _demand_of(config: ClientCertificatesConfig) -> ClientDemand | None:
    """Return what is demanded of clients, or None. Raises ConfigError for an unreadable file."""
    if config.mode == "off" or config.ca_file is None:
        return None
    try:
        digest = hashlib.sha256(config.ca_file.read_bytes()).digest()
    except OSError as error:
        raise ConfigError(
            f"{config.ca_file}: {(error.strerror or type(error).__name__).lower()}"
        ) from None
    return ClientDemand(config.mode, digest)


def _ask_for_certificates(context: SSL.Context, config: ClientCertificatesConfig) -> None:
    """Have ``context`` verify clients.

    No connection inherits from an earlier one what that had proved: neither a session cache (there
    is none) nor tickets, which would carry a certificate beyond its own end or a change of CAs.
    """
    if config.mode == "off":
        return
    context.set_options(SSL.OP_NO_TICKET)
    # OpenSSL wants one where clients are verified, or breaks handshakes that try to resume.
    context.set_session_id(b"remoting-gateway")
    context.set_verify(_VERIFY_MODES[config.mode])
    try:
        context.load_verify_locations(str(config.ca_file))
        context.load_client_ca(os.fsencode(str(config.ca_file)))  # whom clients may choose by
    except SSL.Error:
        raise ConfigError(f"{config.ca_file}: holds no certificate authorities") from None


def _select_protocol(connection: SSL.Connection, offered: Sequence[bytes]) -> bytes:
    """Choose by ALPN; a client that speaks nothing of ours is refused, as nginx does (RFC 7301).

    Otherwise the connection could be used with a protocol that its other end misunderstands. A
    client without ALPN is taken to speak HTTP/1.1.
    """
    for protocol in _PROTOCOLS:
        if protocol in offered:
            return protocol
    raise SSL.Error([("SSL routines", "", "no application protocol")])


def signing_key(path: Path) -> _SigningKey:
    """Read a private key. Raises OSError, ValueError, TypeError or UnsupportedAlgorithm."""
    # OpenSSL's own loader would ask for the passphrase of an encrypted key on the terminal, and
    # wait; this one raises TypeError.
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, _SigningKey):
        raise TypeError("not a key that signs")
    return key


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in san.value.get_values_for_type(x509.DNSName)]
