"""Tests of ``gateway.protocol.jnlp4`` above TLS: recorded controllers, and the order of things.

Invented bad controllers are in ``test_jnlp4_faults``, the ACKs below TLS in ``test_jnlp4_ack``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.protocol.jnlp4 import (
    COOKIE,
    NODE_NAME,
    OLD_COOKIE,
    SECRET_KEY,
    Jnlp4Client,
    Stage,
)
from tests.feeding import feed_all_ways
from tests.protocol.jnlp4_talking import ACCEPTED, CAPABILITY, HEADERS, Result, talk, u16str
from tests.recordings import body, load, summary

REFUSED_SCENARIOS = ["tcp-wrong-secret", "tcp-unknown-node", "tcp-reject-error", "tcp-reject-fatal"]


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
