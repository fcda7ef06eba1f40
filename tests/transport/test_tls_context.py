"""Tests of ``gateway.transport.tls_context``: which certificate is shown, and what is refused."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL

from gateway.config.models import CertificateConfig, TlsConfig
from gateway.errors import ConfigError
from gateway.transport.tls import TlsError
from gateway.transport.tls_context import (
    ServerContexts,
    pinning_client_context,
    verifying_client_context,
)
from tests import certificates
from tests.transport.tls_wire import TlsWire


def handshake(client: TlsWire, server: TlsWire) -> None:
    to_server = client.handshake()
    while not (client.handshake_done and server.handshake_done):
        assert to_server
        to_client = server.handshake(to_server)
        to_server = b"" if client.handshake_done else client.handshake(to_client)


def shown_to(contexts: ServerContexts, name: str | None) -> list[str]:
    """Return the DNS names of the certificate that a client asking for ``name`` is shown."""
    client = TlsWire(pinning_client_context(), server_side=False, server_name=name)
    server = TlsWire(contexts.entry, server_side=True)
    handshake(client, server)
    # What is shown must also work after the context was changed in the middle of a handshake.
    assert server.receive(client.send(b"x")) == b"x"
    certificate = client.engine.connection.get_peer_certificate()
    assert certificate is not None
    names = certificate.to_cryptography().extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return names.value.get_values_for_type(x509.DNSName)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> ServerContexts:
    folder = tmp_path_factory.mktemp("tls")
    return ServerContexts(
        certificates.tls_config(
            folder, "jenkins.test", "ci.example.com", "*.example.com", "*.Upper.Test"
        )
    )


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        pytest.param("jenkins.test", "jenkins.test", id="exact"),
        pytest.param("ci.example.com", "ci.example.com", id="exact before wildcard"),
        pytest.param("other.example.com", "*.example.com", id="wildcard"),
        pytest.param("CI.Example.COM", "ci.example.com", id="any case"),
        pytest.param("ci.example.com.", "ci.example.com", id="with the root's dot"),
        pytest.param("a.upper.test", "*.upper.test", id="upper case in the certificate"),
        pytest.param("a.b.example.com", "jenkins.test", id="a wildcard is one label"),
        pytest.param("example.com", "jenkins.test", id="and never none"),
        pytest.param("elsewhere.test", "jenkins.test", id="unknown"),
        pytest.param("localhost", "jenkins.test", id="without a dot"),
        pytest.param("*.example.com", "*.example.com", id="the wildcard itself"),
        pytest.param(None, "jenkins.test", id="no SNI"),
    ],
)
def test_certificate_by_server_name(
    contexts: ServerContexts, asked: str | None, shown: str
) -> None:
    assert [name.lower() for name in shown_to(contexts, asked)] == [shown]


def test_a_name_in_two_certificates_belongs_to_the_first(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = certificates.write(tmp_path / "a", "both.test", "first.test")
    second = certificates.write(tmp_path / "b", "both.test", "second.test")
    contexts = ServerContexts(TlsConfig(certificates=(first, second)))
    assert shown_to(contexts, "both.test") == ["both.test", "first.test"]
    assert shown_to(contexts, "second.test") == ["both.test", "second.test"]


def test_a_certificate_may_have_many_names(tmp_path: Path) -> None:
    config = TlsConfig(
        certificates=(
            certificates.write(tmp_path, "first.test"),
            certificates.write(tmp_path, "one.test", "two.test", "*.three.test"),
        )
    )
    contexts = ServerContexts(config)
    for name in ("one.test", "two.test", "x.three.test"):
        assert shown_to(contexts, name) == ["one.test", "two.test", "*.three.test"]


def test_the_whole_chain_is_shown(contexts: ServerContexts, tmp_path: Path) -> None:
    """A client that knows only the root must come to the end of it."""
    intermediate = certificates.authority().create_child_ca()
    leaf = intermediate.issue_cert("deep.test")
    (tmp_path / "crt").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    (tmp_path / "key").write_bytes(leaf.private_key_pem.bytes())
    deep = ServerContexts(
        TlsConfig(
            certificates=(CertificateConfig(certificate=tmp_path / "crt", key=tmp_path / "key"),)
        )
    )
    client = TlsWire(pinning_client_context(), server_side=False)
    handshake(client, TlsWire(deep.entry, server_side=True))
    chain = client.engine.connection.get_peer_cert_chain()
    assert chain is not None
    assert len(chain) == 2


# -- versions and ciphers --------------------------------------------------------------------------


def old_client() -> TlsWire:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    return TlsWire(context, server_side=False)


def test_old_versions_are_refused(contexts: ServerContexts) -> None:
    with pytest.raises(TlsError, match="unsupported protocol"):
        handshake(old_client(), TlsWire(contexts.entry, server_side=True))


@pytest.fixture(scope="module")
def rsa_contexts(tmp_path_factory: pytest.TempPathFactory) -> ServerContexts:
    folder = tmp_path_factory.mktemp("rsa")
    config = TlsConfig(
        certificates=(
            certificates.write(folder, "first.test", rsa=True),
            certificates.write(folder, "second.test", rsa=True),
        )
    )
    return ServerContexts(config)


@pytest.mark.parametrize("name", [None, "second.test"])
@pytest.mark.parametrize(
    ("cipher", "accepted"),
    [
        ("ECDHE-RSA-AES128-GCM-SHA256", True),
        ("ECDHE-RSA-CHACHA20-POLY1305", True),
        ("AES128-GCM-SHA256", False),  # no forward secrecy
        ("ECDHE-RSA-AES128-SHA", False),  # CBC
        ("ECDHE-RSA-AES256-SHA384", False),
    ],
)
def test_ciphers(
    rsa_contexts: ServerContexts, cipher: str, accepted: bool, name: str | None
) -> None:
    """The same for every certificate, since all contexts are made alike."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(cipher.encode())
    client = TlsWire(context, server_side=False, server_name=name)
    server = TlsWire(rsa_contexts.entry, server_side=True)
    if not accepted:
        with pytest.raises(TlsError, match="no shared cipher"):
            handshake(client, server)
        return
    handshake(client, server)
    assert server.engine.cipher == cipher


def test_the_servers_order_of_ciphers_counts(rsa_contexts: ServerContexts) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(b"ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256")
    server = TlsWire(rsa_contexts.entry, server_side=True)
    handshake(TlsWire(context, server_side=False), server)
    assert server.engine.cipher == "ECDHE-RSA-AES128-GCM-SHA256"


def test_sessions_are_not_cached(contexts: ServerContexts) -> None:
    """Workers do not share them."""
    assert contexts.entry.get_session_cache_mode() == SSL.SESS_CACHE_OFF


@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-RSA-AES256-SHA", "AES256-GCM-SHA384"])
def test_old_controllers_are_spoken_to(cipher: str) -> None:
    """Java 8 offers little else; the key is compared all the same (PROTOCOLS C.2 item 3)."""
    server_context = certificates.server_context(ssl.TLSVersion.TLSv1_2, rsa=True)
    server_context.set_ciphers(cipher)
    client = TlsWire(pinning_client_context(), server_side=False)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(incoming, outgoing, server_side=True)
    data = client.handshake()
    while not client.handshake_done:
        incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        data = client.handshake(outgoing.read())
    assert client.engine.cipher == cipher


def test_a_client_certificate_is_not_asked_for(contexts: ServerContexts) -> None:
    assert contexts.entry.get_verify_mode() == SSL.VERIFY_NONE


def test_which_contexts_verify() -> None:
    assert verifying_client_context().get_verify_mode() == SSL.VERIFY_PEER
    assert pinning_client_context().get_verify_mode() == SSL.VERIFY_NONE


# -- files that cannot be used ---------------------------------------------------------------------


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    one, two = certificates.write(tmp_path, "one.test"), certificates.write(tmp_path, "two.test")
    _refused(one.certificate, two.key)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    good = certificates.write(tmp_path, "good.test")
    other = tmp_path / "other"
    for content in (b"", b"no PEM\n", good.certificate.read_bytes()[:200]):
        other.write_bytes(content)
        _refused(other, good.key)
        _refused(good.certificate, other)


def test_files_that_are_gone(tmp_path: Path) -> None:
    good = certificates.write(tmp_path, "good.test")
    _refused(tmp_path / "none", good.key)
    _refused(good.certificate, tmp_path / "none")


def test_a_key_with_a_passphrase(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody is there to type it, and nobody may be asked."""
    good = certificates.write(tmp_path, "good.test")
    key = load_pem_private_key(good.key.read_bytes(), None)
    good.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    )
    _refused(good.certificate, good.key)
    assert capfd.readouterr() == ("", "")


def _refused(certificate: Path, key: Path) -> None:
    config = TlsConfig.model_construct(
        certificates=(CertificateConfig.model_construct(certificate=certificate, key=key),)
    )
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        ServerContexts(config)
    assert str(certificate) in str(caught.value)
    assert str(key) in str(caught.value)


def test_when_certificates_end(tmp_path: Path) -> None:
    config = certificates.tls_config(tmp_path, "jenkins.test")
    path = config.certificates[0].certificate
    chain = x509.load_pem_x509_certificates(path.read_bytes())
    first = min(each.not_valid_after_utc for each in chain)
    assert ServerContexts(config).expiries == {path: first.timestamp()}
