"""An EXIT for every client of a CLI's WebSocket that passes through."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.protocol.cli_relay import CliFrameScanner
from tests.peers import raw_frames

frame = partial(raw_frames.frame, mask=None)
OUTPUT = frame(2, b"\7ok\n")
EXIT = frame(2, b"\4\0\0\0\0")
CLOSE = frame(8, b"\x03\xe8")
FAILED = frame(2, b"\4\0\0\0\1")


def scanner() -> CliFrameScanner:
    return CliFrameScanner(lambda payload: payload == b"ours")


def told(text: bytes) -> bytes:
    return frame(2, b"\x08" + text + b"\n") + FAILED


CLOSED = told(b"the controller closed the connection before the command had ended")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (OUTPUT + EXIT + CLOSE, OUTPUT + EXIT + CLOSE),
        (OUTPUT + CLOSE, OUTPUT + CLOSED + CLOSE),
        (CLOSE, CLOSED + CLOSE),
        (frame(10, b"ours") + OUTPUT + CLOSE, OUTPUT + CLOSED + CLOSE),
        (frame(2, b"\7" * 300) + EXIT + CLOSE, frame(2, b"\7" * 300) + EXIT + CLOSE),
        # A 4 that is no operation.
        (
            frame(9, b"\4") + frame(2, b"\7\4") + CLOSE,
            frame(9, b"\4") + frame(2, b"\7\4") + CLOSED + CLOSE,
        ),
        (
            frame(2, b"\7", final=False) + frame(0, b"\4") + CLOSE,
            frame(2, b"\7", final=False) + frame(0, b"\4") + CLOSED + CLOSE,
        ),
        # Inside a fragmented message, which is ended first.
        (
            frame(2, b"\7a", final=False) + CLOSE,
            frame(2, b"\7a", final=False) + frame(0) + CLOSED + CLOSE,
        ),
    ],
)
def test_a_close_frame_never_comes_without_exit(sent: bytes, expected: bytes, size: int) -> None:
    tested = scanner()
    pieces = [sent[i : i + size] for i in range(0, len(sent), size)]
    assert b"".join(tested.receive_data(piece) for piece in pieces) == expected


def test_last_words_are_said_once() -> None:
    tested = scanner()
    tested.receive_data(OUTPUT)
    assert tested.last_words("gone \N{EURO SIGN}") == told(b"gone ?")
    assert tested.last_words("gone") == b""


def test_none_behind_exit() -> None:
    tested = scanner()
    tested.receive_data(EXIT)
    assert tested.last_words("gone") == b""


def test_an_unfinished_frame_is_filled_up() -> None:
    tested = scanner()
    tested.receive_data(frame(2, b"\7abc", length=100)[:-1])
    assert tested.last_words("gone") == b"\0" * 97 + told(b"gone")
    assert tested.at_boundary


def test_one_that_claims_too_much_is_not() -> None:
    tested = scanner()
    tested.receive_data(frame(2, b"\7", length=2_000_000))
    assert tested.last_words("gone") == b""


def test_a_ping_that_waits_goes_behind_it() -> None:
    tested = scanner()
    tested.receive_data(frame(2, b"\7", length=3))
    assert not tested.insert(frame(9, b"p"))
    assert tested.last_words("gone") == b"\0\0" + frame(9, b"p") + told(b"gone")
