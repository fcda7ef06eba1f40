"""Tests of ``gateway.protocol.jnlp4`` against recorded controllers and invented bad ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.protocol.jnlp4 import (
    ACK,
    COOKIE,
    DEFAULT_MAX_STRING,
    NODE_NAME,
    OLD_COOKIE,
    PROTOCOL_PLAINTEXT,
    SECRET_KEY,
    AckClient,
    Jnlp4Client,
    Stage,
    encode_string,
)
from tests.feeding import feed_all_ways
from tests.recordings import body, load, summary

HEADERS = {NODE_NAME: "gold", SECRET_KEY: "5ec7e7"}
CAPABILITY = load("capability")["capabilities"][0]["ascii"]
REFUSED_SCENARIOS = ["tcp-wrong-secret", "tcp-unknown-node", "tcp-reject-error", "tcp-reject-fatal"]


def u16str(data: bytes | str) -> bytes:
    """PROTOCOLS 0.2, written down once more."""
    data = data.encode() if isinstance(data, str) else data
    return len(data).to_bytes(2, "big") + data


# -- strings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("", "0000"),
        ("OK", "00024f4b"),
        ("BYE", "0003425945"),
        ("ACK", "000341434b"),
        ("Protocol:JNLP4-connect", "001650726f746f636f6c3a4a4e4c50342d636f6e6e656374"),
        ("Protocol:JNLP4-plaintext", "001850726f746f636f6c3a4a4e4c50342d706c61696e74657874"),
        ("é", "0002c3a9"),
        ("😀", "0004f09f9880"),  # plain UTF-8, not Java's modified one
    ],
)
def test_strings(text: str, wire: str) -> None:
    assert encode_string(text) == bytes.fromhex(wire)


def test_strings_end_at_65535_bytes() -> None:
    assert encode_string("x" * 0xFFFF) == b"\xff\xff" + b"x" * 0xFFFF
    with pytest.raises(ValueError, match="65535"):
        encode_string("x" * 0x10000)
    with pytest.raises(ValueError, match="65535"):
        encode_string("é" * 0x8000)


# -- below TLS -------------------------------------------------------------------------------------


def ack(pieces: Iterable[bytes]) -> tuple[bool, bytes]:
    client = AckClient()
    rest = b"".join([client.receive_data(piece) for piece in pieces])
    return client.done, rest


def test_preamble_and_ack_are_the_recorded_ones() -> None:
    client = AckClient()
    sent = client.data_to_send()
    assert client.data_to_send() == b""
    assert sent == bytes.fromhex(load("tcp-port-misc")["ack-no-tls"]["sent_hex"])
    for scenario, connection in summary("tcp"):
        raw = connection["raw"]["client"]
        assert sent.hex() == raw["protocol_line_hex"] + raw["ack_hex"], scenario


def test_plaintext_names_itself() -> None:
    sent = AckClient(PROTOCOL_PLAINTEXT).data_to_send()
    assert sent == u16str("Protocol:JNLP4-plaintext") + ACK


def test_recorded_acks() -> None:
    for _, connection in summary("tcp"):
        assert feed_all_ways(bytes.fromhex(connection["raw"]["server"]["ack_hex"]), _ack_whole)
    recorded = load("tcp-port-misc")["no-ack"]["received_hex"]
    assert feed_all_ways(bytes.fromhex(recorded), _ack_whole)


def _ack_whole(pieces: Iterable[bytes]) -> tuple[bool, bytes]:
    """Feed until done, as a caller does; what follows belongs to the next layer."""
    client = AckClient()
    rest = b""
    for piece in pieces:
        rest += piece if client.done else client.receive_data(piece)
    return client.done, rest


def test_not_done_before_the_last_byte() -> None:
    for size in range(len(ACK)):
        assert ack([ACK[:size]]) == (False, b"")
        assert ack([ACK[i : i + 1] for i in range(size)]) == (False, b"")


@pytest.mark.parametrize(
    "name", ["unknown-protocol", "unrecognized", "ping", "http-get-root", "http-get-other"]
)
def test_recorded_answers_that_are_no_ack(name: str) -> None:
    """A port that does not speak JNLP4 says so in text, and the text reaches the log."""
    answer = bytes.fromhex(load("tcp-port-misc")[name]["received_hex"])
    with pytest.raises(RemoteProtocolError, match="does not speak this protocol") as caught:
        ack([answer])
    assert repr(answer[:20].decode().strip())[1:-1] in caught.value.detail
    assert answer.decode()[:20].strip() not in caught.value.public
    with pytest.raises(RemoteProtocolError):
        ack([answer[i : i + 1] for i in range(len(answer))])


@pytest.mark.parametrize("position", range(5))
def test_a_wrong_byte_is_seen_at_once(position: int) -> None:
    wrong = ACK[:position] + bytes((ACK[position] ^ 1,))
    with pytest.raises(RemoteProtocolError):
        ack([wrong])
    with pytest.raises(RemoteProtocolError):
        ack([wrong[i : i + 1] for i in range(len(wrong))])


def test_eof_before_the_ack() -> None:
    for size in range(len(ACK)):
        client = AckClient()
        client.receive_data(ACK[:size])
        with pytest.raises(RemoteProtocolError, match="before its ACK"):
            client.receive_eof()
    client = AckClient()
    client.receive_data(ACK)
    client.receive_eof()


@settings(max_examples=150, deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=8), max_size=6))
def test_ack_takes_any_bytes(pieces: list[bytes]) -> None:
    try:
        done, _ = ack(pieces)
    except RemoteProtocolError:
        assert not b"".join(pieces).startswith(ACK)
    else:
        assert done == b"".join(pieces).startswith(ACK)


def test_a_long_wrong_answer_is_cut_in_the_log() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ack([b"\xff" * 100_000])
    assert len(caught.value.detail) < 1000


# -- above TLS -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """Where the exchange got to, and what was sent on the way, our headers left out."""

    stage: Stage
    capability: str = ""
    cookie: str | None = None
    refusal: str = ""
    sent: bytes = b""


def talk(pieces: Iterable[bytes]) -> tuple[Result, bytes]:
    client = Jnlp4Client(HEADERS)
    client.data_to_send()
    sent = b""
    for piece in pieces:
        client.receive_data(piece)
        sent += client.data_to_send()
    result = Result(client.stage, client.capability, client.cookie, client.refusal, sent)
    return result, client.leading


def fails(data: bytes, match: str | None = None) -> RemoteProtocolError:
    """Return the error that ``data`` is answered with, whole and byte by byte."""
    with pytest.raises(RemoteProtocolError, match=match) as caught:
        talk([data])
    with pytest.raises(RemoteProtocolError, match=match):
        talk([data[i : i + 1] for i in range(len(data))])
    return caught.value


ACCEPTED = u16str(json.dumps({COOKIE: "00ff"})) + u16str("OK") + u16str(CAPABILITY)


def _handshake(end: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(one["hex"]) for one in end["handshake"]]


@pytest.mark.parametrize(
    ("scenario", "connection"), summary("tcp"), ids=[name for name, _ in summary("tcp")]
)
def test_recorded_acceptance(scenario: str, connection: dict[str, Any]) -> None:
    """Real controllers' bytes, then chunks with the recorded headers and bodies of our own."""
    theirs = connection["server"]["handshake"]
    chunks = b"".join(
        bytes.fromhex(one["header_hex"]) + body(one["len"])
        for one in connection["server"]["first_chunks"][:3]
    )
    result = feed_all_ways(b"".join(_handshake(connection["server"])), talk, trailing=chunks)
    assert result == Result(
        Stage.OPEN,
        capability=theirs[2]["text"],
        cookie=json.loads(theirs[0]["text"])[COOKIE],
        sent=u16str("OK"),
    )


@pytest.mark.parametrize(
    ("scenario", "connection"), summary("tcp"), ids=[name for name, _ in summary("tcp")]
)
def test_our_bytes_are_a_real_agents(scenario: str, connection: dict[str, Any]) -> None:
    """Headers, cookie included, OK and capability: byte for byte, in this order."""
    recorded = connection["client"]["handshake"]
    headers, verdict, capability = _handshake(connection["client"])
    client = Jnlp4Client(json.loads(recorded[0]["text"]))
    assert client.data_to_send() == headers
    client.receive_data(b"".join(_handshake(connection["server"])))
    assert client.data_to_send() == verdict
    client.send_capability(recorded[2]["text"])
    assert client.data_to_send() == capability


def _refused_connections() -> list[Any]:
    connections = [load(name)["connections"][0] for name in REFUSED_SCENARIOS]
    streams = [
        (one["plain_client"], one["plain_server"], one["plain_server"]["handshake"][1]["text"])
        for one in connections
    ]
    return [
        pytest.param(*one, id=name) for name, one in zip(REFUSED_SCENARIOS, streams, strict=True)
    ]


@pytest.mark.parametrize(("agent", "controller", "verdict"), _refused_connections())
def test_recorded_refusals(agent: dict[str, Any], controller: dict[str, Any], verdict: str) -> None:
    """The controller's text without its prefix; OK and BYE as the recorded agent said them."""
    headers = _handshake(agent)[0]
    stream = bytes.fromhex(controller["stream_hex"])
    result = feed_all_ways(stream, talk, trailing=b"")
    assert result.stage is Stage.REFUSED
    assert verdict in (f"ERROR: {result.refusal}", f"FATAL: {result.refusal}")
    assert result.sent == bytes.fromhex(agent["stream_hex"])[len(headers) :]
    assert result.sent == u16str("OK") + u16str("BYE")
    # Whatever a refusing controller still says has no reader.
    assert talk([stream + b"more", b"and more"]) == (result, b"")


@pytest.mark.parametrize("scenario", REFUSED_SCENARIOS)
def test_our_headers_are_a_refused_agents(scenario: str) -> None:
    recorded = load(scenario)["connections"][0]["plain_client"]["handshake"][0]
    client = Jnlp4Client(json.loads(recorded["text"]))
    assert client.data_to_send().hex() == recorded["hex"]


def test_recorded_already_connected() -> None:
    second = load("wire-summary")["tcp-already-connected"]["connections"][1]
    result, _ = talk([b"".join(_handshake(second["server"]))])
    assert result.stage is Stage.REFUSED
    assert "already connected" in result.refusal


@pytest.mark.parametrize(
    ("name", "stage", "refusal"),
    [
        ("tls-no-headers", Stage.VERDICT, ""),
        ("malformed-headers", Stage.REFUSED, "Malformed connection header"),
        ("wrong-secret-no-bye", Stage.REFUSED, "Authorization failure"),
        ("no-secret-key", Stage.VERDICT, ""),
        ("accepted-no-capability", Stage.OPEN, ""),
        ("tls12", Stage.OPEN, ""),
    ],
)
def test_other_recorded_controllers(name: str, stage: Stage, refusal: str) -> None:
    received = bytes.fromhex(load("tcp-port-misc")[name]["received_hex"])
    result = feed_all_ways(received, talk, trailing=b"")
    assert (result.stage, result.refusal) == (stage, refusal)
    assert result.cookie is not None
    assert len(result.cookie) == 64


# -- the order of things ---------------------------------------------------------------------------


def test_nothing_is_said_between_headers_and_verdict() -> None:
    """A refusing controller takes any five bytes for BYE: they would cost its reason."""
    client = Jnlp4Client(HEADERS)
    seen = [(client.stage, client.data_to_send())]
    for said in ("{}", "OK", CAPABILITY):
        client.receive_data(u16str(said))
        seen.append((client.stage, client.data_to_send()))
    assert seen == [
        (Stage.HEADERS, u16str('{"Node-Name":"gold","Secret-Key":"5ec7e7"}')),
        (Stage.VERDICT, b""),
        (Stage.CAPABILITY, u16str("OK")),
        (Stage.OPEN, b""),
    ]


@pytest.mark.parametrize(
    "said", [b"", u16str("{}"), u16str("{}") + u16str("OK"), u16str("{}") + u16str("ERROR: no")]
)
def test_capability_is_only_sent_when_open(said: bytes) -> None:
    client = Jnlp4Client(HEADERS)
    client.receive_data(said)
    client.data_to_send()
    with pytest.raises(ValueError, match="not accepted"):
        client.send_capability(CAPABILITY)
    assert client.data_to_send() == b""


def test_the_chunk_stream_is_handed_on() -> None:
    client = Jnlp4Client(HEADERS)
    client.receive_data(ACCEPTED + b"\x00\x05he")
    assert client.leading == b"\x00\x05he"
    client.receive_data(b"llo")
    assert client.leading == b"\x00\x05hello"


@pytest.mark.parametrize("node", ["plain", 'quote " and \\', "Zürich ü", "tab\t", "a/b"])
def test_header_values_are_json(node: str) -> None:
    """PROTOCOLS C.2 item 4: no spaces, controls escaped, other than ASCII in plain UTF-8."""
    sent = Jnlp4Client({NODE_NAME: node, SECRET_KEY: "s"}).data_to_send()
    text = sent[2:].decode("utf-8")
    assert int.from_bytes(sent[:2], "big") == len(sent) - 2
    assert json.loads(text) == {NODE_NAME: node, SECRET_KEY: "s"}
    assert "\\u00fc" not in text
    assert "\t" not in text
    assert '":"' in text


@pytest.mark.parametrize(
    ("headers", "cookie"),
    [
        ("{}", None),
        (f'{{"{COOKIE}":"ab"}}', "ab"),
        (f'{{"{OLD_COOKIE}":"cd"}}', "cd"),
        (f'{{"{COOKIE}":"ab","{OLD_COOKIE}":"cd"}}', "ab"),
        (f'{{"{COOKIE}":null}}', None),
        (f'{{"{COOKIE}":"first","{COOKIE}":"last"}}', "last"),
        (f' {{ "{COOKIE}" : "\\u0061b" , "Other" : null }} ', "ab"),
    ],
)
def test_cookies(headers: str, cookie: str | None) -> None:
    result, _ = talk([u16str(headers) + u16str("OK") + u16str(CAPABILITY)])
    assert result.cookie == cookie


# -- controllers that do not keep to it ------------------------------------------------------------

BAD_JSON = [
    "",
    " ",
    "not json",
    "{",
    '{"a":"b"} trailing',
    '{"a":"b",}',
    "{\"a\":'b'}",
    '{a:"b"}',
    "null",
    "true",
    "1",
    '"text"',
    "[]",
    '["a"]',
    '{"a":1}',
    '{"a":true}',
    '{"a":1.5}',
    '{"a":NaN}',
    '{"a":Infinity}',
    '{"a":-1e999}',
    '{"a":[]}',
    '{"a":{}}',
    '{"a":{"b":"c"}}',
    '{"a":"\t"}',
    '{"a":"\x00"}',
    '{"a":"\\x41"}',
    "\ufeff{}",
    "[" * 8000,
    '{"a":' * 1600,
    '{"a":[' * 1300,
    "9" * 8000,
    '{"a":' + "9" * 8000 + "}",
]


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: repr(text[:20]))
def test_headers_must_be_a_flat_object(text: str) -> None:
    assert "headers" in str(fails(u16str(text)))


@pytest.mark.parametrize(
    "verdict", ["", "ok", "OK ", "OKAY", "ERROR:", "ERROR:no space", "error: x", "BYE", "Welcome"]
)
def test_verdicts(verdict: str) -> None:
    fails(u16str("{}") + u16str(verdict), "neither OK nor a refusal")


def test_an_empty_reason_is_a_refusal() -> None:
    result, _ = talk([u16str("{}") + u16str("ERROR: ")])
    assert (result.stage, result.refusal) == (Stage.REFUSED, "")


@pytest.mark.parametrize(
    "capability", ["", "\x00", "line\r\nbreak", "rO0AB\n", "rO0ABé", "\x7f", "tab\there"]
)
def test_capabilities_must_fit_a_header(capability: str) -> None:
    fails(u16str("{}") + u16str("OK") + u16str(capability), "capability")


STAGES = [
    pytest.param(b"", b'{"a":"%s"}', "headers", id="headers"),
    pytest.param(u16str("{}"), b"ERROR: %s", "verdict", id="verdict"),
    pytest.param(u16str("{}") + u16str("OK"), b"%s", "capability", id="capability"),
]


@pytest.mark.parametrize(("before", "form", "what"), STAGES)
def test_strings_are_bounded(before: bytes, form: bytes, what: str) -> None:
    room = DEFAULT_MAX_STRING - len(form) + 2
    assert talk([before + u16str(form % (b"x" * room))])[0].stage is not Stage.HEADERS
    # The length alone is enough to refuse: nothing of 64 KiB is waited for, or kept.
    for size in (DEFAULT_MAX_STRING + 1, 0xFFFF):
        assert f"{what} has {size} bytes" in str(fails(before + size.to_bytes(2, "big")))
    fails(before + u16str(form % (b"x" * (0xFFFF - len(form) + 2))))


@pytest.mark.parametrize(("before", "form", "what"), STAGES)
def test_strings_must_be_utf8(before: bytes, form: bytes, what: str) -> None:
    for bad in (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80"):
        assert f"{what} is not UTF-8" in str(fails(before + u16str(form % bad)))


def test_eof_is_an_error_until_the_exchange_is_over() -> None:
    for size in range(len(ACCEPTED)):
        client = Jnlp4Client(HEADERS)
        client.receive_data(ACCEPTED[:size])
        with pytest.raises(RemoteProtocolError, match="without giving a reason") as caught:
            client.receive_eof()
        assert caught.value.detail == client.stage.value
    for over in (ACCEPTED, u16str("{}") + u16str("FATAL: no")):
        client = Jnlp4Client(HEADERS)
        client.receive_data(over)
        client.receive_eof()


def test_recorded_eof_without_a_verdict() -> None:
    """A controller that hits its own bug just closes (PROTOCOLS C.2 item 4)."""
    client = Jnlp4Client(HEADERS)
    client.receive_data(bytes.fromhex(load("tcp-port-misc")["no-secret-key"]["received_hex"]))
    with pytest.raises(RemoteProtocolError, match="without giving a reason"):
        client.receive_eof()


def test_a_secret_is_in_no_error() -> None:
    for bad in (u16str("[]"), u16str("{}") + u16str("what?"), b"\xff\xff"):
        client = Jnlp4Client({NODE_NAME: "n", SECRET_KEY: "hunter2hunter2"})
        assert "hunter2" not in repr(client)
        with pytest.raises(RemoteProtocolError) as caught:
            client.receive_data(bad)
        assert "hunter2" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_bent_bytes_give_values_or_protocol_errors(data: st.DataObject) -> None:
    wire = bytearray(
        data.draw(
            st.sampled_from([ACCEPTED, u16str("{}") + u16str("ERROR: no"), b"", ACCEPTED[:40]])
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wire)))
        wire[at : at + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=3))
    cut = data.draw(st.integers(0, len(wire)))
    try:
        result, leading = talk([bytes(wire[:cut]), bytes(wire[cut:])])
    except RemoteProtocolError:
        return
    assert len(leading) <= len(wire)
    assert result.stage is not Stage.OPEN or result.capability.isprintable()
