"""Fuzz targets: what a controller says before the channel opens, and its chunk stream."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from gateway.errors import RemoteProtocolError
from gateway.protocol.chunks import HEADER_SIZE, MAX_CHUNK, MAX_MESSAGE, ChunkCutter
from gateway.protocol.jnlp4 import (
    ACK,
    DEFAULT_MAX_STRING,
    NODE_NAME,
    SECRET_KEY,
    AckClient,
    Jnlp4Client,
    Stage,
    encode_string,
)
from tests.fuzz.common import Pieces, cuttings, held, value_or_error

_HEADERS = {NODE_NAME: "gold", SECRET_KEY: "hunter2hunter2"}
_CAPABILITY = "rO0ABXNyABpodWRzb24="


# -- below TLS -------------------------------------------------------------------------------------


def ack(data: bytes) -> None:
    """Done behind an ACK, with what follows it; waiting inside one; an error for all else."""
    for pieces in cuttings(data):
        outcome = value_or_error(_exchange_acks, pieces)
        if data.startswith(ACK):
            assert outcome == (True, data[len(ACK) :])
        elif ACK.startswith(data):
            assert outcome == (False, b"")
        else:
            assert outcome is RemoteProtocolError


def _exchange_acks(pieces: Pieces) -> tuple[bool, bytes]:
    client = AckClient()
    client.data_to_send()
    rest = b""
    for piece in pieces:
        rest += client.receive_data(piece)
        assert held(client) < len(ACK)
    try:
        client.receive_eof()
    except RemoteProtocolError:
        assert not client.done
    return client.done, rest


# -- above TLS -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """Where an exchange got to."""

    stage: Stage
    capability: str
    cookie: str | None
    refusal: str
    sent: bytes
    leading: bytes


def jnlp4(data: bytes) -> None:
    """One result for every cut; it holds together, and no error repeats the secret."""
    outcomes = [value_or_error(_talk, pieces) for pieces in cuttings(data)]
    assert all(outcome == outcomes[0] for outcome in outcomes), "cuts make a difference"


def _talk(pieces: Pieces) -> Result:
    client = Jnlp4Client(_HEADERS)
    assert client.data_to_send()
    sent = fed = b""
    for piece in pieces:
        fed += piece
        try:
            client.receive_data(piece)
        except RemoteProtocolError as error:
            _check_text(str(error))
            raise
        sent += client.data_to_send()
        if client.stage not in (Stage.OPEN, Stage.REFUSED):
            # One incomplete string, and what the complete ones before it said.
            assert held(client) <= 3 * (2 + DEFAULT_MAX_STRING)
    result = Result(
        client.stage, client.capability, client.cookie, client.refusal, sent, client.leading
    )
    _check(client, result, fed)
    return result


def _check_text(error: str) -> None:
    assert "hunter2" not in error
    assert len(error) < 1000


def _check(client: Jnlp4Client, result: Result, fed: bytes) -> None:
    ended = True
    try:
        client.receive_eof()
    except RemoteProtocolError:
        ended = False
    ok = encode_string("OK")
    assert fed.endswith(result.leading)
    if result.stage is Stage.OPEN:
        assert ended
        assert result.sent == ok
        assert 0 < len(result.capability.encode("latin-1")) <= DEFAULT_MAX_STRING
        assert result.capability.isprintable()
        client.send_capability(_CAPABILITY)
        assert client.data_to_send() == encode_string(_CAPABILITY)
        return
    assert (result.leading, result.capability) == (b"", "")
    assert ended is (result.stage is Stage.REFUSED)
    expected = {Stage.REFUSED: ok + encode_string("BYE"), Stage.CAPABILITY: ok}
    assert result.sent == expected.get(result.stage, b"")
    assert not result.refusal or result.stage is Stage.REFUSED


# -- chunks ----------------------------------------------------------------------------------------


def chunks(data: bytes) -> None:
    """Nothing changed, dropped or added, and no message that ends inside a chunk."""
    ends = _ends(data)
    whole = ends[-1]
    expected = [data[a:b] for a, b in pairwise(ends)]
    for pieces in cuttings(data):
        messages, rest = _cut(pieces, one_per_message=True)
        assert messages == expected
        assert rest == data[whole:]
        messages, rest = _cut(pieces, one_per_message=False)
        assert b"".join(messages) == data[:whole]
        assert rest == data[whole:]
        at = 0
        for message in messages:
            assert message
            assert at in ends
            assert len(message) <= MAX_MESSAGE
            at += len(message)


def _ends(stream: bytes) -> list[int]:
    """Return where chunks end in ``stream``, its beginning included."""
    ends = [0]
    while len(stream) - ends[-1] >= HEADER_SIZE:
        start = ends[-1]
        end = start + HEADER_SIZE + (int.from_bytes(stream[start : start + 2], "big") & 0x7FFF)
        if end > len(stream):
            break
        ends.append(end)
    return ends


def _cut(pieces: Pieces, *, one_per_message: bool) -> tuple[list[bytes], bytes]:
    cutter = ChunkCutter(one_per_message=one_per_message)
    messages = []
    fed = b""
    for piece in pieces:
        fed += piece
        messages += [bytes(message) for message in cutter.receive_data(piece)]
        assert cutter.held == held(cutter) < MAX_CHUNK
    given = sum(map(len, messages))
    assert given + cutter.held == len(fed)
    return messages, fed[given:]
