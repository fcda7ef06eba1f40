"""The two layers of the WebSocket core against each other, and layer 1 against two oracles.

``test_websocket_oracles`` judges layer 2, which reads what clients send. Layer 1 also reads what
servers send, unmasked, so it is judged in both roles, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.protocol import CLIENT, OPEN, SERVER
from websockets.protocol import Protocol as Websockets
from wsproto.frame_protocol import FrameProtocol

from gateway.protocol.websocket import FrameHeaders
from tests.fuzz.frames import frame_headers, frames
from tests.peers.raw_frames import BINARY, CONTINUATION, MASK, PING, PONG, TEXT, frame
from tests.protocol.test_websocket_oracles import FAULTS, Sent, cut, payloads, sequences

Seen = list[tuple[int, bool, int]]
"""Opcode, final bit and length of each frame."""


@dataclass(frozen=True)
class Message:
    """Frames, each as opcode, payload and final bit."""

    frames: list[tuple[int, bytes, bool]]

    def wire(self, *, masked: bool) -> bytes:
        mask = MASK if masked else None
        return b"".join(frame(op, load, final=fin, mask=mask) for op, load, fin in self.frames)

    def seen(self) -> Seen:
        return [(opcode, final, len(payload)) for opcode, payload, final in self.frames]


controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125), st.just(True))
pieces_of_text = st.text(max_size=10).map(str.encode)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Return a message in fragments, with control frames between them."""
    opcode = draw(st.sampled_from([BINARY, TEXT]))
    pieces = draw(
        st.lists(payloads if opcode == BINARY else pieces_of_text, min_size=1, max_size=3)
    )
    made = []
    for index, piece in enumerate(pieces):
        made += draw(st.lists(controls, max_size=1))
        made.append((CONTINUATION if index else opcode, piece, index == len(pieces) - 1))
    return Message(made)


streams = st.lists(messages(), max_size=4).map(
    lambda parts: Message([one for part in parts for one in part.frames])
)


def read_headers(pieces: list[bytes], *, masked: bool) -> Seen:
    headers = FrameHeaders(masked=masked)
    seen = []
    data = b""
    skip = 0
    for piece in pieces:
        data += piece
        while len(data) >= skip:
            data = data[skip:]
            skip = 0
            header = headers.read(data)
            if header is None:
                break
            seen.append((int(header.opcode), header.final, header.length))
            skip = header.size + header.length
    return seen


def read_with_websockets(pieces: list[bytes], *, masked: bool) -> Seen:
    protocol = Websockets(SERVER if masked else CLIENT, state=OPEN, max_size=None)
    for piece in pieces:
        protocol.receive_data(piece)
    assert protocol.parser_exc is None
    read = [one for one in protocol.events_received() if isinstance(one, Frame)]
    return [(int(one.opcode), one.fin, len(one.data)) for one in read]


def read_with_wsproto(pieces: list[bytes], *, masked: bool) -> Seen:
    protocol = FrameProtocol(client=not masked, extensions=[])
    seen = []
    size = 0
    inside = False
    for piece in pieces:
        protocol.receive_bytes(piece)
        for part in protocol.received_frames():
            data = part.payload
            assert isinstance(data, str | bytes | bytearray)
            size += len(data.encode() if isinstance(data, str) else data)
            if not part.frame_finished:
                continue
            control = part.opcode.iscontrol()
            opcode = CONTINUATION if inside and not control else int(part.opcode)
            if not control:
                inside = not part.message_finished
            seen.append((opcode, part.message_finished, size))
            size = 0
    return seen


@pytest.mark.parametrize("masked", [True, False], ids=["from clients", "from servers"])
@settings(max_examples=60, deadline=None)
@given(stream=streams, data=st.data())
def test_all_read_the_same_frames(masked: bool, stream: Message, data: st.DataObject) -> None:
    pieces = data.draw(cut(stream.wire(masked=masked)))
    assert read_headers(pieces, masked=masked) == stream.seen()
    assert read_with_websockets(pieces, masked=masked) == stream.seen()
    assert read_with_wsproto(pieces, masked=masked) == stream.seen()


@settings(max_examples=60, deadline=None)
@given(sent=sequences, data=st.data())
def test_layer_2_reads_what_layer_1_frames(sent: Sent, data: st.DataObject) -> None:
    """Events, payload and verdict, for many cuts, on the fast path and the slow one."""
    fault = data.draw(st.sampled_from([b"", *(fault.wire for fault in FAULTS)]))
    wire = b"".join(sent.frames) + fault
    frame_headers(wire)
    frames(wire)
