"""WebSocket frames that pass through: where each one ends, and nothing else (RFC 6455 section 5.2).

Owns: following the frame headers of one direction, so that a frame of ours can be put between two
of theirs; taking out the pongs that answer our pings; noticing the Close frame. Everything else
passes as it came, masked payload included.

Must not know: payloads, messages, sockets, when to ping.

Theory of operation. What a frame may be is for the two ends to judge, as it would be without us:
reserved bits are what an extension makes of them (permessage-deflate), and a frame that breaks a
rule is refused by the end that gets it. Only its length must be believed. What is handed on always
ends inside a payload or at the end of a frame: an incomplete header (at most 13 bytes), a Close
frame or a pong that may be ours (at most 139 bytes) is kept until the rest of it comes. So there
are two states: inside a payload, of which so many bytes are to come, or at a boundary.

    onward = scanner.receive_data(data)    # hot: mostly the very object that came in
    while scanner.more: ...                # so many tiny frames that others should have a turn
    scanner.insert(frame)                  # at once where True, else at the end of this frame
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.errors import MessageTooBig, RemoteProtocolError
from gateway.protocol.masking import apply_mask
from gateway.protocol.websocket import MAX_CONTROL_PAYLOAD, Opcode

# Between two frames is the only place for a ping, and a frame may be any size by RFC 6455. Jetty
# takes 64 KiB, Tyrus 4 MiB. Payload is streamed, so this bounds absurdity and not memory.
DEFAULT_MAX_FRAME: Final = 16 * 1024 * 1024
# A receive may hold 256,000 empty frames, 80 ms of work: the other sessions have their turn in
# between. Agents' bulk has 64 frames in a receive.
FRAMES_A_TURN: Final = 4096
_LONGEST_SHORT: Final = 8  # bytes of a header with a mask and a length below 64 KiB
_FINAL_PONG: Final = 0x80 | Opcode.PONG
_FINAL_CLOSE: Final = 0x80 | Opcode.CLOSE


def mask_frame(frame: bytes, mask: bytes) -> bytes:
    """Return an unmasked control frame as a client sends it; ``mask`` is four random bytes."""
    return bytes((frame[0], frame[1] | 0x80)) + mask + apply_mask(frame[2:], mask)


class FrameScanner:
    """The frames of one direction.

    ``is_ours`` says of a pong's payload that it answers a ping of ours. ``closed``: a Close frame
    has passed, and what comes behind it is dropped, as every receiver does; ``close_code`` is what
    it said, or None. ``fault``: a frame that cannot be passed on ended the direction.
    """

    __slots__ = (
        "_held",
        "_insertion",
        "_is_ours",
        "_max_frame",
        "_remaining",
        "close_code",
        "closed",
        "fault",
        "inserted",
        "more",
    )

    def __init__(
        self, is_ours: Callable[[bytes], bool], *, max_frame: int = DEFAULT_MAX_FRAME
    ) -> None:
        self._is_ours = is_ours
        self._max_frame = max_frame
        self._remaining = 0  # bytes of the current frame's payload that are to come
        self._held = b""  # what could not be judged yet; empty inside a payload
        self._insertion = b""  # waits for the end of the current frame
        self.inserted = 0  # bytes of insertions that ``receive_data`` has returned
        self.more = False  # what is held could be judged: call ``receive_data(b"")``
        self.closed = False
        self.close_code: int | None = None
        self.fault: RemoteProtocolError | None = None

    @property
    def at_boundary(self) -> bool:
        """Say whether what was handed on ends with a whole frame."""
        return not self._remaining

    @property
    def remaining(self) -> int:
        """Return how many bytes of the current frame are to come; 0 at a boundary."""
        return self._remaining

    @property
    def inserting(self) -> bool:
        """Say whether an insertion still waits for the end of a frame."""
        return bool(self._insertion)

    def insert(self, frame: bytes) -> bool:
        """Return True if ``frame`` may be sent now; else ``receive_data`` puts it into its place.

        Nothing may follow a Close frame: then neither happens, and ``inserting`` stays false.
        """
        if self.closed:
            return False
        if self.at_boundary:
            return True
        self._insertion += frame
        return False

    def last_words(self, text: str) -> bytes:
        """Return what the receiver must get before a Close frame of the gateway's own, whose reason
        is ``text``: nothing, here.
        """
        return b""

    def receive_data(self, data: bytes) -> bytes:
        """Take ``data``; return what is to be sent on. Raises nothing: see ``fault``."""
        remaining = self._remaining
        if remaining > len(data):
            self._remaining = remaining - len(data)
            return data
        if self.closed or self.fault is not None:
            return b""
        if self._held:
            data = self._held + data
            self._held = b""
        parts: list[bytes] = []
        begin = 0
        if remaining and self._insertion:
            parts = [data[:remaining], self._insertion]
            begin = remaining
            self.inserted += len(self._insertion)
            self._insertion = b""
        return self._scan(data, remaining, begin, parts)

    def _scan(self, data: bytes, pos: int, begin: int, parts: list[bytes]) -> bytes:
        """Walk over the headers from ``pos``; what is before ``begin`` is in ``parts``."""
        end = len(data)
        last = end - _LONGEST_SHORT  # where a header of the usual kind is whole
        left = FRAMES_A_TURN
        while end - pos >= 2 and left:
            left -= 1
            first = data[pos]
            second = data[pos + 1]
            length = second & 0x7F
            payload = pos + (6 if second & 0x80 else 2)
            # A length that is not in its shortest form is a fault for the receiver to find.
            if length == 126:
                payload += 2
                if payload > end:
                    break
                length = data[pos + 2] << 8 | data[pos + 3]
                if first & 0x08 == 0:
                    # Bulk is frames of one size. So few fit that they need no turns: at most 4,000,
                    # or 128,000 with empty ones whose length is not in its shortest form (10 ms).
                    begins_alike = data.startswith
                    head = data[pos : pos + 4]
                    step = payload - pos + length
                    pos += step
                    while pos <= last and begins_alike(head, pos):
                        pos += step
                    continue
            elif length == 127:
                payload += 8
                if payload > end:
                    break
                length = int.from_bytes(data[pos + 2 : pos + 10], "big")
                if length > self._max_frame:
                    self.fault = MessageTooBig(f"frame longer than {self._max_frame} bytes")
                    end = pos
                    break
            elif payload > end:
                break
            stop = payload + length
            if first & 0x08 and length <= MAX_CONTROL_PAYLOAD:
                if first == _FINAL_CLOSE:
                    if stop > end:
                        break
                    self._note_close(_payload(data, payload, stop, second))
                    pos = end = stop
                    break
                if first == _FINAL_PONG and length:
                    if stop > end:
                        break
                    if self._is_ours(_payload(data, payload, stop, second)):
                        if begin < pos:
                            parts.append(data[begin:pos])
                        begin = stop
            pos = stop
        # Nothing is kept of what comes behind a Close frame or a fault: then ``end`` is there.
        self._remaining = max(0, pos - end)
        self.more = pos < end and not left
        if pos < end:
            self._held = data[pos:end]
            end = pos
        if not parts and begin == 0:
            return data if end == len(data) else data[:end]
        parts.append(data[begin:end])
        return b"".join(parts)

    def _note_close(self, payload: bytes) -> None:
        self.closed = True
        self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else None


def _payload(data: bytes, start: int, stop: int, second: int) -> bytes:
    """Return a small frame's payload, unmasked."""
    payload = data[start:stop]
    return apply_mask(payload, data[start - 4 : start]) if second & 0x80 else payload
