"""``WebSocketReader`` against two other implementations: wsproto and websockets.

All three read the same frames, made by hypothesis, whole sequences and ones with a single fault,
cut anywhere. What was sent is known, so each of them is also held against the truth.

Where an oracle knows better or worse than RFC 6455, the fault is left out for it:

* websockets takes lengths that are not in their shortest form, waits for a frame whose length has
  its highest bit set, leaves UTF-8 of text to the layer above, and refuses a Close frame inside a
  fragmented message, which section 5.4 allows.
* wsproto refuses close code 1014, which IANA has registered since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Frame
from websockets.protocol import OPEN, SERVER
from websockets.protocol import Protocol as Websockets
from wsproto.frame_protocol import CloseReason, FrameProtocol, ParseFailed
from wsproto.frame_protocol import Opcode as WsprotoOpcode

from gateway.errors import RemoteProtocolError, outcome_of
from gateway.protocol.websocket import Close, Data, Ping, Pong, WebSocketReader
from tests.peers.raw_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from tests.recordings import body

# Messages and control frames are (opcode, payload); that of a Close frame is code and reason.
Seen = list[tuple[int, bytes]]


@dataclass
class Reading:
    """What a reader made of a stream: complete messages, control frames, and the close code it
    would answer a fault with.
    """

    seen: Seen
    fault: int | None = None


def _close_payload(code: int | None, reason: str) -> bytes:
    return b"" if code is None else code.to_bytes(2, "big") + reason.encode()


def _kind(event: Ping | Pong) -> int:
    return PING if isinstance(event, Ping) else PONG


def read_slowly(pieces: Iterable[bytes]) -> Reading:
    """Our reader, one event at a time."""
    reader = WebSocketReader(accept_text=True)
    reading = Reading([])
    message = b""
    try:
        for piece in pieces:
            reader.receive_data(piece)
            while (event := reader.next_event()) is not None:
                if isinstance(event, Data):
                    message += event.payload
                    if event.message_finished:
                        reading.seen.append((event.opcode, message))
                        message = b""
                elif isinstance(event, Close):
                    reading.seen.append((CLOSE, _close_payload(event.code, event.reason)))
                else:
                    reading.seen.append((_kind(event), event.payload))
    except RemoteProtocolError as error:
        reading.fault = outcome_of(error).close_code
    return reading


def read_as_a_stream(pieces: Iterable[bytes], *, fast: bool) -> Reading:
    """Our reader as the bridge uses it: binary payload is a stream, its boundaries are lost."""
    reader = WebSocketReader(accept_text=True)
    reading = Reading([])

    def add(opcode: int, payload: bytes) -> None:
        if reading.seen and reading.seen[-1][0] == opcode and opcode in {BINARY, TEXT}:
            reading.seen[-1] = (opcode, reading.seen[-1][1] + payload)
        elif payload or opcode not in {BINARY, TEXT}:
            reading.seen.append((opcode, payload))

    try:
        for piece in pieces:
            reader.receive_data(piece)
            while True:
                if fast:
                    add(BINARY, reader.read_binary())
                event = reader.next_event()
                if event is None:
                    break
                if isinstance(event, Data):
                    add(event.opcode, event.payload)
                elif isinstance(event, Close):
                    add(CLOSE, _close_payload(event.code, event.reason))
                else:
                    add(_kind(event), event.payload)
    except RemoteProtocolError as error:
        reading.fault = outcome_of(error).close_code
    return reading


def read_with_wsproto(pieces: Iterable[bytes]) -> Reading:
    protocol = FrameProtocol(client=False, extensions=[])
    reading = Reading([])
    message = b""
    try:
        for piece in pieces:
            protocol.receive_bytes(piece)
            for got in protocol.received_frames():
                if got.opcode is WsprotoOpcode.CLOSE:
                    code, reason = cast("tuple[int, str | None]", got.payload)
                    absent = code is CloseReason.NO_STATUS_RCVD
                    payload = _close_payload(None if absent else code, reason or "")
                    reading.seen.append((CLOSE, payload))
                    return reading  # it would go on and read what follows
                assert not isinstance(got.payload, tuple)
                data = got.payload.encode() if isinstance(got.payload, str) else got.payload
                if got.opcode.iscontrol():
                    reading.seen.append((int(got.opcode), data))
                    continue
                message += data
                if got.message_finished:
                    reading.seen.append((int(got.opcode), message))
                    message = b""
    except ParseFailed as error:
        reading.fault = int(error.code)
    return reading


def read_with_websockets(pieces: Iterable[bytes]) -> Reading:
    protocol = Websockets(SERVER, state=OPEN, max_size=None)
    reading = Reading([])
    message = b""
    opcode = 0
    for piece in pieces:
        protocol.receive_data(piece)
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in {CLOSE, PING, PONG}:
            reading.seen.append((event.opcode, bytes(event.data)))
            continue
        if event.opcode != CONTINUATION:
            opcode = event.opcode
        message += bytes(event.data)
        if event.fin:
            reading.seen.append((opcode, message))
            message = b""
    problem = protocol.parser_exc
    if problem is not None:
        reading.fault = 1002 if isinstance(problem, ProtocolError) else 1007
        assert isinstance(problem, ProtocolError | UnicodeDecodeError)
    return reading


ORACLES: dict[str, Callable[[Iterable[bytes]], Reading]] = {
    "ours": read_slowly,
    "wsproto": read_with_wsproto,
    "websockets": read_with_websockets,
}


# -- frames by hypothesis --------------------------------------------------------------------------

masks = st.binary(min_size=4, max_size=4)
payloads = st.one_of(
    st.binary(max_size=20),
    # The edges of the three length forms, and more than the fast path takes.
    st.sampled_from([0, 1, 124, 125, 126, 127, 128, 300, 0xFFFF, 0x10000]).map(body),
)


@dataclass(frozen=True)
class Sent:
    """Frames, and what a reader must make of them."""

    frames: list[bytes]
    seen: Seen


@st.composite
def controls(draw: st.DrawFn) -> Sent:
    opcode = draw(st.sampled_from([PING, PONG]))
    payload = draw(st.one_of(st.binary(max_size=10), st.just(body(125))))
    return Sent([frame(opcode, payload, mask=draw(masks))], [(opcode, payload)])


@st.composite
def messages(draw: st.DrawFn) -> Sent:
    """A text or binary message, perhaps in fragments, perhaps with control frames inside it."""
    opcode = draw(st.sampled_from([BINARY, BINARY, TEXT]))
    texts = st.text(max_size=12).map(str.encode)
    whole = draw(texts if opcode == TEXT else payloads)
    edges = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    pieces = [whole[a:b] for a, b in zip([0, *edges], [*edges, len(whole)], strict=True)]
    sent = Sent([], [])
    for index, piece in enumerate(pieces):
        if index and draw(st.booleans()):
            inside = draw(controls())
            sent.frames.extend(inside.frames)
            sent.seen.extend(inside.seen)
        kind = opcode if index == 0 else CONTINUATION
        final = index == len(pieces) - 1
        sent.frames.append(frame(kind, piece, final=final, mask=draw(masks)))
    sent.seen.append((opcode, whole))
    return sent


sequences = st.lists(st.one_of(messages(), controls()), max_size=5).map(
    lambda parts: Sent(
        [one for part in parts for one in part.frames],
        [one for part in parts for one in part.seen],
    )
)

closes = st.one_of(
    st.just(b""),
    st.tuples(
        st.sampled_from([1000, 1001, 1003, 1007, 1011, 1012, 3000, 4999]), st.text(max_size=20)
    ).map(lambda pair: _close_payload(*pair)),
)


@st.composite
def cut(draw: st.DrawFn, wire: bytes) -> list[bytes]:
    """Cut ``wire`` anywhere, or into single bytes."""
    if len(wire) < 400 and draw(st.booleans()):
        return [wire[i : i + 1] for i in range(len(wire))]
    edges = sorted(draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    return [wire[a:b] for a, b in zip([0, *edges], [*edges, len(wire)], strict=True)]


@settings(max_examples=120, deadline=None)
@given(sent=sequences, close=st.none() | closes, data=st.data())
def test_all_read_what_was_sent(sent: Sent, close: bytes | None, data: st.DataObject) -> None:
    wire = b"".join(sent.frames)
    expected = list(sent.seen)
    if close is not None:
        # Nothing behind a Close frame counts, whatever it is.
        wire += frame(CLOSE, close) + data.draw(st.sampled_from([b"", frame(PING), b"\xff" * 9]))
        expected.append((CLOSE, close))
    pieces = data.draw(cut(wire))
    for name, read in ORACLES.items():
        assert read(pieces) == Reading(expected), name


@settings(max_examples=120, deadline=None)
@given(sent=sequences, data=st.data())
def test_fast_path_and_slow_path_agree(sent: Sent, data: st.DataObject) -> None:
    fault = data.draw(st.sampled_from([b"", *(fault.wire for fault in FAULTS)]))
    pieces = data.draw(cut(b"".join(sent.frames) + fault))
    assert read_as_a_stream(pieces, fast=True) == read_as_a_stream(pieces, fast=False)


@dataclass(frozen=True)
class Fault:
    """A frame that breaks one rule, where no message is open. ``blind`` names who misses it."""

    name: str
    wire: bytes
    code: int = 1002
    blind: tuple[str, ...] = ()


FAULTS = [
    Fault("reserved bits", frame(BINARY, b"x", reserved=0b101)),
    Fault("reserved bit on a control frame", frame(PONG, b"x", reserved=0b010)),
    Fault("data opcode", frame(0x5, b"x")),
    Fault("control opcode", frame(0xB, b"x")),
    Fault("unmasked", frame(BINARY, b"x", mask=None)),
    Fault("fragmented control frame", frame(PING, b"x", final=False)),
    Fault("long control frame", frame(PING, body(126))),
    Fault("continuation of nothing", frame(CONTINUATION, b"x")),
    Fault("message in a message", frame(TEXT, b"a", final=False) + frame(BINARY, b"b")),
    Fault("16 bits for 5", frame(BINARY, b"hello", length_bytes=2), blind=("websockets",)),
    Fault("64 bits for 300", frame(BINARY, body(300), length_bytes=8), blind=("websockets",)),
    Fault(
        "highest bit of the length",
        frame(BINARY, length=1 << 63, length_bytes=8),
        blind=("websockets",),
    ),
    Fault("close code 1005", frame(CLOSE, b"\x03\xed")),
    Fault("close code 999", frame(CLOSE, b"\x03\xe7")),
    Fault("close code 5000", frame(CLOSE, b"\x13\x88")),
    Fault("half a close code", frame(CLOSE, b"\x03")),
    Fault("close reason", frame(CLOSE, b"\x03\xe8\xc3\x28"), 1007),
    Fault("text", frame(TEXT, b"\xc3\x28"), 1007, blind=("websockets",)),
    Fault(
        "text in two fragments",
        frame(TEXT, b"\xe2\x82", final=False) + frame(CONTINUATION, b"x"),
        1007,
        blind=("websockets",),
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@settings(max_examples=15, deadline=None)
@given(sent=sequences, data=st.data())
def test_all_refuse_a_fault(fault: Fault, sent: Sent, data: st.DataObject) -> None:
    wire = b"".join(sent.frames) + fault.wire + b"".join(data.draw(sequences).frames)
    pieces = data.draw(cut(wire))
    for name, read in ORACLES.items():
        if name not in fault.blind:
            assert read(pieces) == Reading(sent.seen, fault.code), name


@settings(max_examples=100, deadline=None)
@given(pieces=st.lists(st.binary(max_size=30), max_size=8))
def test_both_paths_agree_on_random_bytes(pieces: list[bytes]) -> None:
    assert read_as_a_stream(pieces, fast=True) == read_as_a_stream(pieces, fast=False)


@pytest.mark.parametrize("code", range(990, 1030))
def test_close_codes_agree_with_websockets(code: int) -> None:
    wire = frame(CLOSE, code.to_bytes(2, "big"))
    assert read_slowly([wire]) == read_with_websockets([wire])
