"""Client certificates that are verified and nevertheless odd: none may cost more than itself."""

from __future__ import annotations

import datetime
from functools import cache
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gateway.config.listener_tls import ClientCertificatesConfig
from gateway.transport.stream import Stream, StreamBroken, TlsInfo
from gateway.transport.tls import TlsEngine
from gateway.transport.tls_context import ServerContexts
from tests import certificates
from tests.loopback import stream_and_socket

NAMED = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "b1")])
URI = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://x/b1")])
SAN = ObjectIdentifier("2.5.29.17")
EDI_PARTY = bytes.fromhex("3007a505a1030c0161")  # a GeneralName of a kind that nobody uses
# Two extensions of our own, whose identifiers differ in their last byte.
FIRST, SECOND = (ObjectIdentifier(f"1.2.3.{last}") for last in (4, 5))


@cache
def authority() -> tuple[x509.Certificate, ed25519.Ed25519PrivateKey]:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    made = _builder(name, key.public_key(), name).add_extension(constraints, critical=True)
    return made.sign(key, None), key


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    issuer: x509.Name,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def write_client(
    folder: Path, subject: x509.Name, *extensions: x509.ExtensionType, twice: bool = False
) -> Path:
    """Write a client's certificate and key; ``twice``: SECOND has become another FIRST."""
    root, signing = authority()
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(subject, key.public_key(), root.subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=subject == x509.Name([]))
    made = builder.sign(signing, None)
    der = made.public_bytes(Encoding.DER)
    if twice:
        # What no library signs: change the signed part, and put a new signature at the end.
        signed = made.tbs_certificate_bytes
        changed = signed.replace(b"\x06\x03\x2a\x03\x05", b"\x06\x03\x2a\x03\x04")
        assert changed != signed
        der = der.replace(signed, changed)[:-64] + signing.sign(changed)
    path = folder / "client.pem"
    path.write_bytes(
        x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


async def info_for(folder: Path, client: Path) -> TlsInfo:
    """Do a handshake with the client's certificate, and return what is known of it."""
    trusted = folder / "clients.pem"
    trusted.write_bytes(authority()[0].public_bytes(Encoding.PEM))
    clients = ClientCertificatesConfig.model_validate({"mode": "require", "ca_file": trusted})
    config = certificates.tls_config(folder, "localhost")
    contexts = ServerContexts(config.model_copy(update={"client_certificates": clients}))
    context = certificates.client_context()
    context.load_cert_chain(client)
    async with stream_and_socket(tcp=True) as (stream, far), trio.open_nursery() as nursery:
        peer = trio.SSLStream(far, context, server_hostname="localhost")
        nursery.start_soon(peer.do_handshake)
        await stream.start_tls(TlsEngine(contexts.entry, server_side=True))
        await _still_works(stream, peer)
        assert stream.tls is not None
        return stream.tls


async def _still_works(stream: Stream, peer: trio.SSLStream[trio.SocketStream]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, b"hello")
        assert await stream.receive_some() == b"hello"


async def test_a_certificate_that_can_be_read(tmp_path: Path) -> None:
    found = await info_for(tmp_path, write_client(tmp_path, NAMED, URI))
    assert (found.subject, found.common_names) == ("CN=b1", ("b1",))
    assert found.alternative_names == ("spiffe://x/b1",)


async def test_alternatives_of_a_kind_that_cannot_be_read(tmp_path: Path) -> None:
    odd = x509.UnrecognizedExtension(SAN, EDI_PARTY)
    found = await info_for(tmp_path, write_client(tmp_path, NAMED, odd))
    assert (found.common_names, found.alternative_names) == (("b1",), ())


async def test_an_extension_that_is_there_twice(tmp_path: Path) -> None:
    extensions = [x509.UnrecognizedExtension(each, b"\x05\0") for each in (FIRST, SECOND)]
    client = write_client(tmp_path, NAMED, URI, *extensions, twice=True)
    found = await info_for(tmp_path, client)
    assert (found.common_names, found.alternative_names) == (("b1",), ())


async def test_an_empty_subject(tmp_path: Path) -> None:
    found = await info_for(tmp_path, write_client(tmp_path, x509.Name([]), URI))
    assert (found.subject, found.common_names) == ("", ())
    assert found.alternative_names == ("spiffe://x/b1",)


async def test_whatever_else_is_wrong_ends_that_connection_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(Exception):
        """What a library may raise next."""

    def subject(certificate: object) -> str:
        raise Odd("hunter2")

    monkeypatch.setattr(x509.Name, "rfc4514_string", subject)
    with pytest.raises(ExceptionGroup) as caught:
        await info_for(tmp_path, write_client(tmp_path, NAMED))
    broken, other = caught.value.split(StreamBroken)
    assert broken is not None
    assert other is None or other.split(trio.BrokenResourceError)[1] is None
    assert "TLS: unreadable certificate: Odd" in repr(broken)
    assert "hunter2" not in repr(caught.value)
