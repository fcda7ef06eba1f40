"""The controller leg's TLS: controllers' certificates as Jenkins makes them, and the one check."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from gateway.errors import IdentityMismatch
from gateway.transport.stream import Stream
from tests.agents.legs import fail_to_open, opened
from tests.peers import scripted_controller as scripted
from tests.peers.scripted_controller import (
    ACK,
    CAPABILITY,
    ScriptedController,
    Stage,
    Visit,
    own_identity,
    saying,
    stopping_at,
    string,
)


def certificate_context(
    folder: Path,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    began: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=1),
    signed_by: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
) -> ssl.SSLContext:
    """Return a server context with a certificate of ``key``, right or wrong in other respects."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "0123abcd")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + began)
        .not_valid_after(now + ends)
        .sign(key if signed_by is None else signed_by, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def talking(context: ssl.SSLContext) -> scripted.Script:
    """Return a script that accepts everybody behind ``context``."""

    async def script(visit: Visit) -> None:
        await visit.send(ACK)
        await visit.read(5)
        await visit.start_tls(context)
        await saying(string("{}") + string("OK") + string(CAPABILITY))(visit)

    return script


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("began", "ends"),
    [
        (timedelta(days=-400), timedelta(days=-35)),
        (timedelta(days=35), timedelta(days=400)),
    ],
)
async def test_only_the_key_counts(began: timedelta, ends: timedelta, tmp_path: Path) -> None:
    """Not dates, names or signatures (C.2 item 3): an expired one of the right key is fine."""
    context = certificate_context(
        tmp_path,
        own_identity().key,
        began=began,
        ends=ends,
        signed_by=scripted.other_identity().key,
    )
    async with opened(ScriptedController(talking(context))) as leg:
        assert leg.capability == CAPABILITY


async def test_keys_on_curves(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    context = certificate_context(tmp_path, key)
    async with opened(ScriptedController(talking(context)), identity=spki(key)) as leg:
        assert leg.capability == CAPABILITY


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_versions(version: ssl.TLSVersion) -> None:
    controller = ScriptedController(
        stopping_at(Stage.CHANNEL, scripted.stay_silent, maximum_tls=version)
    )
    async with opened(controller):
        assert controller.agents[0].tls_version == version.name.replace("_", ".")


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-SHA", "ECDHE-RSA-AES128-SHA"])
async def test_suites_of_java_8(cipher: str, tmp_path: Path) -> None:
    """RSA key exchange and CBC are out of fashion, but what an old controller may be left with."""
    context = certificate_context(tmp_path, own_identity().key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=1")
    async with opened(ScriptedController(talking(context))) as leg:
        assert leg.stream.tls is not None
        assert leg.stream.tls.cipher == cipher


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "expected", [b"", scripted.other_identity().public_key, own_identity().public_key[:-1]]
)
async def test_another_key_is_told_nothing(expected: bytes, version: ssl.TLSVersion) -> None:
    controller = ScriptedController(
        stopping_at(Stage.HEADERS, scripted.stay_silent, maximum_tls=version)
    )
    assert isinstance(await fail_to_open(controller, identity=expected), IdentityMismatch)
    assert controller.agents[0].in_tls
    assert bytes(controller.agents[0].inside) == b""


async def test_another_kind_of_key_is_another_key(tmp_path: Path) -> None:
    context = certificate_context(tmp_path, ec.generate_private_key(ec.SECP384R1()))
    error = await fail_to_open(ScriptedController(talking(context)))
    assert isinstance(error, IdentityMismatch)


async def test_the_key_is_compared_before_anything_is_sent_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every write is watched: after our Finished nothing leaves but the end of the connection."""
    inside: list[bytes] = []
    send_all = Stream.send_all

    async def recording(stream: Stream, data: bytes) -> None:
        if stream.tls is not None:
            inside.append(data)
        await send_all(stream, data)

    monkeypatch.setattr(Stream, "send_all", recording)
    controller = ScriptedController()
    identity = scripted.other_identity().public_key
    assert isinstance(await fail_to_open(controller, identity=identity), IdentityMismatch)
    assert inside == []
