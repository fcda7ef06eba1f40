"""The kept certificate: made once, usable, private, renewed only when it must be."""

from __future__ import annotations

import ipaddress
import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.server import self_signed
from gateway.server.self_signed import ensure, own_names

_NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = ("gw.example.com", "gw", "localhost", "127.0.0.1", "::1", "192.0.2.7")
    monkeypatch.setattr(self_signed, "own_names", lambda: names)
    return tmp_path / "a" / "state"


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_what_is_made(state_dir: Path) -> None:
    made = ensure(state_dir, host="Edge.example.com", now=_NOW)
    certificate = _load(made.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "edge.example.com",
        "gw.example.com",
        "gw",
        "localhost",
    ]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address(each) for each in ("127.0.0.1", "::1", "192.0.2.7")
    ]
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime == timedelta(days=825)
    assert certificate.not_valid_before_utc < _NOW  # clocks of agents may be behind
    assert made.expires == certificate.not_valid_after_utc
    assert made.fingerprint.replace(":", "").lower() == (
        certificate.fingerprint(hashes.SHA256()).hex()
    )
    certificate.verify_directly_issued_by(certificate)


def test_it_is_private(state_dir: Path) -> None:
    old = os.umask(0)
    try:
        made = ensure(state_dir, host="h", now=_NOW)
    finally:
        os.umask(old)
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.certificate.stat().st_mode) == 0o644
    assert sorted(path.name for path in state_dir.iterdir()) == [
        "self-signed.crt",
        "self-signed.key",
    ]


def test_it_is_kept(state_dir: Path) -> None:
    made = ensure(state_dir, host="gw", now=_NOW)
    for host in ("gw", "localhost", "127.0.0.1", "GW.example.com"):
        assert ensure(state_dir, host=host, now=_NOW + timedelta(days=700)) == made


@pytest.mark.parametrize(
    ("days", "is_kept"), [(-2, False), (0, True), (793, True), (794, False), (5000, False)]
)
def test_it_is_renewed_in_time(state_dir: Path, days: int, *, is_kept: bool) -> None:
    made = ensure(state_dir, host="gw", now=_NOW)
    later = ensure(state_dir, host="gw", now=_NOW + timedelta(days=days))
    assert (later == made) is is_kept
    assert later.expires > _NOW + timedelta(days=days + 30)


def test_another_host_needs_another_certificate(state_dir: Path) -> None:
    made = ensure(state_dir, host="gw", now=_NOW)
    other = ensure(state_dir, host="198.51.100.1", now=_NOW)
    assert other.fingerprint != made.fingerprint
    assert ensure(state_dir, host="198.51.100.1", now=_NOW) == other


@pytest.mark.parametrize("name", ["self-signed.crt", "self-signed.key"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "foreign"])
def test_damage_is_repaired(state_dir: Path, tmp_path: Path, name: str, damage: str) -> None:
    made = ensure(state_dir, host="gw", now=_NOW)
    path = state_dir / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "foreign":
        other = ensure(tmp_path / "other", host="gw", now=_NOW)
        path.write_bytes((other.certificate.parent / name).read_bytes())
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
    again = ensure(state_dir, host="gw", now=_NOW)
    assert again.fingerprint != made.fingerprint
    assert ensure(state_dir, host="gw", now=_NOW) == again


def test_a_failed_write_leaves_the_old_pair(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ensure(state_dir, host="gw", now=_NOW)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            ensure(state_dir, host="new", now=_NOW)
    assert len(list(state_dir.iterdir())) == 2
    assert ensure(state_dir, host="gw", now=_NOW) == made


async def test_a_client_that_trusts_the_file_can_connect(state_dir: Path) -> None:
    made = ensure(state_dir, host="gw.example.com")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.certificate, made.key)
    for name in ("gw.example.com", "localhost", "127.0.0.1"):
        client = ssl.create_default_context(cafile=str(made.certificate))
        near, far = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            with trio.fail_after(10):
                inner = trio.SSLStream(near, server, server_side=True)
                nursery.start_soon(inner.do_handshake)
                outer = trio.SSLStream(far, client, server_hostname=name)
                await outer.do_handshake()


def test_own_names_begin_with_one_that_others_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "gw")
    monkeypatch.setattr("socket.getfqdn", lambda: "gw.example.com")
    assert own_names()[:5] == ("gw.example.com", "gw", "localhost", "127.0.0.1", "::1")
    monkeypatch.setattr("socket.getfqdn", lambda: "localhost")
    assert own_names()[:2] == ("gw", "localhost")
    assert len(set(own_names())) == len(own_names())
