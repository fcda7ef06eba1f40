"""Frames that pass through: what arrives is what leaves, with ours between and our pongs gone.

wsproto reads what comes out, so that a frame in the wrong place is found by somebody else's parser.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Event, Ping, Pong

from gateway.errors import MessageTooBig
from gateway.protocol.websocket import Opcode, close_frame, control_frame
from gateway.protocol.ws_relay import FRAMES_A_TURN, FrameScanner, mask_frame
from tests.peers.raw_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    frame,
    masked,
)

OURS = b"rgw01020304-"


def is_ours(payload: bytes) -> bool:
    return payload.startswith(OURS)


def make(**options: int) -> FrameScanner:
    return FrameScanner(is_ours, **options)


def feed(scanner: FrameScanner, data: bytes) -> bytes:
    """Return everything that ``data`` makes it hand on."""
    out = scanner.receive_data(data)
    while scanner.more:
        out += scanner.receive_data(b"")
    return out


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """Draw the frames of one message, control frames between them included."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    parts = draw(st.lists(st.sampled_from([0, 1, 125, 126, 300, 70_000]), min_size=1, max_size=4))
    mask = draw(st.sampled_from([MASK, b"\0\0\0\0", b"\x8a\x88\xff\x01"]))
    made: list[bytes] = []
    for i, size in enumerate(parts):
        # Payload that looks like headers, for a scanner that loses its way.
        payload = (b"\x82\x05\x8a\x80" * (size // 4 + 1))[:size]
        payload = payload if opcode == BINARY else b"x" * size
        first = opcode if i == 0 else CONTINUATION
        made.append(frame(first, payload, final=i == len(parts) - 1, mask=mask))
        if draw(st.booleans()):
            kind = draw(st.sampled_from([PING, PONG]))
            made.append(frame(kind, draw(st.binary(max_size=125)), mask=mask))
    return made


STREAMS = st.lists(messages(), min_size=1, max_size=4).map(
    lambda each: [one for frames in each for one in frames]
)


@given(STREAMS, st.lists(st.integers(min_value=0), max_size=8))
def test_what_arrives_is_what_leaves(frames: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frames)
    scanner = make()
    assert b"".join(feed(scanner, piece) for piece in pieces_of(data, cuts)) == data
    assert scanner.at_boundary
    assert not scanner.closed


def read_as_server(data: bytes) -> list[Event]:
    reader = Connection(ConnectionType.SERVER)
    reader.receive_data(data)
    return list(reader.events())


def compare(events: list[Event]) -> tuple[bytes, list[object]]:
    """Return messages joined with their ends marked, and everybody else's control frames."""
    control: list[object] = []
    text = b""
    for event in events:
        if isinstance(event, Ping | Pong):
            if not is_ours(bytes(event.payload)):
                control.append((type(event).__name__, bytes(event.payload)))
            continue
        data = getattr(event, "data", b"")
        text += data.encode() if isinstance(data, str) else bytes(data)
        text += b"|" * bool(getattr(event, "message_finished", False))
    return text, control


@given(STREAMS, st.lists(st.integers(min_value=0), max_size=8))
@example([frame(BINARY, bytes(70_000))], [5, 6, 7, 20_000])
def test_pings_at_every_boundary_change_no_message(frames: list[bytes], cuts: list[int]) -> None:
    """One is wanted before each piece, wherever that was cut: it comes at the next boundary."""
    data = b"".join(frames)
    scanner = make()
    out = b""
    wanted = 0
    for piece in pieces_of(data, cuts):
        if not scanner.inserting:
            wanted += 1
            ping = mask_frame(control_frame(Opcode.PING, OURS + b"%d" % wanted), MASK)
            if scanner.insert(ping):
                out += ping
        out += feed(scanner, piece)
    events = read_as_server(out)
    assert compare(events) == compare(read_as_server(data))
    pings = [e for e in events if isinstance(e, Ping) and is_ours(bytes(e.payload))]
    assert [bytes(e.payload) for e in pings] == [OURS + b"%d" % (n + 1) for n in range(wanted)]


def test_every_boundary_of_a_stream_takes_a_ping() -> None:
    frames = [
        frame(BINARY, b"a" * 8194),
        frame(BINARY, b"\0\5", final=False),
        frame(PING, b""),
        frame(CONTINUATION, b"b" * 300),
        frame(TEXT, b"c" * 70_000),
        frame(PONG, b"theirs"),
    ]
    ping = mask_frame(control_frame(Opcode.PING, OURS), MASK)
    for at in range(len(frames) + 1):
        scanner = make()
        out = b""
        for i, each in enumerate(frames):
            if i == at:
                assert scanner.insert(ping)
                out += ping
            for byte in range(0, len(each), 97):
                out += scanner.receive_data(each[byte : byte + 97])
            assert scanner.at_boundary
        if at == len(frames):
            assert scanner.insert(ping)
            out += ping
        assert out == b"".join([*frames[:at], ping, *frames[at:]])
        assert compare(read_as_server(out)) == compare(read_as_server(b"".join(frames)))


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("size", [0, 125, 126, 200, 70_000])
def test_frames_of_one_size_in_pieces_of_any(size: int, mask: bytes | None) -> None:
    """The walk over them is a shortcut; others come in between, and every cut meets a header."""
    alike = frame(BINARY, b"x" * size, mask=mask, length_bytes=2 if size == 0 else None)
    frames = [*[alike] * 9, frame(PONG, OURS, mask=mask), *[alike] * 4, frame(PING, mask=mask)]
    frames += [alike, frame(PONG, OURS, mask=mask)]
    kept = b"".join(each for each in frames if OURS not in unmasked(each, mask))
    data = b"".join(frames)
    for piece in {*range(1, 30), *range(len(alike) - 9, len(alike) + 9), 3 * len(alike) + 1}:
        if piece <= 0 or (size > 1000 and piece < 10_000):
            continue
        scanner = make()
        out = b"".join(feed(scanner, data[i : i + piece]) for i in range(0, len(data), piece))
        assert out == kept
        assert scanner.at_boundary


def unmasked(data: bytes, mask: bytes | None) -> bytes:
    return data if mask is None else data[:6] + masked(data[6:], mask)


def test_a_ping_waits_for_the_end_of_the_frame() -> None:
    scanner = make()
    data = frame(BINARY, bytes(1000)) + frame(BINARY, b"next")
    assert scanner.receive_data(data[:100]) == data[:100]
    assert not scanner.insert(b"<ping>")
    assert scanner.inserting
    assert scanner.receive_data(data[100:500]) == data[100:500]
    assert scanner.inserting
    assert scanner.receive_data(data[500:1008]) == data[500:1008] + b"<ping>"
    assert not scanner.inserting
    assert scanner.receive_data(data[1008:]) == data[1008:]


@pytest.mark.parametrize("mask", [None, MASK])
def test_pongs_of_ours_are_taken_out(mask: bytes | None) -> None:
    kept = [frame(BINARY, b"a" * 200, mask=mask), frame(PONG, b"", mask=mask)]
    kept.append(frame(PONG, OURS[:-1], mask=mask))
    data = b"".join(
        [
            frame(PONG, OURS + b"1", mask=mask),
            kept[0],
            frame(PONG, OURS + b"2", mask=mask),
            frame(PONG, OURS + b"3", mask=mask),
            kept[1],
            kept[2],
            frame(PONG, OURS + b"4", mask=mask),
        ]
    )
    for size in (len(data), 1, 7, 50):
        scanner = make()
        out = b"".join(feed(scanner, data[i : i + size]) for i in range(0, len(data), size))
        assert out == b"".join(kept)
        assert scanner.at_boundary


def test_what_is_kept_back_is_small_and_only_what_cannot_be_judged() -> None:
    scanner = make()
    data = frame(BINARY, bytes(70_000))
    for end in range(1, 14):
        assert scanner.receive_data(data[end - 1 : end]) == b""
    assert scanner.at_boundary
    assert scanner.receive_data(data[13:20]) == data[:20]
    assert not scanner.at_boundary


def test_the_object_that_came_is_the_one_that_goes() -> None:
    """Bulk is not copied: neither inside one large frame, nor where frames end with the data."""
    scanner = make()
    for data in (frame(BINARY, bytes(1 << 20))[:65536], bytes(65536)):
        assert scanner.receive_data(data) is data
    scanner = make()
    data = frame(BINARY, bytes(8194)) * 20
    assert scanner.receive_data(data) is data


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", None), (b"\x03", None), (b"\x03\xe8", 1000), (b"\x03\xe9bye", 1001)],
)
def test_close(payload: bytes, code: int | None) -> None:
    data = frame(BINARY, b"last") + frame(CLOSE, payload)
    for size in (len(data), 1):
        scanner = make()
        out = b"".join(feed(scanner, data[i : i + size]) for i in range(0, len(data), size))
        assert out == data
        assert (scanner.closed, scanner.close_code) == (True, code)
        # What comes behind it has no reader.
        assert scanner.receive_data(frame(BINARY, b"more")) == b""
        assert not scanner.insert(b"<ping>")
        assert not scanner.inserting


def test_what_comes_behind_a_close_frame_in_one_piece() -> None:
    scanner = make()
    data = frame(CLOSE, b"\x03\xe8")
    assert scanner.receive_data(data + frame(PING) + b"garbage") == data
    assert scanner.closed


@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, b"x", reserved=4),
        frame(BINARY, b"x", reserved=7),
        frame(3, b"x"),
        frame(0xB, b"x"),
        frame(CONTINUATION, b"x"),
        frame(PING, b"x" * 126),
        frame(PONG, OURS + b"x" * 126),
        frame(CLOSE, b"x" * 126),
        frame(CLOSE, b"\x03\xe8", final=False),
        frame(PING, b"x", final=False),
        frame(BINARY, b"x", length_bytes=2),
        frame(BINARY, b"x", length_bytes=8),
        frame(BINARY, b"x", mask=None),
    ],
)
def test_what_a_frame_may_be_is_for_its_receiver_to_judge(data: bytes) -> None:
    """Reserved bits are permessage-deflate's; faults are refused by whom they reach."""
    more = data + frame(BINARY, b"next")
    for size in (len(more), 1):
        scanner = make()
        assert b"".join(feed(scanner, more[i : i + size]) for i in range(0, len(more), size)) == (
            more
        )
        assert scanner.at_boundary
        assert not scanner.closed


@pytest.mark.parametrize("length", [(16 << 20) + 1, 1 << 62, (1 << 64) - 1])
def test_a_frame_that_is_too_long(length: int) -> None:
    scanner = make()
    good = frame(BINARY, b"good")
    assert scanner.receive_data(good + frame(BINARY, b"bad", length=length)) == good
    assert isinstance(scanner.fault, MessageTooBig)
    assert scanner.at_boundary
    assert scanner.receive_data(good) == b""


def test_the_longest_frame() -> None:
    scanner = make(max_frame=70_000)
    data = frame(BINARY, bytes(70_000))
    assert scanner.receive_data(data) is data
    assert scanner.fault is None


def test_many_tiny_frames_take_turns() -> None:
    scanner = make()
    data = frame(BINARY) * (2 * FRAMES_A_TURN) + frame(BINARY, b"last")
    out = [scanner.receive_data(data)]
    while scanner.more:
        out.append(scanner.receive_data(b""))
    assert len(out) == 3
    assert b"".join(out) == data


def test_our_frames_for_a_server_are_masked() -> None:
    made = mask_frame(close_frame(1001, "bye"), MASK)
    assert made == frame(CLOSE, b"\x03\xe9bye")
    assert mask_frame(control_frame(Opcode.PING), MASK) == frame(PING)
