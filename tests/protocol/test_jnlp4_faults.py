"""Tests of ``gateway.protocol.jnlp4`` with controllers that do not keep to the protocol."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.protocol.jnlp4 import (
    DEFAULT_MAX_STRING,
    NODE_NAME,
    SECRET_KEY,
    Jnlp4Client,
    Stage,
)
from tests.protocol.jnlp4_talking import ACCEPTED, HEADERS, talk, u16str
from tests.recordings import load


def fails(data: bytes, match: str | None = None) -> RemoteProtocolError:
    """Return the error that ``data`` is answered with, whole and byte by byte."""
    with pytest.raises(RemoteProtocolError, match=match) as caught:
        talk([data])
    with pytest.raises(RemoteProtocolError, match=match):
        talk([data[i : i + 1] for i in range(len(data))])
    return caught.value


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
