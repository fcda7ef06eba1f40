"""Cut the controller's chunk stream into WebSocket messages (``hudson.remoting.ChunkHeader``).

Owns: where a chunk ends. A header is two bytes, big-endian: the highest bit says that the command
goes on, fifteen bits give the length of the data that follows (PROTOCOLS 0.3).

Must not know: what is in a chunk. Nothing is changed, dropped or added: what goes out,
concatenated, is what came in.
"""

from __future__ import annotations

from typing import Final

HEADER_SIZE: Final = 2
MAX_CHUNK: Final = HEADER_SIZE + 0x7FFF
# What Jetty takes as one binary message; agents take 4 MiB. Several chunks a message cost far less.
MAX_MESSAGE: Final = 64 * 1024


class ChunkCutter:
    """Take bytes as they come; return messages of whole chunks.

    ``one_per_message`` puts each chunk into a message of its own, as Jenkins itself does; otherwise
    a message holds as many as are there, up to 64 KiB. An incomplete chunk is kept: at most 32,768
    bytes.
    """

    __slots__ = ("_held", "_max_message")

    def __init__(self, *, one_per_message: bool = False) -> None:
        self._max_message = 0 if one_per_message else MAX_MESSAGE
        self._held = bytearray()

    @property
    def held(self) -> int:
        """How many bytes of an incomplete chunk wait for their rest."""
        return len(self._held)

    def receive_data(self, data: bytes) -> list[bytes | memoryview]:
        """Return the payloads of the messages that ``data`` completes, in order; none is empty."""
        messages: list[bytes | memoryview] = []
        pos = 0
        if self._held:
            first, pos = self._complete_held(data)
            if first is None:
                return messages
            messages.append(first)
        end = len(data)
        max_message = self._max_message
        view = memoryview(data)
        start = pos
        while end - pos >= HEADER_SIZE:
            stop = pos + HEADER_SIZE + ((data[pos] & 0x7F) << 8 | data[pos + 1])
            if stop > end:
                break
            if stop - start > max_message and pos > start:
                messages.append(view[start:pos])
                start = pos
            pos = stop
        if pos > start:
            messages.append(view[start:pos])
        if pos < end:
            self._held += view[pos:]
        return messages

    def _complete_held(self, data: bytes) -> tuple[bytes | None, int]:
        """Add to the incomplete chunk; return it once it is whole, and how much of ``data`` it
        took.
        """
        held = self._held
        taken = 0
        if len(held) < HEADER_SIZE:
            if not data:
                return None, 0
            taken = 1
            held += data[:1]
        stop = taken + HEADER_SIZE + ((held[0] & 0x7F) << 8 | held[1]) - len(held)
        held += data[taken:stop]
        if stop > len(data):
            return None, len(data)
        chunk = bytes(held)
        held.clear()
        return chunk, stop
