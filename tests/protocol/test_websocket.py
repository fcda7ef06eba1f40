"""Tests of ``gateway.protocol.websocket``: the rules of RFC 6455 one by one, text, closing.

How the two paths work together is in ``test_websocket_paths``, what two other implementations make
of the same bytes in ``test_websocket_oracles``.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError, UnsupportedMessage, outcome_of
from gateway.protocol.websocket import (
    Close,
    CloseCode,
    Data,
    Opcode,
    Ping,
    Pong,
    WebSocketReader,
)
from tests.peers.raw_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame
from tests.protocol.websocket_reading import LIMIT, joined, read, read_fast
from tests.recordings import body

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
        assert joined(read(pieces)) == events
        assert joined(read_fast(pieces)) == events


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
    for reader in (WebSocketReader(), WebSocketReader(accept_text=False)):
        reader.receive_data(frame(TEXT, b"hello")[:6])
        assert reader.read_binary() == b""
        with pytest.raises(UnsupportedMessage):
            reader.next_event()


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
    assert joined(read(frames)) == ([data] if data else [])


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


def test_close_codes_to_send() -> None:
    """RFC 6455 section 7.4.1; IANA registered 1012 and 1013 later."""
    assert {code.name: int(code) for code in CloseCode} == {
        "NORMAL": 1000,
        "GOING_AWAY": 1001,
        "PROTOCOL_ERROR": 1002,
        "UNSUPPORTED": 1003,
        "INVALID_PAYLOAD": 1007,
        "POLICY": 1008,
        "TOO_BIG": 1009,
        "INTERNAL": 1011,
        "SERVICE_RESTART": 1012,
        "TRY_AGAIN_LATER": 1013,
    }
