"""Tests of ``gateway.transport.tls``: against itself and against the standard library's ``ssl``."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from gateway.transport import kernel
from gateway.transport.tls import TlsError, Want
from gateway.transport.tls_context import ServerContexts, pinning_client_context
from tests import certificates
from tests.peers.tls13_records import (
    ALERT,
    APPLICATION_DATA,
    RecordReader,
    RecordWriter,
    traffic_secret,
)
from tests.peers.tls_peer import TlsPeer
from tests.recordings import body
from tests.transport.tls_wire import TlsWire

V12 = ssl.TLSVersion.TLSv1_2
V13 = ssl.TLSVersion.TLSv1_3
VERSIONS = [pytest.param(V12, id="1.2"), pytest.param(V13, id="1.3")]
Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    if data:
        yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for index in range(len(data)):
        yield data[index : index + 1]


@pytest.fixture(scope="module")
def server_contexts(tmp_path_factory: pytest.TempPathFactory) -> ServerContexts:
    return ServerContexts(certificates.tls_config(tmp_path_factory.mktemp("tls"), "localhost"))


@pytest.fixture
def server(server_contexts: ServerContexts) -> TlsWire:
    return TlsWire(server_contexts.entry, server_side=True)


@pytest.fixture
def client() -> TlsWire:
    return TlsWire(pinning_client_context(), server_side=False, server_name="localhost")


def peer_client(version: ssl.TLSVersion | None = None) -> TlsPeer:
    context = certificates.client_context(version)
    return TlsPeer(context, server_side=False, server_name="localhost")


def peer_server(version: ssl.TLSVersion | None = None) -> TlsPeer:
    return TlsPeer(certificates.server_context(version), server_side=True)


def shake(client: TlsWire | TlsPeer, server: TlsWire | TlsPeer, cut: Cut = whole) -> None:
    """Do the handshake; what comes after it (tickets) is left in the client."""
    to_server = client.handshake()
    while not (client.handshake_done and server.handshake_done):
        assert to_server, "both wait"
        to_client = b"".join([_feed(server, piece) for piece in cut(to_server)])
        to_server = b"".join([_feed(client, piece) for piece in cut(to_client)])


def _feed(end: TlsWire | TlsPeer, data: bytes) -> bytes:
    if not end.handshake_done:
        return end.handshake(data)
    # TLS 1.3: the server's tickets come when the client is done.
    assert end.receive(data) == b""
    return end.data_to_send()


# -- handshakes and data ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_server_with_a_stdlib_client(server: TlsWire, version: ssl.TLSVersion, cut: Cut) -> None:
    peer = peer_client(version)
    shake(peer, server, cut)
    assert server.engine.version == peer.tls.version()
    assert peer.tls.cipher() is not None
    assert server.engine.cipher == peer.tls.cipher()[0]  # type: ignore[index]
    assert server.engine.server_name == "localhost"
    _exchange(peer, server, cut)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_client_with_a_stdlib_server(client: TlsWire, version: ssl.TLSVersion, cut: Cut) -> None:
    peer = peer_server(version)
    shake(client, peer, cut)
    assert client.engine.version == peer.tls.version()
    _exchange(client, peer, cut)


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_both_roles_with_each_other(client: TlsWire, server: TlsWire, cut: Cut) -> None:
    shake(client, server, cut)
    assert client.engine.version == server.engine.version == "TLSv1.3"
    _exchange(client, server, cut)


def _exchange(client: TlsWire | TlsPeer, server: TlsWire | TlsPeer, cut: Cut) -> None:
    for sender, receiver in ((client, server), (server, client), (client, server)):
        for data in (b"x", body(300), body(20_000)):
            wire = sender.send(data)
            assert b"".join([receiver.receive(piece) for piece in cut(wire)]) == data


def test_no_server_name(server: TlsWire) -> None:
    context = certificates.client_context()
    context.check_hostname = False
    shake(TlsPeer(context, server_side=False), server)
    assert server.engine.server_name is None


def test_data_with_the_clients_last_handshake_message(server: TlsWire) -> None:
    peer = peer_client()
    hello = peer.handshake()
    finished = peer.handshake(server.handshake(hello))
    assert peer.handshake_done
    tickets = server.handshake(finished + peer.send(b"early ") + peer.send(b"bird"))
    assert server.handshake_done
    assert server.receive() == b"early bird"
    assert peer.receive(tickets + server.send(b"worm")) == b"worm"


def test_data_with_the_servers_last_handshake_message(client: TlsWire) -> None:
    peer = peer_server(V12)
    data = client.handshake()
    while not peer.handshake_done:
        last = peer.handshake(data)
        if peer.handshake_done:
            last += peer.send(b"at once")
        data = client.handshake(last)
    assert client.handshake_done
    assert client.receive() == b"at once"


def test_close_with_the_last_handshake_message(server: TlsWire) -> None:
    peer = peer_client()
    finished = peer.handshake(server.handshake(peer.handshake()))
    server.handshake(finished + peer.send(b"all I say") + peer.send_close())
    assert server.receive() == b"all I say"
    assert server.closed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [16_383, 16_384, 16_385, 1_000_003])
def test_large_writes(server: TlsWire, version: ssl.TLSVersion, size: int) -> None:
    """Whole, in order, in full records."""
    peer = peer_client(version)
    shake(peer, server)
    data = body(size)
    wire = server.send(data)
    assert len(_record_ends(wire)) == -(-size // 16_384)
    assert peer.receive(wire) == data
    assert peer.receive(server.send(memoryview(data)[:10])) == data[:10]


@pytest.mark.parametrize("version", VERSIONS)
def test_large_reads(server: TlsWire, version: ssl.TLSVersion) -> None:
    """Everything that is there comes out, the last record's rest is kept."""
    peer = peer_client(version)
    shake(peer, server)
    data = body(1_000_003)
    wire = peer.send(data)
    first = server.receive(wire[:-1])
    assert len(data) - 16 * 1024 <= len(first) < len(data)
    assert first + server.receive(wire[-1:]) == data


def test_many_small_records_at_once(server: TlsWire) -> None:
    peer = peer_client()
    shake(peer, server)
    wire = b"".join(peer.send(b"%04d" % n) for n in range(500))
    assert server.receive(wire) == b"".join(b"%04d" % n for n in range(500))


def test_nothing_received_is_nothing(server: TlsWire) -> None:
    shake(peer_client(), server)
    assert server.receive() == b""
    assert server.data_to_send() == b""


# -- endings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_close_notify_from_the_peer(server: TlsWire, version: ssl.TLSVersion) -> None:
    peer = peer_client(version)
    shake(peer, server)
    assert server.receive(peer.send(b"last words") + peer.send_close()) == b"last words"
    assert server.closed
    # The other direction is still open.
    assert peer.receive(server.send(b"answer")) == b"answer"


@pytest.mark.parametrize("version", VERSIONS)
def test_close_notify_to_the_peer(server: TlsWire, version: ssl.TLSVersion) -> None:
    peer = peer_client(version)
    shake(peer, server)
    assert peer.receive(server.send(b"last words")) == b"last words"
    farewell = server.send_close()
    # What the peer still says arrives; unlike the standard library, it need not stop here.
    assert server.receive(peer.send(b"go on")) == b"go on"
    assert not server.closed
    assert not peer.closed
    assert peer.receive(farewell) == b""
    assert peer.closed
    assert server.receive(peer.send_close()) == b""
    assert server.closed


def test_a_bare_eof_is_an_end_like_another(server: TlsWire) -> None:
    """What is still to be said can be said."""
    peer = peer_client()
    shake(peer, server)
    assert server.receive(peer.send(b"all")) == b"all"
    assert not server.closed
    server.far.shutdown(socket.SHUT_WR)
    assert server.receive() == b""
    assert server.closed
    assert peer.receive(server.send(b"answer")) == b"answer"


def test_second_close_says_nothing_more(server: TlsWire) -> None:
    shake(peer_client(), server)
    assert server.send_close() != b""
    assert server.send_close() == b""


def test_sending_after_our_close_fails(server: TlsWire) -> None:
    shake(peer_client(), server)
    server.send_close()
    with pytest.raises(TlsError):
        server.send(b"too late")


def test_close_before_the_handshake_is_nothing(server: TlsWire) -> None:
    assert server.send_close() == b""


# -- peers that do not keep to it ------------------------------------------------------------------

GARBAGE = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: jenkins\r\n\r\n", id="HTTP"),
    pytest.param(b"\x00\x16Protocol:JNLP4-connect\x00\x03ACK", id="JNLP4"),
    pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="SSH"),
    pytest.param(b"\x16\x03\x01\xff\xff" + bytes(100), id="record too long"),
    pytest.param(b"\x17\x03\x03\x00\x10" + bytes(16), id="data before the handshake"),
    pytest.param(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", id="the other side's message"),
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_garbage_instead_of_a_hello(server: TlsWire, garbage: bytes, cut: Cut) -> None:
    with pytest.raises(TlsError) as caught:
        list(map(server.handshake, cut(garbage)))
    assert not server.handshake_done
    assert "jenkins" not in str(caught.value)
    server.data_to_send()  # an alert, where what came looked like TLS
    assert server.send_close() == b""


def test_the_alert_of_a_failed_handshake_is_left_to_send(server: TlsWire) -> None:
    """Without it, the peer only sees that the connection ends."""
    context = certificates.client_context(V12)
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA")  # nothing that a listener offers
    peer = TlsPeer(context, server_side=False, server_name="localhost")
    with pytest.raises(TlsError, match="no shared cipher"):
        server.handshake(peer.handshake())
    alert = server.data_to_send()
    assert alert[0] == 21  # RFC 8446 section 5.1: content type alert
    with pytest.raises(ssl.SSLError, match="handshake failure"):
        peer.handshake(alert)


def test_old_versions_are_refused_with_an_alert(server: TlsWire) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    old = TlsWire(context, server_side=False)
    with pytest.raises(TlsError, match="unsupported protocol"):
        server.handshake(old.handshake())
    with pytest.raises(TlsError, match="alert protocol version"):
        old.handshake(server.data_to_send())


def test_the_peers_alert_is_the_reason(server: TlsWire) -> None:
    context = ssl.create_default_context()  # knows no authority of ours
    peer = TlsPeer(context, server_side=False, server_name="localhost")
    flight = server.handshake(peer.handshake())
    with pytest.raises(ssl.SSLCertVerificationError):
        peer.handshake(flight)
    with pytest.raises(TlsError, match="alert unknown ca"):
        server.handshake(peer.data_to_send())


def test_alerts_after_the_handshake(server: TlsWire) -> None:
    """TLS 1.3: a client that dislikes the certificate is done before the server knows."""
    peer = peer_client()
    shake(peer, server)
    with pytest.raises(ssl.SSLError):
        peer.receive(b"\x17\x03\x03\x00\x13" + bytes(19))
    with pytest.raises(TlsError, match="alert bad record mac"):
        server.receive(peer.data_to_send())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pieces=st.lists(st.binary(max_size=60), max_size=5),
    start=st.sampled_from([b"", b"\x16\x03\x01"]),
)
def test_random_bytes_give_tls_errors(
    server_contexts: ServerContexts, pieces: list[bytes], start: bytes
) -> None:
    server = TlsWire(server_contexts.entry, server_side=True)
    try:
        for piece in (start, *pieces):
            server.handshake(piece)
    except TlsError:
        server.data_to_send()
    assert not server.handshake_done


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_bent_records_give_tls_errors(server_contexts: ServerContexts, data: st.DataObject) -> None:
    server = TlsWire(server_contexts.entry, server_side=True)
    peer = peer_client(data.draw(st.sampled_from([V12, V13])))
    shake(peer, server)
    good = peer.send(b"good")
    wire = bytearray(peer.send(body(50)))
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] ^= data.draw(st.integers(1, 255))
    assert server.receive(good) == b"good"
    # Bent lengths make it wait for more, until what follows decrypts to nothing.
    with pytest.raises(TlsError):
        server.receive(bytes(wire) + bytes(20_000))


# -- KeyUpdate -------------------------------------------------------------------------------------


@pytest.fixture
def key_log(server: TlsWire, tmp_path: Path) -> Path:
    """The keys of a connection to ``server``, for who takes over the client's end."""
    context = certificates.client_context(V13)
    context.keylog_filename = str(tmp_path / "keys")
    shake(TlsPeer(context, server_side=False, server_name="localhost"), server)
    assert server.engine.cipher == "TLS_AES_256_GCM_SHA384"
    return tmp_path / "keys"


@pytest.fixture
def writer(key_log: Path) -> RecordWriter:
    return RecordWriter(traffic_secret(key_log, "CLIENT"))


@pytest.fixture
def reader(key_log: Path) -> RecordReader:
    return RecordReader(traffic_secret(key_log, "SERVER"))


def test_key_updates_are_followed(
    server: TlsWire, writer: RecordWriter, reader: RecordReader
) -> None:
    wire = writer.write(APPLICATION_DATA, b"one") + writer.key_update()
    assert server.receive(wire + writer.write(APPLICATION_DATA, b"two")) == b"onetwo"
    assert server.receive(writer.key_update()) == b""
    assert server.receive(writer.write(APPLICATION_DATA, b"three")) == b"three"
    # The answers we owe go out in front of what we send.
    assert reader.read(server.send(b"x")) == b"x"
    assert reader.key_updates == 2
    assert reader.read(server.send(b"y")) == b"y"
    assert reader.key_updates == 2


@pytest.mark.parametrize("level", [1, 2])
def test_javas_way_to_close_is_a_close(server: TlsWire, writer: RecordWriter, level: int) -> None:
    """user_canceled, then close_notify (seen with Java 17's HttpsURLConnection)."""
    wire = writer.write(APPLICATION_DATA, b"last") + writer.write(ALERT, bytes((1, 90)))
    assert server.receive(wire + writer.write(ALERT, bytes((level, 0)))) == b"last"
    assert server.closed


@pytest.mark.parametrize("demands_one", [False, True])
@pytest.mark.parametrize("with_data", [False, True])
def test_a_flood_of_key_updates_is_cut_off(
    server: TlsWire, writer: RecordWriter, *, with_data: bool, demands_one: bool
) -> None:
    """One call reads on for as long as there are some, and nobody else has a turn meanwhile."""
    wire = writer.write(APPLICATION_DATA, b"x") if with_data else b""
    with contextlib.suppress(BlockingIOError):
        while True:
            wire += b"".join(writer.key_update(demands_one=demands_one) for _ in range(50))
            server.far.send(wire)
            wire = b""
    with pytest.raises(TlsError, match="messages of TLS without end"):
        server.receive()
    assert kernel.unread(server.near) == 0  # the rest was not even decrypted
    with pytest.raises((TlsError, OSError)):
        server.engine.send(b"x")


def test_a_key_update_within_a_write(
    server: TlsWire, writer: RecordWriter, reader: RecordReader
) -> None:
    """Its answer waits until the write is over, and what comes behind it does not."""
    data = body(1_000_000)
    assert not server.engine.send(data)
    server.far.send(writer.key_update() + writer.write(APPLICATION_DATA, b"x"))
    plain = server.engine.receive()
    wire = server.data_to_send()
    while not server.engine.send(data):
        wire += server.data_to_send()
    wire += server.data_to_send()
    assert plain + server.receive() == b"x"
    assert reader.read(wire + server.send(b"end")) == data + b"end"
    assert reader.key_updates == 1


def test_answers_to_key_updates_do_not_hold_data_back(
    server: TlsWire, writer: RecordWriter, reader: RecordReader
) -> None:
    sent = b""
    for _ in range(35):
        wire = b"".join(writer.key_update() for _ in range(60))
        assert server.receive(wire + writer.write(APPLICATION_DATA, b"x")) == b"x"
        sent += server.data_to_send()
    assert reader.read(sent + server.send(body(40_000))) == body(40_000)
    assert reader.key_updates > 2000
    assert server.data_to_send() == b""


def test_answers_that_nobody_reads_hold_the_peer_back(
    server: TlsWire, writer: RecordWriter
) -> None:
    """They take no memory but the kernel's; once there is room, all goes on."""
    for _ in range(1000):
        wire = b"".join(writer.key_update() for _ in range(60))
        server.far.send(wire)
        assert server.engine.receive() == b""
        if server.engine.wants is Want.WRITABLE:
            break
    else:
        raise AssertionError("the answers are kept without a limit")
    server.data_to_send()
    assert server.receive(writer.write(APPLICATION_DATA, b"x")) == b"x"


# -- the peer's key --------------------------------------------------------------------------------


def test_peer_public_key(client: TlsWire, server: TlsWire) -> None:
    shake(client, server)
    pem = certificates.issue("localhost").cert_chain_pems[0].bytes()
    key = x509.load_pem_x509_certificate(pem).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert client.engine.peer_public_key() == spki
    assert server.engine.peer_public_key() is None


def test_peer_public_key_before_the_handshake(client: TlsWire) -> None:
    assert client.engine.peer_public_key() is None


def test_a_certificate_that_cannot_be_read(client: TlsWire) -> None:
    """OpenSSL may know kinds of keys that cryptography does not."""

    class Odd:
        def get_peer_certificate(self) -> Odd:
            return self

        def to_cryptography(self) -> Odd:
            return self

        def public_key(self) -> object:
            raise UnsupportedAlgorithm("an odd curve")

    client.engine._connection = cast("SSL.Connection", Odd())
    with pytest.raises(TlsError, match="unreadable certificate: UnsupportedAlgorithm"):
        client.engine.peer_public_key()


# -- records are counted ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 100, 16_383, 16_384, 16_385, 70_000]), max_size=6),
    cuts=st.lists(st.integers(0, 200_000), max_size=12),
)
def test_every_complete_record_is_read(
    version: ssl.TLSVersion, server_contexts: ServerContexts, sizes: list[int], cuts: list[int]
) -> None:
    """However the bytes are cut: what is there of whole records comes out, without more coming."""
    server = TlsWire(server_contexts.entry, server_side=True)
    client = peer_client(version)
    shake(client, server)
    stream = b"".join(client.send(body(size)) for size in sizes)
    sent = b"".join(body(size) for size in sizes)
    ends = _record_ends(stream)
    got = b""
    last = 0
    for cut in sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)}):
        got += server.receive(stream[last:cut])
        last = cut
        whole_records = sum(end <= cut for end in ends)
        assert len(got) == _plain_sizes(sizes, whole_records)
    assert got == sent


def _record_ends(stream: bytes) -> list[int]:
    ends, pos = [], 0
    while pos < len(stream):
        pos += 5 + int.from_bytes(stream[pos + 3 : pos + 5], "big")
        ends.append(pos)
    return ends


def _plain_sizes(sizes: list[int], count: int) -> int:
    """Return the plaintext of the first ``count`` records: full ones, then the rest of a send."""
    plain = []
    for size in sizes:
        plain += [16_384] * (size // 16_384) + [size % 16_384] * (size % 16_384 > 0)
    return sum(plain[:count])


@pytest.mark.parametrize(
    "data",
    [
        b"\x17\x03\x03\xff\xff",
        b"GET / HTTP/1.1\r\n",
        b"\x18\x03\x03\x10\x00",
        b"\x17\x02\x00\x10\x00",
    ],
)
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_what_cannot_be_a_record_fails_at_once(data: bytes, cut: Cut, server: TlsWire) -> None:
    """Not when all of it has come, which may be never."""
    shake(peer_client(), server)
    *first, last = cut(data[:5])
    for piece in first:
        server.receive(piece)
    with pytest.raises(TlsError):
        server.receive(last)
