"""Fuzz targets: the head gate in both directions, and the gate for chunked bodies.

What passes a gate is read a second time by h11: it must find there what the gate found.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Final, TypeVar

import h11

from gateway.errors import (
    MethodRefused,
    NotImplementedHere,
    RemoteProtocolError,
    UpgradeRefused,
)
from gateway.protocol.http_chunked import ChunkedGate, ChunkLimits
from gateway.protocol.http_head import (
    HeadLimits,
    HeadReader,
    RequestHead,
    RequestHeadReader,
    ResponseHead,
    ResponseHeadReader,
    write_request_head,
    write_response_head,
)
from gateway.protocol.http_headers import Field
from gateway.protocol.ws_handshake import check_upgrade
from tests.fuzz.common import Pieces, cuttings, held, value_or_error

Head = TypeVar("Head", RequestHead, ResponseHead)

_REFUSALS: Final = (RemoteProtocolError, MethodRefused, NotImplementedHere)
# The real limits, and ones that short inputs reach.
_HEAD_LIMITS: Final = (HeadLimits(), HeadLimits(total=90, line=40, fields=3, empty_lines=1))
_CHUNK_LIMITS: Final = (ChunkLimits(), ChunkLimits(size_line=12, trailers=30, fields=2))


# -- heads -----------------------------------------------------------------------------------------


def request_head(data: bytes) -> None:
    """One verdict for every cut, and a head that h11 reads as we do."""
    for limits in _HEAD_LIMITS:
        head = _verdict(data, RequestHeadReader, limits)
        if head is not None:
            _check_request(head)


def response_head(data: bytes) -> None:
    """As for requests."""
    for limits in _HEAD_LIMITS:
        head = _verdict(data, ResponseHeadReader, limits)
        if head is not None:
            _check_response(head)


def _verdict(data: bytes, reader: type[HeadReader[Head]], limits: HeadLimits) -> Head | None:
    outcomes = [
        value_or_error(partial(_read, reader, limits), pieces, _REFUSALS)
        for pieces in cuttings(data)
    ]
    first = outcomes[0]
    assert all(outcome == first for outcome in outcomes), "another verdict for another cut"
    if isinstance(first, type):
        return None
    head, rest = first
    assert head is None or data.endswith(rest)
    return head


def _read(
    reader_type: type[HeadReader[Head]], limits: HeadLimits, pieces: Pieces
) -> tuple[Head | None, bytes]:
    reader = reader_type(limits)
    head = None
    rest = b""
    for piece in pieces:
        if head is not None:
            rest += piece
            continue
        head = reader.receive_data(piece)
        # Without a verdict at most a head is kept, and the parts of its first line once more.
        assert head is not None or held(reader) <= limits.total + limits.line
    try:
        reader.receive_eof()
    except RemoteProtocolError:
        assert reader.started
    return head, reader.trailing_data + rest


def _check_request(head: RequestHead) -> None:
    assert head.target.startswith(b"/") or head.target == b"*"
    assert not (head.chunked and head.content_length is not None)
    repr(head)
    with contextlib.suppress(UpgradeRefused):
        assert len(check_upgrade(head)) == 28
    written = write_request_head(head)
    if head.version == b"1.0" and b"host" not in head.headers:
        return  # is never forwarded as it is: HTTP/1.1 needs a Host
    again = RequestHeadReader(HeadLimits(total=len(written))).receive_data(written)
    assert again == RequestHead(head.method, head.target, b"1.1", head.headers)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(written))
    connection.receive_data(written)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (head.method, head.target)
    assert _raw(event) == list(head.headers)


def _check_response(head: ResponseHead) -> None:
    assert 100 <= head.status <= 999
    assert not (head.chunked and head.content_length is not None)
    repr(head)
    written = write_response_head(head.status, head.reason, head.headers)
    again = ResponseHeadReader(HeadLimits(total=len(written))).receive_data(written)
    assert again == ResponseHead(head.status, head.reason, b"1.1", head.headers)
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(written))
    connection.send(h11.Request(method="GET", target="/", headers=_UPGRADE))
    connection.receive_data(written)
    event = connection.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert (event.status_code, event.reason) == (head.status, head.reason)
    assert _raw(event) == list(head.headers)


_UPGRADE: Final = [("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "websocket")]


def _raw(event: h11.Request | h11.Response | h11.InformationalResponse) -> list[Field]:
    headers = event.headers
    assert isinstance(headers, h11._headers.Headers)
    return [(bytes(name), bytes(value)) for name, value in headers.raw_items()]


# -- chunked bodies --------------------------------------------------------------------------------


def http_chunked(data: bytes) -> None:
    """One verdict for every cut, and a body that ends where it ends for h11."""
    for limits in _CHUNK_LIMITS:
        outcomes = [
            value_or_error(partial(_pass_gate, limits), pieces) for pieces in cuttings(data)
        ]
        first = outcomes[0]
        assert all(outcome == first for outcome in outcomes), "another verdict for another cut"
        if not isinstance(first, type):
            done, trailers, rest = first
            assert data.endswith(rest)
            assert done or not (rest or trailers)
            assert _h11_decodes(data) == (done, [(name.lower(), v) for name, v in trailers], rest)


def _pass_gate(limits: ChunkLimits, pieces: Pieces) -> tuple[bool, tuple[Field, ...], bytes]:
    gate = ChunkedGate(limits)
    rest = b""
    for piece in pieces:
        taken = gate.receive_data(piece)
        assert taken == len(piece) or gate.done
        rest += piece[taken:]
        assert held(gate) <= limits.size_line + 2 * limits.trailers
    return gate.done, gate.trailers, rest


def _h11_decodes(data: bytes) -> tuple[bool, list[Field], bytes]:
    """Return whether h11 finds an end, its trailers, and what it leaves over."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data) + 100)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(connection.next_event(), h11.Request)
    if data:  # an empty piece would mean the end of the stream
        connection.receive_data(data)
    while isinstance(event := connection.next_event(), h11.Data):
        pass
    if not isinstance(event, h11.EndOfMessage):
        return False, [], b""
    trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
    return True, trailers, connection.trailing_data[0]
