"""What ``test_faults`` does not have: dates that are near, client certificates, and the missing
intermediate that is fetched in order to prove that it is the cause.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from subprocess import PIPE

import pytest
import trio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from trio.testing import MockClock

from gateway.demo.agent_http import Target
from gateway.doctor.case import Case
from gateway.doctor.causes import Cause
from gateway.doctor.check_tls import check_tls
from gateway.doctor.question import Question
from tests.e2e.programs import free_ports
from tests.peers.raw_origin import RawOrigin, answering
from tests.tools import require_tool

HOST = "127.0.0.1"


@asynccontextmanager
async def serving(context: ssl.SSLContext, ca_file: Path | None = None) -> AsyncIterator[Case]:
    """Give the case of a port where TLS is spoken."""

    async def serve(plain: trio.SocketStream) -> None:
        stream = trio.SSLStream(plain, context, server_side=True)
        try:
            await stream.do_handshake()
            await stream.receive_some()
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=HOST)
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield Case(question=Question(Target("https", HOST, port, "/"), ca_file=ca_file))
        nursery.cancel_scope.cancel()


def context_of(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


async def test_all_is_well(ca: trustme.CA, ca_file: Path) -> None:
    async with serving(context_of(ca.issue_cert(HOST)), ca_file) as case:
        assert await check_tls(case) == []
        assert f"TLSv1.3; {HOST} until" in case.saw


@pytest.mark.parametrize(
    ("begin", "end", "cause"),
    [(-30, 7, Cause.CERTIFICATE_ENDS_SOON), (2, 30, Cause.CERTIFICATE_NOT_YET_VALID)],
)
async def test_dates(ca: trustme.CA, ca_file: Path, begin: int, end: int, cause: Cause) -> None:
    now = datetime.now(UTC)
    leaf = ca.issue_cert(
        HOST, not_before=now + timedelta(days=begin), not_after=now + timedelta(days=end)
    )
    async with serving(context_of(leaf), ca_file) as case:
        (found,) = await check_tls(case)
    assert found.cause is cause


async def test_a_private_authority_without_the_file(ca: trustme.CA) -> None:
    async with serving(context_of(ca.issue_cert(HOST))) as case:
        (found,) = await check_tls(case)
    assert found.cause is Cause.AUTHORITY_UNKNOWN
    assert "-cert @ca.pem" in found.remedy


async def test_client_certificates(ca: trustme.CA, ca_file: Path) -> None:
    context = context_of(ca.issue_cert(HOST))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(context, ca_file) as case:
        (found,) = await check_tls(case)
    # OpenSSL says no more than this before TLS 1.3, where the check of /login finds it.
    assert found.cause in (Cause.TLS_FAILED, Cause.CLIENT_CERTIFICATE)


@pytest.mark.parametrize(
    ("key_type", "options", "words"),
    [
        (1024, {}, ("too weak", "2048 bits", "RSA 1024, signed with sha256")),
        (2048, {"digest": "sha1"}, ("too weak", "SHA-256", "RSA 2048, signed with sha1")),
        (2048, {"purpose": "clientAuth"}, ("not fit", "serverAuth", "purpose")),
    ],
)
async def test_certificates_that_are_not_fit(
    tmp_path: Path, key_type: int, options: dict[str, str], words: tuple[str, ...]
) -> None:
    """Made and served by openssl, which alone still makes such ones."""
    digest, purpose = options.get("digest", "sha256"), options.get("purpose", "serverAuth")
    make = (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=authority"
        f" && openssl req -newkey rsa:{key_type} -nodes -keyout own.key -out own.csr -subj /CN=own"
        f" && printf 'subjectAltName=IP:{HOST}\nextendedKeyUsage={purpose}' > own.cnf"
        f" && openssl x509 -req -{digest} -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial"
        " -days 9 -extfile own.cnf -out own.pem"
    )
    require_tool("openssl")
    await trio.run_process(make, shell=True, cwd=tmp_path, capture_stdout=True, capture_stderr=True)
    (port,) = free_ports(1)
    async with trio.open_nursery() as nursery:
        await nursery.start(_openssl_server, tmp_path, port)
        target = Target("https", HOST, port, "/")
        case = Case(question=Question(target, ca_file=tmp_path / "ca.pem"))
        (found,) = await check_tls(case)
        nursery.cancel_scope.cancel()
    assert found.cause is Cause.CERTIFICATE_UNFIT
    said = "\n".join((found.title, found.remedy, *found.seen))
    assert [each for each in words if each not in said] == []


async def _openssl_server(folder: Path, port: int, *, task_status: trio.TaskStatus[None]) -> None:
    command = ["openssl", "s_server", "-accept", f"{HOST}:{port}", "-cert", "own.pem", "-key"]
    command += ["own.key", "-cipher", "ALL:@SECLEVEL=0", "-quiet", "-www"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, cwd=folder, stdin=PIPE, check=False)
        )
        for _ in range(200):
            with suppress(OSError):
                stream = await trio.open_tcp_stream(HOST, port)
                await stream.aclose()
                break
            await trio.sleep(0.05)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            process.kill()


async def test_anonymous_ciphers_are_no_handshake(ca_file: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    async with serving(context, ca_file) as case:
        (found,) = await check_tls(case)
    assert found.cause is Cause.TLS_FAILED


async def test_what_says_nothing_has_refused_nothing(autojump_clock: MockClock) -> None:
    with socket.create_server((HOST, 0)) as server:
        target = Target("https", HOST, server.getsockname()[1], "/")
        (found,) = await check_tls(Case(question=Question(target)))
    assert found.cause is Cause.NO_ANSWER


async def test_an_expired_intermediate_is_not_taken_for_the_servers_own(tmp_path: Path) -> None:
    root, middle, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    authority = x509.BasicConstraints(ca=True, path_length=None)
    chain = [
        _certificate(
            HOST,
            own,
            ("middle", middle),
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
        ),
        _certificate("middle", middle, ("root", root), authority, days=(-9, -1)),
    ]
    anchor = _certificate("root", root, ("root", root), authority)
    (tmp_path / "ca.pem").write_bytes(anchor.public_bytes(Encoding.PEM))
    key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = tmp_path / "both.pem"
    pem.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain) + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    async with serving(context, tmp_path / "ca.pem") as case:
        (found,) = await check_tls(case)
    assert found.cause is Cause.CERTIFICATE_EXPIRED
    assert found.title.startswith("an intermediate certificate expired on")
    assert "Replace the intermediate" in found.remedy


async def test_http_is_no_matter_here_but_for_secrets() -> None:
    target = Target("http", "ci.example.com", 80, "/")
    case = Case(question=Question(target, node="a"), address=("192.0.2.1", 80))
    (found,) = await check_tls(case)
    assert found.cause is Cause.SECRET_IN_CLEAR
    case.address = (HOST, 80)
    assert await check_tls(case) == []


async def test_each_address_is_looked_at(ca: trustme.CA, ca_file: Path) -> None:
    now = datetime.now(UTC)
    old = ca.issue_cert(HOST, not_before=now - timedelta(9), not_after=now - timedelta(1))
    async with (
        serving(context_of(ca.issue_cert(HOST)), ca_file) as case,
        serving(context_of(old)) as other,
    ):
        case.addresses = [(HOST, each.question.target.port) for each in (case, other)]
        (found,) = await check_tls(case)
    assert found.cause is Cause.CERTIFICATE_EXPIRED
    assert found.seen[0].startswith(f"at {HOST}: ")


# -- an intermediate that its certificate says where to get ----------------------------------------

_Key = ec.EllipticCurvePrivateKey


def _certificate(
    name: str,
    key: _Key,
    issuer: tuple[str, _Key],
    *extensions: x509.ExtensionType,
    days: tuple[int, int] = (-1, 90),
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer[0])]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer[1], hashes.SHA256())


async def test_the_missing_one_is_fetched_as_proof(tmp_path: Path) -> None:
    root, middle, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    authority = x509.BasicConstraints(ca=True, path_length=None)
    intermediate = _certificate("middle", middle, ("root", root), authority)
    origin = RawOrigin(answering(b""))
    async with trio.open_nursery() as nursery:
        await nursery.start(origin.run)
        der = intermediate.public_bytes(Encoding.DER)
        origin.script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(der) + der)
        where = x509.UniformResourceIdentifier(f"http://{HOST}:{origin.port}/middle.crt")
        described = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        leaf = _certificate(
            HOST,
            own,
            ("middle", middle),
            x509.SubjectAlternativeName([x509.DNSName("ci.example.com")]),
            x509.AuthorityInformationAccess([described]),
        )
        pem = tmp_path / "both.pem"
        key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem.write_bytes(leaf.public_bytes(Encoding.PEM) + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        async with serving(context) as case:
            (found,) = await check_tls(case)
        nursery.cancel_scope.cancel()
    assert found.cause is Cause.INTERMEDIATE_MISSING
    assert "which Java does not do by itself" in found.seen[1]
    assert origin.requests[0].line == b"GET /middle.crt HTTP/1.1"
