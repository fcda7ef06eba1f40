"""Tests of ``gateway.protocol.websocket``: the rules one by one, the two paths, frames to send.

What two other implementations make of the same bytes is in ``test_websocket_oracles``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError, UnsupportedMessage, outcome_of
from gateway.protocol.websocket import (
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
from tests.recordings import body, summary

LIMIT = 0x20000  # of a message, where a test needs one


def read(
    pieces: Iterable[bytes],
    *,
    fast: bool = False,
    accept_text: bool = True,
    max_message: int = LIMIT,
) -> list[object]:
    """Feed ``pieces``; return control events and payload in order, adjacent payload joined."""
    reader = WebSocketReader(accept_text=accept_text, max_message=max_message)
    seen: list[object] = []
    for piece in pieces:
        reader.receive_data(piece)
        while True:
            if fast and (payload := reader.read_binary()):
                _add(seen, payload)
            event = reader.next_event()
            if event is None:
                break
            _add(seen, event.payload if isinstance(event, Data) else event)
    return seen


def _add(seen: list[object], item: object) -> None:
    if isinstance(item, bytes) and seen and isinstance(seen[-1], bytes):
        seen[-1] += item
    elif item != b"":
        seen.append(item)


def read_fast(pieces: Iterable[bytes]) -> list[object]:
    return read(pieces, fast=True)


# -- the rules of RFC 6455 section 5, one a row
# ------------------------------------------------------

START = frame(BINARY, b"start", final=False)  # a message that is to be continued

GOOD: list[tuple[str, bytes, list[object]]] = [
    ("5.2 empty message", frame(BINARY), []),
    ("5.2 7-bit length", frame(BINARY, body(125)), [body(125)]),
    ("5.2 16-bit length, smallest", frame(BINARY, body(126)), [body(126)]),
    ("5.2 16-bit length, largest", frame(BINARY, body(0xFFFF)), [body(0xFFFF)]),
    ("5.2 64-bit length, smallest", frame(BINARY, body(0x10000)), [body(0x10000)]),
    ("5.3 mask of zeros", frame(BINARY, b"plain", mask=bytes(4)), [b"plain"]),
    ("5.4 two fragments", START + frame(CONTINUATION, b"end"), [b"startend"]),
    (
        "5.4 empty fragments",
        frame(BINARY, final=False) + frame(CONTINUATION, final=False) + frame(CONTINUATION),
        [],
    ),
    (
        "5.4 control frame inside a message",
        START + frame(PING, b"?") + frame(CONTINUATION, b"end"),
        [b"start", Ping(b"?"), b"end"],
    ),
    ("5.5 longest control frame", frame(PING, body(125)), [Ping(body(125))]),
    ("5.5.1 Close without a code", frame(CLOSE), [Close(None, "")]),
    ("5.5.1 Close with a code", close(1000), [Close(1000, "")]),
    ("5.5.1 Close with a reason", close(4000, "geht «weg»".encode()), [Close(4000, "geht «weg»")]),
    ("5.5.1 Close inside a message", START + close(1001), [b"start", Close(1001, "")]),
    ("5.5.2 Ping", frame(PING), [Ping(b"")]),
    ("5.5.3 Pong nobody asked for", frame(PONG, b"x"), [Pong(b"x")]),
    ("5.6 text", frame(TEXT, "Zürich".encode()), ["Zürich".encode()]),
    (
        "8.1 character in two fragments",
        frame(TEXT, b"\xe2\x82", final=False) + frame(CONTINUATION, b"\xac"),
        ["€".encode()],
    ),
    (
        "8.1 a binary message is no text",
        frame(BINARY, b"\xff\xfe", final=False) + frame(CONTINUATION, b"\xff"),
        [b"\xff\xfe\xff"],
    ),
]

BAD: list[tuple[str, bytes, int]] = [
    ("5.2 reserved bit 1", frame(BINARY, b"x", reserved=0b100), 1002),
    ("5.2 reserved bit 2", frame(BINARY, b"x", reserved=0b010), 1002),
    ("5.2 reserved bit 3", frame(BINARY, b"x", reserved=0b001), 1002),
    ("5.2 reserved bit of a control frame", frame(PING, reserved=0b100), 1002),
    ("5.2 reserved bit of a continuation", START + frame(CONTINUATION, reserved=0b100), 1002),
    *((f"5.2 opcode {n:#x}", frame(n, b"x"), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    ("5.2 16 bits for 125", frame(BINARY, body(125), length_bytes=2), 1002),
    ("5.2 16 bits for nothing", frame(BINARY, length_bytes=2), 1002),
    ("5.2 64 bits for 125", frame(BINARY, body(125), length_bytes=8), 1002),
    ("5.2 64 bits for 65535", frame(BINARY, body(0xFFFF), length_bytes=8), 1002),
    ("5.2 highest bit of the length", frame(BINARY, length=1 << 63, length_bytes=8), 1002),
    ("5.1 unmasked", frame(BINARY, b"x", mask=None), 1002),
    ("5.1 unmasked and empty", frame(BINARY, mask=None), 1002),
    ("5.1 unmasked control frame", frame(PING, b"x", mask=None), 1002),
    ("5.4 continuation of nothing", frame(CONTINUATION, b"x"), 1002),
    (
        "5.4 continuation after the end",
        START + frame(CONTINUATION) + frame(CONTINUATION, b"x"),
        1002,
    ),
    ("5.4 binary inside a message", START + frame(BINARY, b"x"), 1002),
    ("5.4 text inside a message", START + frame(TEXT, b"x"), 1002),
    ("5.4 fragmented Ping", frame(PING, final=False), 1002),
    ("5.4 fragmented Close", frame(CLOSE, final=False), 1002),
    ("5.5 Ping of 126 bytes", frame(PING, body(126)), 1002),
    ("5.5 Ping of 65536 bytes", frame(PING, body(0x10000)), 1002),
    ("5.5.1 Close of one byte", frame(CLOSE, b"\x03"), 1002),
    ("5.5.1 reason is not UTF-8", close(1000, b"\xff"), 1007),
    ("5.5.1 reason is cut inside a character", close(1000, b"\xe2\x82"), 1007),
    ("5.6 text is not UTF-8", frame(TEXT, b"\xff"), 1007),
    ("8.1 text ends inside a character", frame(TEXT, b"\xe2\x82"), 1007),
    (
        "8.1 so does a fragmented one",
        frame(TEXT, b"\xe2", final=False) + frame(CONTINUATION, b"\x82"),
        1007,
    ),
    ("7.4.1 frame too long", frame(BINARY, length=LIMIT + 1), 1009),
    (
        "7.4.1 message too long",
        frame(BINARY, body(LIMIT), final=False) + frame(CONTINUATION, b"x"),
        1009,
    ),
]


@pytest.mark.parametrize(("wire", "events"), [row[1:] for row in GOOD], ids=[r[0] for r in GOOD])
def test_accepted(wire: bytes, events: list[object]) -> None:
    assert read([wire]) == events
    assert read_fast([wire]) == events
    for pieces in _cut_everywhere(wire):
        assert _joined(read(pieces)) == events
        assert _joined(read_fast(pieces)) == events


@pytest.mark.parametrize(("wire", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_refused(wire: bytes, code: int) -> None:
    for pieces in ([wire], *_cut_everywhere(wire)):
        for fast in (False, True):
            with pytest.raises(RemoteProtocolError) as caught:
                read(pieces, fast=fast)
            assert outcome_of(caught.value).close_code == code


def _cut_everywhere(wire: bytes) -> Iterable[list[bytes]]:
    size = max(1, len(wire) // 2000)
    yield [wire[i : i + size] for i in range(0, len(wire), size)]
    step = max(1, len(wire) // 40)
    for cut in range(1, len(wire), step):
        yield [wire[:cut], wire[cut:]]


def _joined(seen: Sequence[object]) -> list[object]:
    joined: list[object] = []
    for item in seen:
        _add(joined, item)
    return joined


@pytest.mark.parametrize("fast", [False, True])
def test_valid_frames_before_a_fault_are_read(fast: bool) -> None:
    reader = WebSocketReader()
    reader.receive_data(frame(BINARY, b"one") + frame(BINARY, b"two", reserved=1))
    first = reader.read_binary() if fast else reader.next_event()
    assert first == (b"one" if fast else Data(Opcode.BINARY, b"one", True, True))
    assert reader.read_binary() == b"" or not fast
    with pytest.raises(RemoteProtocolError, match="reserved bits"):
        reader.next_event()


@pytest.mark.parametrize(
    ("wire", "shown_after"),
    [
        pytest.param(frame(BINARY, b"x", reserved=1), 1, id="reserved bit"),
        pytest.param(frame(0x3, b"x"), 1, id="opcode"),
        pytest.param(frame(PING, b"x", final=False), 1, id="fragmented control frame"),
        pytest.param(frame(CONTINUATION, b"x"), 1, id="continuation of nothing"),
        pytest.param(frame(BINARY, b"x", mask=None), 2, id="unmasked"),
        pytest.param(frame(PING, length=126), 2, id="long control frame"),
        pytest.param(frame(BINARY, length=5, length_bytes=2), 8, id="length not in shortest form"),
        pytest.param(frame(BINARY, length=LIMIT + 1), 14, id="message too long"),
    ],
)
def test_faults_show_early(wire: bytes, shown_after: int) -> None:
    """Those of the first two bytes at once, those of the length with the whole header."""
    assert read([wire[: shown_after - 1]]) == []
    with pytest.raises(RemoteProtocolError):
        read([wire[:shown_after]])


# -- text ------------------------------------------------------------------------------------------


def test_text_is_unsupported_unless_asked_for() -> None:
    """Agents never send any (PROTOCOLS A.6): told from the header, before any payload."""
    for fast in (False, True):
        with pytest.raises(UnsupportedMessage):
            read([frame(TEXT, b"hello")[:6]], fast=fast, accept_text=False)


INVALID_UTF8 = [
    ("continuation byte first", b"a\x80", 2),
    ("overlong slash", b"\xc0\xaf", 1),
    ("overlong in three bytes", b"\xe0\x9f\xbf", 2),
    ("overlong in four bytes", b"\xf0\x8f\xbf\xbf", 2),
    ("surrogate", b"\xed\xa0\x80", 3),  # CPython waits for the third byte, whatever the second
    ("above U+10FFFF", b"\xf4\x90\x80\x80", 2),
    ("five-byte form", b"\xf8\x88\x80\x80\x80", 1),
    ("character cut short", b"\xe2\x82x", 3),
    ("Autobahn 6.4.1", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90", 13),
]


@pytest.mark.parametrize(
    ("text", "bad_at"), [row[1:] for row in INVALID_UTF8], ids=[row[0] for row in INVALID_UTF8]
)
@pytest.mark.parametrize("fragment", [False, True])
def test_text_fails_with_its_first_wrong_byte(text: bytes, bad_at: int, fragment: bool) -> None:
    if fragment:
        frames = [frame(TEXT, final=False)]
        frames += [frame(CONTINUATION, text[i : i + 1], final=False) for i in range(len(text))]
        good, bad = b"".join(frames[:bad_at]), frames[bad_at]
    else:
        # The frame claims more, so that nothing but the byte itself can be the reason.
        wire = frame(TEXT, text, length=100)
        good, bad = wire[: 6 + bad_at - 1], wire[6 + bad_at - 1 : 6 + bad_at]
    reader = WebSocketReader(accept_text=True)
    reader.receive_data(good)
    while reader.next_event() is not None:
        pass
    reader.receive_data(bad)
    with pytest.raises(RemoteProtocolError, match="UTF-8") as caught:
        reader.next_event()
    assert outcome_of(caught.value).close_code == 1007


@settings(deadline=None)
@given(text=st.text(max_size=30), cuts=st.lists(st.integers(0, 120), max_size=6))
def test_text_may_be_fragmented_anywhere(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    frames = [
        frame(TEXT if i == 0 else CONTINUATION, piece, final=i == len(pieces) - 1)
        for i, piece in enumerate(pieces)
    ]
    assert _joined(read(frames)) == ([data] if data else [])


def test_a_new_text_message_starts_clean() -> None:
    assert read([frame(TEXT, b"\xc3\xa4") + frame(TEXT, b"\xc3\xb6")]) == ["äö".encode()]


# -- closing ---------------------------------------------------------------------------------------


def _is_receivable(code: int) -> bool:
    """RFC 6455 sections 7.4.1 and 7.4.2, and the IANA registry for 1012 to 1014."""
    if 3000 <= code <= 4999:
        return True
    return 1000 <= code <= 1014 and code not in {1004, 1005, 1006}


@pytest.mark.parametrize(
    "code",
    [0, 1, 999, *range(1000, 1017), 1100, 1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535],
)
def test_close_codes(code: int) -> None:
    if _is_receivable(code):
        assert read([close(code, b"why")]) == [Close(code, "why")]
        return
    with pytest.raises(RemoteProtocolError, match=f"code {code}$") as caught:
        read([close(code)])
    assert outcome_of(caught.value).close_code == 1002


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("after", [frame(BINARY, b"late"), b"\xff\xff\xff\xff", frame(PING)])
def test_nothing_is_read_after_a_close_frame(fast: bool, after: bytes) -> None:
    """RFC 6455 section 5.5.1: not even broken frames matter any more."""
    assert read([close(1000) + after], fast=fast) == [Close(1000, "")]
    assert read([close(1000), after], fast=fast) == [Close(1000, "")]


def test_closed_says_when_a_close_frame_came() -> None:
    reader = WebSocketReader()
    reader.receive_data(frame(BINARY, b"x") + close(1000))
    assert reader.read_binary() == b"x"
    assert not reader.closed
    reader.next_event()
    assert reader.closed


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
            _add(seen, reader.read_binary())
            event = reader.next_event()
            if event is not None:
                _add(seen, event.payload if isinstance(event, Data) else event)
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
                [START, frame(CONTINUATION, b"ab"), frame(PING, b"p"), frame(BINARY, body(130))]
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
        return _joined(read(pieces, fast=True, accept_text=False)), b""

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
