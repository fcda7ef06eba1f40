"""The CLI's frames (PROTOCOLS E.1), byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.protocol.plain_cli import (
    PIECE,
    CliFrame,
    CliFrameReader,
    Op,
    Sender,
    exit_code,
    exit_frame,
    read_message,
    text_frame,
)

# PROTOCOLS E.1: the frame, as it stands in a stream, as a message.
TABLE = [
    (text_frame(Op.ARG, "who-am-i"), "0000000a 00 000877686f2d616d2d69"),
    (text_frame(Op.ENCODING, "UTF-8"), "00000007 02 00055554462d38"),
    (text_frame(Op.LOCALE, "en_US"), "00000007 01 0005656e5f5553"),
    (CliFrame(Op.START), "00000000 03"),
    (CliFrame(Op.STDIN, b"hi\n"), "00000003 05 68690a"),
    (CliFrame(Op.END_STDIN), "00000000 06"),
    (CliFrame(Op.STDOUT, b"ok\n"), "00000003 07 6f6b0a"),
    (CliFrame(Op.STDERR, b"bad\n"), "00000004 08 6261640a"),
    (exit_frame(0), "00000004 04 00000000"),
]


def sender_of(frame: CliFrame) -> Sender:
    return next(sender for sender in Sender if frame.op in sender.value)


@pytest.mark.parametrize(("frame", "expected"), TABLE, ids=[f.op.name for f, _ in TABLE])
def test_the_table(frame: CliFrame, expected: str) -> None:
    stream = bytes.fromhex(expected)
    assert frame.as_stream() == stream
    assert frame.as_message() == stream[4:]
    assert read_message(stream[4:], sender_of(frame)) == frame
    reader = CliFrameReader(sender_of(frame))
    for i in range(len(stream)):
        assert list(reader.frames()) == []
        reader.receive_data(stream[i : i + 1])
        if i < len(stream) - 1 and frame.op not in (Op.STDIN, Op.STDOUT, Op.STDERR):
            assert list(reader.frames()) == []
        elif frame.op in (Op.STDIN, Op.STDOUT, Op.STDERR) and i >= 5:
            assert list(reader.frames()) == [CliFrame(frame.op, stream[i : i + 1])]
    if frame.op not in (Op.STDIN, Op.STDOUT, Op.STDERR):
        assert list(reader.frames()) == [frame]
    assert reader.between_frames


FRAMES = st.one_of(
    st.builds(CliFrame, st.sampled_from([Op.STDIN]), st.binary(max_size=300)),
    st.builds(lambda text: text_frame(Op.ARG, text), st.text(max_size=20)),
    st.sampled_from([CliFrame(Op.START), CliFrame(Op.END_STDIN)]),
)


@given(st.lists(FRAMES, max_size=8), st.data())
def test_frames_come_back_however_they_are_cut(frames: list[CliFrame], data: st.DataObject) -> None:
    stream = b"".join(frame.as_stream() for frame in frames)
    reader = CliFrameReader(Sender.CLIENT)
    found: list[CliFrame] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.receive_data(stream[:size])
        found += reader.frames()
        stream = stream[size:]
    assert reader.between_frames
    assert _merged(found) == _merged(frames)


def _merged(frames: list[CliFrame]) -> list[CliFrame]:
    """Return them with neighbouring pieces of input joined."""
    merged: list[CliFrame] = []
    for frame in frames:
        if frame.op is Op.STDIN and merged and merged[-1].op is Op.STDIN:
            merged[-1] = CliFrame(Op.STDIN, merged[-1].payload + frame.payload)
        else:
            merged.append(frame)
    return merged


def test_long_output_comes_in_pieces() -> None:
    reader = CliFrameReader(Sender.CONTROLLER)
    reader.receive_data(CliFrame(Op.STDOUT, b"x" * (2 * PIECE + 1)).as_stream())
    assert [len(frame.payload) for frame in reader.frames()] == [PIECE, PIECE, 1]
    assert reader.between_frames


def test_a_claim_of_2_gib_costs_nothing() -> None:
    reader = CliFrameReader(Sender.CONTROLLER)
    reader.receive_data(b"\x7f\xff\xff\xff\x07" + b"x" * 10)
    assert [frame.payload for frame in reader.frames()] == [b"x" * 10]
    assert not reader.between_frames


@pytest.mark.parametrize("op", [4, 7, 8, 9, 127])
def test_what_a_client_does_not_send_is_skipped(op: int) -> None:
    assert read_message(bytes((op, 1, 2)), Sender.CLIENT) is None
    reader = CliFrameReader(Sender.CLIENT)
    reader.receive_data(b"\0\0\0\2" + bytes((op, 1)))
    assert list(reader.frames()) == []
    reader.receive_data(b"\2" + CliFrame(Op.START).as_stream())
    assert list(reader.frames()) == [CliFrame(Op.START)]
    assert reader.skipped == 1


@pytest.mark.parametrize("message", [b"", b"\x80", b"\xff\0", b"\3x", b"\0" + b"a" * 65538])
def test_messages_that_end_a_session(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_message(message, Sender.CLIENT)


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xff\5", b"\0\0\0\0\x80", b"\0\0\0\1\3", b"\0\1\0\2\0"]
)
def test_corrupt_streams(data: bytes) -> None:
    reader = CliFrameReader(Sender.CLIENT)
    reader.receive_data(data)
    with pytest.raises(RemoteProtocolError, match="corrupt"):
        list(reader.frames())


@pytest.mark.parametrize("code", [0, 1, 15, -1, 2**31 - 1, -(2**31)])
def test_exit_codes(code: int) -> None:
    assert exit_code(exit_frame(code)) == code


def test_an_exit_without_a_code() -> None:
    with pytest.raises(RemoteProtocolError, match="malformed EXIT"):
        exit_code(CliFrame(Op.EXIT, b"\0"))
