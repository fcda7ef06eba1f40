"""The CLI's WebSocket that passes through: an EXIT for every client, whatever ends the session.

Owns: noticing whether the controller has said EXIT, and the words that a client gets in its place
(PROTOCOLS E.2: it has no handler for being closed, and waits for EXIT for ever).

Must not know: sockets, why a session ended.

Everything passes as ``ws_relay`` has it. What is handed on ends inside a payload or at a boundary,
so following it again costs a look at each header; nothing is kept but where the next one is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.protocol.plain_cli import CliFrame, Op, exit_frame
from gateway.protocol.websocket import Opcode, frame_header
from gateway.protocol.ws_relay import DEFAULT_MAX_FRAME, FrameScanner

_FINAL_CLOSE: Final = 0x80 | Opcode.CLOSE
_CLOSED: Final = "the controller closed the connection before the command had ended"
_FAILED: Final = 1  # the exit code
# The rest of a frame that the controller did not live to finish, as far as it is made up for it.
_MOST_FILLING: Final = 1024 * 1024


def _message(frame: CliFrame) -> bytes:
    payload = frame.as_message()
    return frame_header(Opcode.BINARY, len(payload)) + payload


class CliFrameScanner(FrameScanner):
    """The frames from a controller to a CLI client."""

    __slots__ = ("_first_byte_next", "_inside_message", "_to_skip", "exited")

    def __init__(
        self, is_ours: Callable[[bytes], bool], *, max_frame: int = DEFAULT_MAX_FRAME
    ) -> None:
        super().__init__(is_ours, max_frame=max_frame)
        self.exited = False  # the client has got its EXIT
        self._to_skip = 0  # bytes of the current payload that are to be handed on
        self._first_byte_next = False  # they begin with the operation
        self._inside_message = False

    def receive_data(self, data: bytes) -> bytes:
        """Do as every scanner, and put the words for the client before a Close frame."""
        onward = super().receive_data(data)
        close_at = self._follow(onward)
        if close_at is None:
            return onward
        return onward[:close_at] + self.last_words(_CLOSED) + onward[close_at:]

    def last_words(self, text: str) -> bytes:
        """Return what a client must still get before it may be left: once, and only where it has
        had no EXIT.

        An unfinished frame is filled up with NULs, which a terminal does not show.
        """
        if self.exited:
            return b""
        filling = b""
        if self.remaining:
            if self.remaining > _MOST_FILLING:
                return b""
            filling = self._finish_frame()
        if self._inside_message:  # its last frame, empty
            filling += frame_header(Opcode.CONTINUATION, 0)
            self._inside_message = False
        self.exited = True
        line = CliFrame(Op.STDERR, text.encode("ascii", "replace") + b"\n")
        return filling + _message(line) + _message(exit_frame(_FAILED))

    def _finish_frame(self) -> bytes:
        """Return what makes the current frame whole, insertions that wait for that included."""
        return self.receive_data(bytes(self.remaining))

    def _follow(self, onward: bytes) -> int | None:
        """Walk over what is handed on; return where a Close frame begins in it."""
        pos = 0
        end = len(onward)
        while pos < end:
            if self._to_skip:
                if self._first_byte_next:
                    self.exited |= onward[pos] == Op.EXIT
                    self._first_byte_next = False
                step = min(self._to_skip, end - pos)
                self._to_skip -= step
                pos += step
                continue
            first, second = onward[pos], onward[pos + 1]
            if first == _FINAL_CLOSE:
                return pos
            length = second & 0x7F
            extended = 2 if length == 126 else 8 if length == 127 else 0
            start = pos + 2 + extended
            if extended:
                length = int.from_bytes(onward[pos + 2 : start], "big")
            opcode = first & 0x0F
            if opcode < Opcode.CLOSE:
                self._first_byte_next = opcode == Opcode.BINARY and length > 0
                self._inside_message = not first & 0x80
            self._to_skip = length
            pos = start + (4 if second & 0x80 else 0)
        return None
