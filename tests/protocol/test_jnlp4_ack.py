"""Tests of ``gateway.protocol.jnlp4`` below TLS: strings, preamble, ACK."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.protocol.jnlp4 import (
    ACK,
    PROTOCOL_PLAINTEXT,
    AckClient,
    encode_string,
)
from tests.feeding import feed_all_ways
from tests.protocol.jnlp4_talking import u16str
from tests.recordings import load, summary

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
