"""Fuzz target: WebSocket frames that pass through.

Whatever the bytes: what comes out is what went in, up to a Close frame or a frame that is too long,
less our pongs and an incomplete end that cannot be judged; a ping of ours goes behind the frame
that it had to wait for. A model reads frames one by one, without any economy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.protocol.masking import apply_mask_in_python
from gateway.protocol.ws_relay import FrameScanner
from tests.fuzz.common import Pieces, cuttings, held

OURS: Final = b"rgw"
_MAX_FRAME: Final = 0xFFFF
_PING: Final = b"<a ping of ours>"
# An incomplete header, or a control frame that is kept until it is whole.
_MAX_HELD: Final = 14 + 125


@dataclass(frozen=True, slots=True)
class Passed:
    """What came out, and how it ended."""

    out: bytes
    at_boundary: bool
    closed: bool
    code: int | None
    fault: bool


def relayed_frames(data: bytes) -> None:
    """The model's bytes and state, for every cut; pings only where frames end."""
    expected, boundaries = _model(data)
    for pieces in cuttings(data):
        assert _scan(pieces) == expected, [len(piece) for piece in pieces]
        _insert(pieces, expected.out, boundaries)


def _scan(pieces: Pieces) -> Passed:
    scanner = _scanner()
    out = b""
    for piece in pieces:
        out += _feed(scanner, piece)
        assert held(scanner) <= _MAX_HELD
    return _passed(scanner, out)


def _insert(pieces: Pieces, plain: bytes, boundaries: set[int]) -> None:
    """Want a ping before every piece; without them the output must be the same.

    All of them come out, but for a last one whose frame did not end.
    """
    scanner = _scanner()
    out = b""
    wanted = 0
    for piece in pieces:
        if not scanner.inserting and not scanner.closed:
            wanted += 1
            if scanner.insert(_PING):
                out += _PING
        out += _feed(scanner, piece)
    assert not (scanner.inserting and scanner.at_boundary)
    if _PING not in plain:
        assert out.count(_PING) == wanted - scanner.inserting
    at = 0
    parts = out.split(_PING)
    for part in parts[:-1]:
        at += len(part)
        assert at in boundaries, "inside a frame"
    if _PING not in plain:
        assert b"".join(parts) == plain


def _scanner() -> FrameScanner:
    return FrameScanner(lambda payload: payload.startswith(OURS), max_frame=_MAX_FRAME)


def _feed(scanner: FrameScanner, piece: bytes) -> bytes:
    out = scanner.receive_data(piece)
    while scanner.more:
        out += scanner.receive_data(b"")
    return out


def _passed(scanner: FrameScanner, out: bytes) -> Passed:
    return Passed(
        out, scanner.at_boundary, scanner.closed, scanner.close_code, scanner.fault is not None
    )


def _model(data: bytes) -> tuple[Passed, set[int]]:
    out = b""
    boundaries = {0}
    while True:
        header = _header(data)
        if header is None:
            return Passed(out, True, False, None, False), boundaries
        size, length, mask = header
        if length > _MAX_FRAME and data[1] & 0x7F == 127:
            return Passed(out, True, False, None, True), boundaries
        frame = data[: size + length]
        whole = len(frame) == size + length
        payload = apply_mask_in_python(frame[size:], mask) if mask else frame[size:]
        if data[0] == 0x88 and length <= 125 and whole:
            code = int.from_bytes(payload[:2], "big") if length >= 2 else None
            return Passed(out + frame, True, True, code, False), boundaries
        may_be_ours = data[0] in (0x88, 0x8A) and 0 < length <= 125
        if not whole:
            if may_be_ours:
                return Passed(out, True, False, None, False), boundaries
            return Passed(out + frame, False, False, None, False), boundaries
        if not (data[0] == 0x8A and length <= 125 and payload.startswith(OURS)):
            out += frame
            boundaries.add(len(out))
        data = data[len(frame) :]


def _header(data: bytes) -> tuple[int, int, bytes] | None:
    if len(data) < 2:
        return None
    width = {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
    size = 2 + width + (4 if data[1] & 0x80 else 0)
    if len(data) < size:
        return None
    length = int.from_bytes(data[2 : 2 + width], "big") if width else data[1] & 0x7F
    return size, length, data[size - 4 : size] if data[1] & 0x80 else b""
