"""What a listener demands of clients: certificates, versions, protocols. Real handshakes.

The three ways around client certificates that others have had (ARCHITECTURE section 8) are tried
here: another name by SNI, a resumed session, and a Host that differs from SNI. The last needs no
check of its own, because the rule is the listener's: nobody got in without a certificate at all.
"""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.config.listener_tls import ClientCertificatesConfig, TlsConfig
from gateway.errors import ConfigError
from gateway.transport.tls import TlsError
from gateway.transport.tls_context import ServerContexts, signing_key
from tests import certificates
from tests.transport.tls_wire import TlsWire

NAMES = ("first.test", "second.test")
CLIENTS = trustme.CA()
STRANGERS = trustme.CA()
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def contexts_of(folder: Path, mode: str = "off", **more: Any) -> ServerContexts:
    (folder / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes())
    clients = ClientCertificatesConfig.model_validate(
        {"mode": mode, "ca_file": folder / "clients.pem"}
    )
    pairs = certificates.tls_config(folder, *NAMES).certificates
    return ServerContexts(TlsConfig(certificates=pairs, client_certificates=clients, **more))


class Client:
    """Python's ssl, in memory."""

    def __init__(
        self,
        name: str | None,
        *,
        certificate: trustme.LeafCert | None = None,
        version: ssl.TLSVersion | None = None,
        protocols: list[str] | None = None,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        if context is None:
            context = certificates.client_context(version)
            context.check_hostname = name is not None
            if certificate is not None:
                certificate.configure_cert(context)
            if protocols is not None:
                context.set_alpn_protocols(protocols)
        self.context = context
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(
            self.incoming, self.outgoing, server_hostname=name, session=session
        )

    def step(self, data: bytes) -> bytes:
        if data:
            self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.ssl.do_handshake()
        return self.outgoing.read()


def connect(contexts: ServerContexts, client: Client) -> TlsWire:
    """Do both sides of a handshake until the server is done. Raises what either side does."""
    server = TlsWire(contexts.entry, server_side=True)
    to_server = client.step(b"")
    while not server.handshake_done:
        assert to_server
        to_server = client.step(server.handshake(to_server))
    # The client gets its tickets, and shows that it can speak.
    client.ssl.write(b"hello")
    assert server.receive(to_server + client.outgoing.read()) == b"hello"
    client.incoming.write(server.send(b"hi"))
    assert client.ssl.read() == b"hi"
    return server


def leaf(ca: trustme.CA = CLIENTS, **more: Any) -> trustme.LeafCert:
    return ca.issue_cert("agent@example.com", common_name="agent 7", **more)


# -- client certificates ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [None, *NAMES, "elsewhere.test"])
def test_without_a_certificate_nobody_gets_in_by_any_name(
    name: str | None, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    contexts = contexts_of(tmp_path, "require")
    context = certificates.client_context(version)
    context.check_hostname = False
    client = Client(name, context=context)
    with pytest.raises(TlsError, match="peer did not return a certificate"):
        connect(contexts, client)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["require", "optional"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["stranger", "expired", "self-signed"])
def test_a_bad_certificate_is_refused(
    kind: str, name: str, mode: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """Also where it is optional: who shows one means to be somebody."""
    certificate = {
        "stranger": lambda: leaf(STRANGERS),
        "expired": lambda: leaf(
            not_before=datetime.now(UTC) - timedelta(days=2),
            not_after=datetime.now(UTC) - timedelta(days=1),
        ),
        # The listener's own authority vouches for servers, not for clients.
        "self-signed": lambda: certificates.issue("first.test"),
    }[kind]()
    client = Client(name, certificate=certificate, version=version)
    with pytest.raises(TlsError, match="certificate verify failed"):
        connect(contexts_of(tmp_path, mode), client)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["require", "optional"])
def test_a_good_certificate_has_a_subject(
    mode: str, name: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    client = Client(name, certificate=leaf(), version=version)
    server = connect(contexts_of(tmp_path, mode), client)
    assert "CN=agent 7" in (server.engine.peer_subject() or "")


@pytest.mark.parametrize("mode", ["off", "optional"])
def test_who_need_not_show_one_gets_in_without(mode: str, tmp_path: Path) -> None:
    assert connect(contexts_of(tmp_path, mode), Client(NAMES[1])).engine.peer_subject() is None


def test_who_is_not_asked_shows_none(tmp_path: Path) -> None:
    server = connect(contexts_of(tmp_path), Client(NAMES[0], certificate=leaf(STRANGERS)))
    assert server.engine.peer_subject() is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["require", "optional"])
@pytest.mark.parametrize("later", NAMES)
def test_no_session_is_resumed_where_certificates_are_asked_for(
    later: str, mode: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    contexts = contexts_of(tmp_path, mode)
    first = Client(NAMES[0], certificate=leaf(), version=version)
    first.context.check_hostname = False
    connect(contexts, first)
    session = first.ssl.session
    again = Client(later, context=first.context, session=session)
    server = connect(contexts, again)
    assert not again.ssl.session_reused
    assert "CN=agent 7" in (server.engine.peer_subject() or "")  # it was asked for anew


def test_elsewhere_sessions_are_resumed(tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    contexts = contexts_of(tmp_path)
    first = Client(NAMES[0])
    connect(contexts, first)
    again = Client(NAMES[0], context=first.context, session=first.ssl.session)
    connect(contexts, again)
    assert again.ssl.session_reused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_another_listener_opens_nothing(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """Nor one from before a change of the configuration."""
    first = Client(NAMES[0], version=version)
    connect(contexts_of(tmp_path), first)
    again = Client(NAMES[0], context=first.context, session=first.ssl.session)
    with pytest.raises(TlsError, match="peer did not return a certificate"):
        connect(contexts_of(tmp_path, "require"), again)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_authorities_that_cannot_be_read(content: bytes, tmp_path: Path) -> None:
    config = certificates.tls_config(tmp_path, NAMES[0])
    (tmp_path / "empty.pem").write_bytes(content)
    clients = ClientCertificatesConfig(mode="require", ca_file=tmp_path / "empty.pem")
    with pytest.raises(ConfigError, match="holds no certificate authorities"):
        ServerContexts(config.model_copy(update={"client_certificates": clients}))


def test_what_is_demanded_is_the_mode_and_what_the_file_holds(tmp_path: Path) -> None:
    assert contexts_of(tmp_path).demand is None
    demands = {contexts_of(tmp_path, mode).demand for mode in ("optional", "require", "require")}
    assert len(demands) == 2
    (tmp_path / "other").mkdir()
    assert contexts_of(tmp_path / "other", "require").demand in demands  # wherever it lies
    clients = ClientCertificatesConfig(mode="require", ca_file=tmp_path / "clients.pem")
    STRANGERS.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    pairs = certificates.tls_config(tmp_path, *NAMES).certificates
    config = TlsConfig(certificates=pairs, client_certificates=clients)
    assert ServerContexts(config).demand not in {*demands, None}


def test_authorities_that_change_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some contexts would trust the old ones, some the new."""

    def read_key(path: Path) -> object:
        STRANGERS.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
        return signing_key(path)

    monkeypatch.setattr("gateway.transport.tls_context.signing_key", read_key)
    with pytest.raises(ConfigError, match=r"clients\.pem: changed while it was read"):
        contexts_of(tmp_path, "require")


def test_authorities_that_are_gone(tmp_path: Path) -> None:
    config = certificates.tls_config(tmp_path, NAMES[0])
    clients = ClientCertificatesConfig(mode="require", ca_file=tmp_path / "none.pem")
    with pytest.raises(ConfigError, match=r"none\.pem: no such file"):
        ServerContexts(config.model_copy(update={"client_certificates": clients}))


# -- versions and ciphers --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_minimum_version_holds_for_every_name(name: str, tmp_path: Path) -> None:
    contexts = contexts_of(tmp_path, minimum_version="1.3")
    with pytest.raises(TlsError, match="unsupported protocol"):
        connect(contexts, Client(name, version=ssl.TLSVersion.TLSv1_2))
    server = connect(contexts, Client(name, version=ssl.TLSVersion.TLSv1_3))
    assert server.engine.version == "TLSv1.3"


@pytest.mark.parametrize("name", NAMES)
def test_ciphers_may_be_chosen(name: str, tmp_path: Path) -> None:
    contexts = contexts_of(tmp_path, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    server = connect(contexts, Client(name, version=ssl.TLSVersion.TLSv1_2))
    assert server.engine.cipher == "ECDHE-ECDSA-AES256-GCM-SHA384"
    client = Client(name, version=ssl.TLSVersion.TLSv1_2)
    client.context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with pytest.raises(TlsError, match="no shared cipher"):
        connect(contexts, Client(name, context=client.context))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "ciphers", ["DHE+AESGCM", "ECDHE+SHA384:!AESGCM", "kRSA", "ECDHE+SHA1", "3DES:ECDHE+SHA256"]
)
def test_weak_ciphers_are_refused_for_every_name(name: str, ciphers: str, tmp_path: Path) -> None:
    context = certificates.client_context(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(ciphers + ":!ECDHE+AESGCM:!ECDHE+CHACHA20")
    with pytest.raises(TlsError, match="no shared cipher"):
        connect(contexts_of(tmp_path), Client(name, context=context))


def test_ciphers_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='OpenSSL knows none of "NOTHING"'):
        contexts_of(tmp_path, ciphers="NOTHING")


# -- ALPN ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        (["http/1.1"], "http/1.1"),
        (["h2", "http/1.1"], "http/1.1"),
        (["http/1.0", "http/1.1"], "http/1.1"),
        (["http/1.0"], "http/1.0"),
    ],
)
def test_http_1_1_is_chosen(
    offered: list[str] | None,
    chosen: str | None,
    name: str,
    version: ssl.TLSVersion,
    tmp_path: Path,
) -> None:
    client = Client(name, protocols=offered, version=version)
    connect(contexts_of(tmp_path), client)
    assert client.ssl.selected_alpn_protocol() == chosen


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("offered", [["h2"], ["acme-tls/1"], ["smtp", "imap"]])
def test_who_speaks_nothing_of_ours_is_refused_and_told(
    offered: list[str], name: str, tmp_path: Path
) -> None:
    contexts = contexts_of(tmp_path)
    client = Client(name, protocols=offered)
    server = TlsWire(contexts.entry, server_side=True)
    with pytest.raises(TlsError, match=r"^no application protocol$"):
        server.handshake(client.step(b""))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        client.step(server.data_to_send())
    connect(contexts, Client(name))  # the failure was that connection's own
