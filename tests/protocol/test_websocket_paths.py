"""Tests of ``gateway.protocol.websocket``: its two paths, what it keeps, headers alone, sending."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError, outcome_of
from gateway.protocol.websocket import (
    DEFAULT_MAX_MESSAGE,
    Close,
    Data,
    Event,
    FrameHeader,
    FrameHeaders,
    Opcode,
    Ping,
    Pong,
    WebSocketReader,
    close_frame,
    control_frame,
    frame_header,
)
from tests.feeding import TRAILING, fail_all_ways, feed_all_ways
from tests.peers.raw_frames import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, close, frame
from tests.protocol.websocket_reading import LIMIT, add, joined, read
from tests.recordings import body, summary

# -- the two paths ---------------------------------------------------------------------------------


def test_fast_path_takes_many_frames_at_once() -> None:
    reader = WebSocketReader()
    reader.receive_data(b"".join(frame(BINARY, b"%03d" % n) for n in range(100)))
    assert reader.read_binary() == b"".join(b"%03d" % n for n in range(100))
    assert reader.next_event() is None


def test_fast_path_takes_the_last_frame_as_far_as_it_is_there() -> None:
    reader = WebSocketReader()
    wire = frame(BINARY, b"one") + frame(BINARY, body(300))
    reader.receive_data(wire[:100])
    start = reader.read_binary()
    assert start == b"one" + body(300)[: 100 - 9 - 8]
    reader.receive_data(wire[100:] + frame(BINARY, b"two"))
    assert start + reader.read_binary() == b"one" + body(300) + b"two"


@pytest.mark.parametrize(
    "stopper",
    [
        pytest.param(frame(PING, b"ping"), id="control"),
        pytest.param(frame(BINARY, b"fragment", final=False), id="fragment"),
        pytest.param(frame(BINARY, body(0x10000)), id="64 KiB"),
        pytest.param(frame(TEXT, b"text-text"), id="text"),
        pytest.param(frame(BINARY, b"fault", reserved=1), id="fault"),
        pytest.param(frame(BINARY, body(5), length_bytes=2), id="long length"),
    ],
)
def test_fast_path_stops_in_front_of_everything_else(stopper: bytes) -> None:
    reader = WebSocketReader(accept_text=True)
    reader.receive_data(frame(BINARY, b"payload") + stopper + frame(BINARY, b"behind"))
    assert reader.read_binary() == b"payload"
    assert reader.read_binary() == b""


@pytest.mark.parametrize("cut", range(1, 20))
def test_the_paths_may_take_turns_anywhere(cut: int) -> None:
    wire = frame(BINARY, b"abcde", final=False) + frame(PING, b"p") + frame(CONTINUATION, b"fgh")
    wire += frame(BINARY, b"ijkl")
    reader = WebSocketReader()
    seen: list[object] = []
    for index in range(0, len(wire), cut):
        reader.receive_data(wire[index : index + cut])
        for _ in range(30):  # more turns than there are frames
            add(seen, reader.read_binary())
            event = reader.next_event()
            if event is not None:
                add(seen, event.payload if isinstance(event, Data) else event)
    assert seen == [b"abcde", Ping(b"p"), b"fghijkl"]


def test_data_events_say_where_frames_and_messages_end() -> None:
    reader = WebSocketReader()
    wire = frame(BINARY, b"abc", final=False) + frame(CONTINUATION, b"d")
    reader.receive_data(wire[:8])
    assert reader.next_event() == Data(Opcode.BINARY, b"ab", False, False)
    assert reader.next_event() is None
    reader.receive_data(wire[8:])
    assert reader.next_event() == Data(Opcode.BINARY, b"c", True, False)
    assert reader.next_event() == Data(Opcode.BINARY, b"d", True, True)
    assert reader.next_event() is None


def test_the_slow_path_ends_what_the_fast_path_began() -> None:
    reader = WebSocketReader()
    wire = frame(BINARY, b"abcdefgh")
    reader.receive_data(wire[:10])
    assert reader.read_binary() == b"abcd"
    reader.receive_data(wire[10:])
    assert reader.next_event() == Data(Opcode.BINARY, b"efgh", True, True)


def test_messages_are_bounded_without_being_asked() -> None:
    for size in (DEFAULT_MAX_MESSAGE, DEFAULT_MAX_MESSAGE + 1):
        reader = WebSocketReader()
        reader.receive_data(frame(BINARY, length=size))
        if size == DEFAULT_MAX_MESSAGE:
            assert reader.next_event() is None
            continue
        with pytest.raises(RemoteProtocolError, match=f"longer than {16 * 1024 * 1024} bytes"):
            reader.next_event()


def test_a_limit_below_the_fast_path_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        WebSocketReader(max_message=0xFFFE)


# -- what is kept between calls --------------------------------------------------------------------


def _held(value: object) -> int:
    """Count the bytes that ``value`` holds on to."""
    if isinstance(value, bytes | bytearray):
        return len(value)
    slots = getattr(type(value), "__slots__", ())
    return sum(_held(getattr(value, name)) for name in slots if isinstance(name, str))


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(frame(BINARY, b"x", final=False) + frame(CONTINUATION, body(2000)), id="data"),
        pytest.param(frame(PING, body(125)), id="pings"),
        pytest.param(
            frame(TEXT, b"\xe2\x82", final=False) + frame(CONTINUATION, b"\xac"), id="text"
        ),
        pytest.param(close(1000) + bytes(1000), id="after close"),
    ],
)
def test_holds_at_most_a_header_and_a_control_frame(unit: bytes) -> None:
    """Besides the last piece itself."""
    reader = WebSocketReader(accept_text=True)
    wire = unit * (40_000 // len(unit))
    piece = 97  # cuts every header somewhere else
    for index in range(0, len(wire), piece):
        reader.receive_data(wire[index : index + piece])
        while reader.next_event() is not None:
            pass
        assert _held(reader) <= piece + 14 + 4 + 125


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.binary(max_size=40), max_size=20), fast=st.booleans())
def test_random_bytes_give_values_or_protocol_errors(pieces: list[bytes], fast: bool) -> None:
    try:
        seen = read(pieces, fast=fast)
    except RemoteProtocolError:
        return
    assert sum(_size(item) for item in seen) <= sum(map(len, pieces))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_bent_frames_give_values_or_protocol_errors(data: st.DataObject) -> None:
    """Random bytes rarely get past the first header; these do."""
    frames = data.draw(
        st.lists(
            st.sampled_from(
                [
                    frame(BINARY, b"a", final=False),
                    frame(CONTINUATION, b"ab"),
                    frame(PING, b"p"),
                    frame(BINARY, body(130)),
                ]
            ),
            min_size=1,
            max_size=6,
        )
    )
    wire = bytearray(b"".join(frames))
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(wire)))
    codes: set[int | None] = set()
    try:
        read([bytes(wire[:cut]), bytes(wire[cut:])], fast=data.draw(st.booleans()))
    except RemoteProtocolError as error:
        codes.add(outcome_of(error).close_code)
    assert codes <= {1002, 1007, 1009}


def _size(item: object) -> int:
    payload = getattr(item, "payload", item)
    return len(payload) if isinstance(payload, bytes) else 0


# -- layer 1 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 125, 126, 0xFFFF, 0x10000])
@pytest.mark.parametrize("masked", [False, True])
def test_frame_headers_alone(size: int, masked: bool) -> None:
    wire = frame(BINARY, length=size, mask=MASK if masked else None)

    def parse(pieces: Iterable[bytes]) -> tuple[FrameHeader | None, bytes]:
        headers = FrameHeaders(masked=masked)
        data = b"".join(pieces)
        header = headers.read(b"junk" + data, 4)
        return header, data[header.size :] if header else data

    header = feed_all_ways(wire, parse)
    assert header == FrameHeader(True, Opcode.BINARY, size, MASK if masked else b"", len(wire))


def test_frame_headers_wait_for_the_whole_header() -> None:
    wire = frame(BINARY, length=0x10000)
    headers = FrameHeaders(masked=True)
    assert [headers.read(wire[:n]) for n in range(len(wire))] == [None] * len(wire)
    assert headers.read(wire + TRAILING) is not None


def test_a_server_must_not_mask() -> None:
    assert (
        fail_all_ways(frame(BINARY, b"x"), lambda pieces: _read_as_client(pieces))
        is RemoteProtocolError
    )


def _read_as_client(pieces: Iterable[bytes]) -> None:
    headers = FrameHeaders(masked=False)
    data = b""
    for piece in pieces:
        data += piece
        headers.read(data)


def test_a_message_may_be_exactly_the_limit() -> None:
    half = LIMIT // 2
    wire = frame(BINARY, bytes(half), final=False) + frame(CONTINUATION, bytes(half))
    assert read([wire + frame(BINARY, bytes(LIMIT))]) == [bytes(2 * LIMIT)]


# -- recorded agents -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "connection"), summary("ws"), ids=[name for name, _ in summary("ws")]
)
def test_recorded_agents(scenario: str, connection: dict[str, Any]) -> None:
    """A real agent's frame sequence; the bodies, which were not kept, are our own."""
    client = connection["client"]
    wire = b""
    sent = b""
    for index, message in enumerate(client["first_messages"]):
        chunk = bytes.fromhex(message["chunk_header_hex"]) + body(message["len"] - 2, index)
        assert message["len"] == 2 + (struct.unpack("!H", chunk[:2])[0] & 0x7FFF)
        mask = struct.pack("!I", 0x9E3779B9 * (index + 1) & 0xFFFFFFFF)
        wire += frame(message["opcode"], chunk, final=message["fin"], mask=mask)
        sent += chunk
    expected: list[object] = [sent]
    for control in client["control_frames"]:
        payload = bytes.fromhex(control["hex"])
        wire += frame(control["opcode"], payload)
        expected.append(_control_event(control["opcode"], payload))

    def parse(pieces: Iterable[bytes]) -> tuple[list[object], bytes]:
        return joined(read(pieces, fast=True, accept_text=False)), b""

    assert feed_all_ways(wire, parse, trailing=b"") == expected


def _control_event(opcode: int, payload: bytes) -> Event:
    if opcode == CLOSE:
        return Close(int.from_bytes(payload, "big"), "")
    return Ping(payload) if opcode == PING else Pong(payload)


# -- sending ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [Opcode.BINARY, Opcode.TEXT, Opcode.CONTINUATION])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 0xFFFF, 0x10000, 1 << 40])
def test_frame_headers_to_send(opcode: Opcode, final: bool, size: int) -> None:
    expected = frame(opcode, length=size, final=final, mask=None)
    assert frame_header(opcode, size, final=final) == expected


def test_control_frames_to_send() -> None:
    assert control_frame(Opcode.PING) == bytes.fromhex("8900")  # PROTOCOLS A.6
    assert control_frame(Opcode.PONG, b"rgw7") == frame(PONG, b"rgw7", mask=None)
    assert control_frame(Opcode.PONG, body(125)) == frame(PONG, body(125), mask=None)
    with pytest.raises(ValueError, match="125"):
        control_frame(Opcode.PING, bytes(126))


def test_close_frames_to_send() -> None:
    assert close_frame(1000) == bytes.fromhex("880203e8")  # PROTOCOLS A.6
    assert close_frame(1011, "why") == bytes.fromhex("880503f3") + b"why"


@pytest.mark.parametrize("reason", ["x" * 123, "x" * 500, "€" * 41, "€" * 42, "x" * 122 + "ü"])
def test_close_reasons_are_cut_at_a_character(reason: str) -> None:
    wire = close_frame(1011, reason)
    assert len(wire) <= 2 + 125
    text = wire[4:].decode("utf-8")
    assert reason.startswith(text)
    assert len(reason) == len(text) or len((text + reason[len(text)]).encode()) > 123


def test_server_messages_match_the_recorded_ones() -> None:
    """The recorded TCP reads of a Java controller's frames are as long as ours would be."""
    (connection,) = (c for name, c in summary("ws") if name == "ws-agent-orderly-close")
    sizes = {
        event["len"] for event in connection["raw_tail"] if event["dir"] == "s2c" and "len" in event
    }
    for last in connection["server"]["last_frames"]:
        assert len(frame_header(Opcode(last["opcode"]), last["len"])) + last["len"] in sizes
