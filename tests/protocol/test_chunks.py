"""Tests of ``gateway.protocol.chunks``."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.chunks import HEADER_SIZE, MAX_CHUNK, MAX_MESSAGE, ChunkCutter
from tests.feeding import feed_all_ways
from tests.recordings import body, summary


def chunk(size: int, *, more: bool = False, seed: int = 0) -> bytes:
    """Return a chunk as PROTOCOLS 0.3 draws it, with ``size`` bytes of data."""
    return ((more << 15) | size).to_bytes(2, "big") + body(size, seed)


def ends_of(stream: bytes) -> set[int]:
    """Return the offsets at which a chunk of ``stream`` ends; the last one may be incomplete."""
    ends = {0}
    at = 0
    while at + 2 <= len(stream):
        at += 2 + (int.from_bytes(stream[at : at + 2], "big") & 0x7FFF)
        if at <= len(stream):
            ends.add(at)
    return ends


def cut_up(pieces: Iterable[bytes], *, one: bool = False) -> tuple[list[bytes], bytes]:
    """Return the messages made of ``pieces``, and the part of the stream that is held back."""
    cutter = ChunkCutter(one_per_message=one)
    messages: list[bytes] = []
    fed = bytearray()
    given = 0
    for piece in pieces:
        fed += piece
        for message in cutter.receive_data(piece):
            messages.append(bytes(message))
            given += len(message)
        assert cutter.held == len(fed) - given
    return messages, bytes(fed[given:])


def check(messages: list[bytes], stream: bytes, *, one: bool) -> None:
    """Check every promise about ``messages`` made of a ``stream`` of whole chunks."""
    assert b"".join(messages) == stream
    ends = ends_of(stream)
    at = 0
    for message in messages:
        assert message
        at += len(message)
        assert at in ends, "a message ends inside a chunk"
        whole = len(ends_of(message)) - 1
        assert whole == 1 if one else len(message) <= MAX_MESSAGE or whole == 1


SMALL = b"".join(chunk(size, more=bool(size % 2), seed=size) for size in (0, 1, 2, 5, 0, 0, 40, 3))


@pytest.mark.parametrize("one", [False, True])
def test_every_cut(one: bool) -> None:
    """Whatever the cuts, the same chunk stream and never a message that ends inside a chunk."""
    for size in range(1, len(SMALL) + 1):
        pieces = [SMALL[i : i + size] for i in range(0, len(SMALL), size)]
        messages, held = cut_up(pieces, one=one)
        assert held == b""
        check(messages, SMALL, one=one)
    for first in range(len(SMALL)):
        for second in range(first, len(SMALL)):
            pieces = [part for part in (SMALL[:first], SMALL[first:second], SMALL[second:]) if part]
            check(cut_up(pieces, one=one)[0], SMALL, one=one)


def test_one_per_message_does_not_depend_on_the_cuts() -> None:
    def parse(pieces: Iterable[bytes]) -> tuple[list[bytes], bytes]:
        return cut_up(pieces, one=True)

    trailing = b"\x00\x09incompl"
    messages = feed_all_ways(SMALL, parse, trailing=trailing)
    assert len(messages) == len(ends_of(SMALL)) - 1


def test_many_per_message_joins_what_comes_together() -> None:
    assert cut_up([SMALL]) == ([SMALL], b"")
    assert list(map(bytes, ChunkCutter().receive_data(SMALL))) == [SMALL]


@pytest.mark.parametrize("size", [0, 1, 8192, 32766, 32767])
@pytest.mark.parametrize("one", [False, True])
def test_any_chunk_size(size: int, one: bool) -> None:
    """A receiver must take 0 to 32767 (PROTOCOLS 0.3), also where the first byte comes alone."""
    data = chunk(size)
    assert cut_up([data], one=one) == ([data], b"")
    assert cut_up([data[:1], data[1:]], one=one) == ([data], b"")
    assert cut_up([data[:2], data[2:]] if size else [data], one=one) == ([data], b"")
    assert cut_up([data[:-1], data[-1:]], one=one) == ([data], b"")


def test_the_bit_for_more_is_no_part_of_the_length() -> None:
    assert cut_up([bytes.fromhex("a000") + body(8192)])[1] == b""  # PROTOCOLS 0.3
    assert cut_up([bytes.fromhex("a000") + body(8191)])[0] == []


def test_messages_are_at_most_64_kib() -> None:
    stream = b"".join(chunk(8192, seed=n) for n in range(40))
    messages, held = cut_up([stream])
    assert held == b""
    check(messages, stream, one=False)
    assert [len(message) for message in messages] == [7 * 8194] * 5 + [5 * 8194]


def test_a_message_may_be_exactly_64_kib() -> None:
    exact = chunk(32766) + chunk(32766)
    assert len(exact) == MAX_MESSAGE
    assert cut_up([exact + chunk(0)])[0] == [exact, chunk(0)]


def test_a_completed_chunk_goes_out_before_those_behind_it() -> None:
    stream = chunk(100) + chunk(5) + chunk(6)
    assert cut_up([stream[:50], stream[50:]])[0] == [chunk(100), chunk(5) + chunk(6)]


def test_holds_less_than_a_chunk() -> None:
    cutter = ChunkCutter()
    assert cutter.receive_data(chunk(32767)[:-1]) == []
    assert cutter.held == MAX_CHUNK - 1 == HEADER_SIZE + 0x7FFF - 1
    assert list(map(bytes, cutter.receive_data(body(32767)[-1:] + b"\x00"))) == [chunk(32767)]
    assert cutter.held == 1


@settings(max_examples=150, deadline=None)
@given(data=st.data(), one=st.booleans())
def test_random_streams(data: st.DataObject, one: bool) -> None:
    """Any bytes are some chunk stream: it goes through unchanged, but for an incomplete end."""
    sizes = data.draw(st.lists(st.integers(0, 300) | st.sampled_from([8192, 32767]), max_size=12))
    stream = b"".join(chunk(size, more=data.draw(st.booleans())) for size in sizes)
    stream += data.draw(st.binary(max_size=8))
    edges = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]
    messages, held = cut_up([piece for piece in pieces if piece], one=one)
    whole = max(ends_of(stream))
    assert held == stream[whole:]
    assert len(held) < MAX_CHUNK
    check(messages, stream[:whole], one=one)


# -- recorded controllers and agents ---------------------------------------------------------------


def _recorded(side: str) -> list[tuple[str, list[str]]]:
    """Return the recorded chunk headers, in hex."""
    tcp = [
        (name, [one["header_hex"] for one in end[side]["first_chunks"]])
        for name, end in summary("tcp")
    ]
    ws = [
        (name, [one["chunk_header_hex"] for one in end[side]["first_messages"]])
        for name, end in summary("ws")
    ]
    return [*tcp, *ws]


@pytest.mark.parametrize("side", ["client", "server"])
def test_recorded_chunk_sequences(side: str) -> None:
    """The recorded headers with bodies of our own, in the sizes of the recorded TCP reads."""
    for name, texts in _recorded(side):
        headers = list(map(bytes.fromhex, texts))
        sizes = [int.from_bytes(header, "big") & 0x7FFF for header in headers]
        expected = [head + body(size, size) for head, size in zip(headers, sizes, strict=True)]
        stream = b"".join(expected)
        for read in (7, 1401, 8194, 43563, len(stream)):
            pieces = [stream[i : i + read] for i in range(0, len(stream), read)]
            # Jenkins itself puts each chunk into a message of its own.
            assert cut_up(pieces, one=True) == (expected, b""), name
            messages, held = cut_up(pieces)
            assert held == b"", name
            check(messages, stream, one=False)
